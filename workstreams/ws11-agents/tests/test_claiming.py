"""Claim, renew, release, take over: who wins, who is told what, whatever the clocks say."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

import pytest

from lilims.agents import claiming
from lilims.agents.board import Workplace
from lilims.agents.claim_record import Claim, read_claims, write_claim
from lilims.agents.claiming import claim, clear_done, force_release, own, release, renew
from lilims.agents.errors import (
    ClaimHeldError,
    ClaimLostError,
    HostRefusesError,
    NotReadyError,
    OverlapError,
    RemoteError,
    TaskError,
    UnknownTaskError,
)
from lilims.agents.journal import Journal
from lilims.agents.picking import candidates
from lilims.agents.remote import Remote, Update

from .conftest import Hub, git, spec

ONE, TWO = "one-2a2a", "two-3b3b"
HOUR = 3600.0


def test_one_wins_and_the_other_is_told_who(hub: Hub) -> None:
    (a, ja), (b, jb) = hub.place(), hub.place()
    won = claim(a, ja, ONE, "ann")
    assert hub.refs() == {ONE: won.claim.commit}
    with pytest.raises(ClaimHeldError, match="ann has claimed one-2a2a until"):
        claim(b, jb, ONE, "bob")
    assert not jb.knows(ONE)
    there = b.board().claims[ONE]
    assert there == won.claim
    assert b.board().state(b.board().catalogue.task(ONE)) == "claimed"


def test_claiming_again_resumes(hub: Hub) -> None:
    place, journal = hub.place()
    first = claim(place, journal, ONE, "ann")
    again = claim(place, journal, ONE, "ann")
    assert again.resumed and again.claim == first.claim
    with pytest.raises(ClaimHeldError):
        claim(place, journal, ONE, "another agent in the same clone".replace(" ", "-"))


def test_a_clone_that_lost_the_answer_finds_its_claim(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    place, journal = hub.place()
    push = Remote.push

    def taken_but_not_answered(remote: Remote, updates: list[Update], *, hooks: bool = False) -> bool:
        push(remote, updates, hooks=hooks)
        raise RemoteError("went away")

    monkeypatch.setattr(Remote, "push", taken_but_not_answered)
    with pytest.raises(RemoteError):
        claim(place, journal, ONE, "ann")
    monkeypatch.setattr(Remote, "push", push)
    assert claim(place, journal, ONE, "ann").resumed


def test_a_push_that_is_taken_but_reported_as_failed_is_a_win(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    place, journal = hub.place()
    push = Remote.push
    monkeypatch.setattr(Remote, "push", lambda self, updates, hooks=False: push(self, updates) and False)
    assert hub.refs() == {}
    assert not claim(place, journal, ONE, "ann").resumed
    assert ONE in hub.refs()


def test_done_blocked_and_unknown_tasks(hub: Hub) -> None:
    hub.specs("late-2a2a", depends_on=[ONE])
    place, journal = hub.place()
    with pytest.raises(NotReadyError, match="late-2a2a waits for one-2a2a"):
        claim(place, journal, "late-2a2a", "ann")
    hub.put({f"specs/ws09-docs/{ONE}.done.json": "{}"})
    with pytest.raises(NotReadyError, match="one-2a2a is done"):
        claim(place, journal, ONE, "ann")
    assert claim(place, journal, "late-2a2a", "ann")
    with pytest.raises(UnknownTaskError, match="no task 'one-2a2b'") as caught:
        claim(place, journal, "one-2a2b", "ann")
    assert caught.value.hint and caught.value.hint.startswith("similar: one-2a2a")
    with pytest.raises(UnknownTaskError):
        claim(place, journal, "$(touch x);../..", "ann")
    with pytest.raises(TaskError, match="is not an agent's name"):
        claim(place, journal, TWO, "ann <x>\nnewline")


def test_a_task_completed_while_it_is_claimed_is_given_back(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    place, journal = hub.place()
    push = Remote.push

    def completed_just_before(remote: Remote, updates: list[Update], *, hooks: bool = False) -> bool:
        monkeypatch.setattr(Remote, "push", push)
        hub.put({f"specs/ws09-docs/{ONE}.done.json": "{}"})
        return push(remote, updates, hooks=hooks)

    monkeypatch.setattr(Remote, "push", completed_just_before)
    with pytest.raises(NotReadyError, match="is done"):
        claim(place, journal, ONE, "ann")
    assert hub.refs() == {}


# -- time -------------------------------------------------------------------------------------------------------------


def test_takeover_only_after_expiry_and_grace(hub: Hub) -> None:
    (a, ja), (b, jb) = hub.place(), hub.place()
    claim(a, ja, ONE, "ann")
    for skew in (HOUR - 5, HOUR + 60, HOUR + 115):  # the grace is 120 s
        b.skew = skew
        with pytest.raises(ClaimHeldError):
            claim(b, jb, ONE, "bob")
    b.skew = HOUR + 125
    won = claim(b, jb, ONE, "bob")
    assert won.took_over == "ann"
    with pytest.raises(ClaimLostError, match="has expired, and bob has it now"):
        renew(a, ja, ONE)
    with pytest.raises(ClaimLostError, match="bob has it now"):
        release(a, ja, ONE)
    assert hub.refs() == {ONE: won.claim.commit}


def test_a_claim_that_expired_is_its_owners_until_somebody_takes_it(hub: Hub) -> None:
    place, journal = hub.place()
    first = claim(place, journal, ONE, "ann").claim
    place.skew = 10 * HOUR
    later = renew(place, journal, ONE)
    assert later.nonce == first.nonce and later.expires_at > first.expires_at + 9 * HOUR


def test_renewal(hub: Hub) -> None:
    place, journal = hub.place()
    first = claim(place, journal, ONE, "ann").claim
    assert first.renew_at == pytest.approx(first.claimed_at + HOUR / 3)
    place.skew = HOUR / 2
    second = renew(place, journal, ONE)
    assert (second.nonce, second.renewals) == (first.nonce, 1)
    assert second.expires_at == pytest.approx(first.expires_at + HOUR / 2, abs=60)
    assert hub.refs() == {ONE: second.commit}
    assert renew(place, journal, ONE).commit != second.commit, "two renewals at one time are two commits"
    with pytest.raises(ClaimLostError, match="was not claimed from this clone"):
        renew(place, journal, TWO)


def test_two_renewals_at_once_both_hold(hub: Hub) -> None:
    place, journal = hub.place()
    claim(place, journal, ONE, "ann")
    problems: list[Exception] = []

    def work() -> None:
        try:
            own_place = Workplace(place.git, Remote(place.git))
            for _ in range(3):
                renew(own_place, journal, ONE)
        except Exception as exc:
            problems.append(exc)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert place.board().claims[ONE].renewals == 9


def test_a_shorter_lease_but_no_longer_one(hub: Hub) -> None:
    place, journal = hub.place()
    made = claim(place, journal, ONE, "ann", lease_s=60).claim
    assert made.expires_at - made.claimed_at == pytest.approx(60)
    other = claim(place, journal, TWO, "ann", lease_s=10 * HOUR).claim
    assert other.lease_s == HOUR


# -- overlap ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def overlapping(hub: Hub) -> Hub:
    hub.specs("wide-2a2a", touches=["docs/**"])
    hub.specs("deep-2a2a", touches=["docs/api/*.md", "shared/src"])
    hub.specs("other-2a2a", touches=["docs2/x"])
    return hub


def test_overlapping_touches_are_refused_until_released(overlapping: Hub) -> None:
    (a, ja), (b, jb) = overlapping.place(), overlapping.place()
    claim(a, ja, "wide-2a2a", "ann")
    with pytest.raises(OverlapError, match="ann works on wide-2a2a, which may change the same files"):
        claim(b, jb, "deep-2a2a", "bob")
    assert claim(b, jb, "other-2a2a", "bob")
    assert {t.id for t in candidates(b.board(), "bob")} == {ONE, TWO}
    assert release(a, ja, "wide-2a2a")
    assert claim(b, jb, "deep-2a2a", "bob")
    with pytest.raises(OverlapError):
        claim(a, ja, "wide-2a2a", "ann")
    assert claim(a, ja, "wide-2a2a", "ann", allow_overlap=True)


def race(hub: Hub, monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[], None]) -> None:
    """Lets something happen between the next reading and its push."""
    push = Remote.push

    def late(remote: Remote, updates: list[Update], *, hooks: bool = False) -> bool:
        monkeypatch.setattr(Remote, "push", push)
        meanwhile()
        return push(remote, updates, hooks=hooks)

    monkeypatch.setattr(Remote, "push", late)


def test_an_overlap_that_appears_meanwhile_is_refused(overlapping: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    (a, ja), (b, jb) = overlapping.place(), overlapping.place()
    race(overlapping, monkeypatch, lambda: (claim(b, jb, "wide-2a2a", "bob"), None)[1])
    with pytest.raises(OverlapError, match="bob works on wide-2a2a"):
        claim(a, ja, "deep-2a2a", "ann")
    assert set(overlapping.refs()) == {"wide-2a2a"}


def test_a_claim_of_other_files_meanwhile_only_costs_a_second_try(
    overlapping: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    (a, ja), (b, jb) = overlapping.place(), overlapping.place()
    race(overlapping, monkeypatch, lambda: (claim(b, jb, ONE, "bob"), None)[1])  # the same lock: work/
    assert claim(a, ja, TWO, "ann")
    assert set(overlapping.refs()) == {ONE, TWO}


def test_an_expired_rival_goes_in_the_same_push(overlapping: Hub) -> None:
    (a, ja), (b, jb) = overlapping.place(), overlapping.place(skew=2 * HOUR)
    claim(a, ja, "wide-2a2a", "ann")
    assert claim(b, jb, "deep-2a2a", "bob")
    assert set(overlapping.refs()) == {"deep-2a2a"}
    with pytest.raises(ClaimLostError, match="is gone"):
        renew(a, ja, "wide-2a2a")


def test_a_rival_renewed_meanwhile_wins(overlapping: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    (a, ja), (b, jb) = overlapping.place(), overlapping.place(skew=2 * HOUR)
    claim(a, ja, "wide-2a2a", "ann")

    def renewed() -> None:
        a.skew = 2 * HOUR
        renew(a, ja, "wide-2a2a")

    race(overlapping, monkeypatch, renewed)
    with pytest.raises(OverlapError, match="ann works on wide-2a2a"):
        claim(b, jb, "deep-2a2a", "bob")
    assert set(overlapping.refs()) == {"wide-2a2a"}


def test_an_expired_claim_is_not_renewed_over_a_rival(overlapping: Hub) -> None:
    (a, ja), (b, jb) = overlapping.place(), overlapping.place()
    claim(a, ja, "wide-2a2a", "ann", lease_s=1)
    claim(b, jb, "deep-2a2a", "bob", allow_overlap=True)  # so that ann's claim stays where it is
    a.skew = 60
    with pytest.raises(OverlapError):
        renew(a, ja, "wide-2a2a")


def test_more_globs_for_a_claim(overlapping: Hub) -> None:
    (a, ja), (b, jb) = overlapping.place(), overlapping.place()
    first = claim(a, ja, ONE, "ann").claim
    more = claim(a, ja, ONE, "ann", also=("docs/api/x.md",)).claim
    assert more.nonce == first.nonce and more.touches == (*first.touches, "docs/api/x.md")
    with pytest.raises(OverlapError):
        claim(b, jb, "wide-2a2a", "bob")
    with pytest.raises(TaskError, match="must be relative"):
        claim(a, ja, ONE, "ann", also=("../x",))


# -- hosts ------------------------------------------------------------------------------------------------------------

ONLY_BRANCHES = 'while read old new ref; do case "$ref" in refs/heads/*) ;; *) exit 1;; esac; done'


def test_a_host_that_takes_branches_only(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claiming, "PAUSE", 0.001)
    hub.hook("pre-receive", ONLY_BRANCHES)
    place, journal = hub.place()
    with pytest.raises(HostRefusesError, match="does not take origin refs below refs/claims/") as caught:
        claim(place, journal, ONE, "ann")
    assert caught.value.hint and 'claims_prefix = "refs/heads/claims/"' in caught.value.hint
    hub.put({"specs/protocol.toml": 'claims_prefix = "refs/heads/claims/"\n'})
    (a, ja), (b, jb) = hub.place(), (place, journal)
    won = claim(a, ja, ONE, "ann").claim
    assert hub.refs("refs/heads/claims/") == {ONE: won.commit}
    with pytest.raises(ClaimHeldError):
        claim(b, jb, ONE, "bob")
    assert renew(a, ja, ONE) and release(a, ja, ONE)


def test_the_prefix_by_setting(hub: Hub) -> None:
    place, journal = hub.place(prefix="refs/trial/claims/")
    claim(place, journal, ONE, "ann")
    assert set(hub.refs("refs/trial/claims/")) == {ONE}
    assert hub.refs() == {}


def test_no_right_to_push(hub: Hub) -> None:
    place, journal = hub.place()
    git(place.git.root, "config", "remote.origin.receivepack", "false")  # as a host that drops the connection
    assert place.board().claims == {}
    with pytest.raises(RemoteError, match="did not take the push") as caught:
        claim(place, journal, ONE, "ann")
    assert caught.value.hint and "in a fork" in caught.value.hint


# -- claims that others wrote -----------------------------------------------------------------------------------------


def put_claim(hub: Hub, message: str) -> str:
    place, _journal = hub.place()
    made = place.git.commit(place.git.empty_tree, message)
    assert place.remote.push([Update(f"refs/claims/{ONE}", None, made)])
    return made


GARBAGE = {
    "text": "hello",
    "later-version": 'x\n\n{"schema_version": 2}',
    "no-object": "x\n\n[1]",
    "deep": "x\n\n" + "[" * 60000,
    "wrong-types": 'x\n\n{"schema_version": 1, "task": "one-2a2a", "touches": 7}',
    "huge": "x\n\n" + "y" * 100000,
}


@pytest.mark.parametrize("name", GARBAGE)
def test_a_claim_that_cannot_be_read_is_nobodys_to_take(hub: Hub, name: str) -> None:
    put_claim(hub, GARBAGE[name])
    place, journal = hub.place(skew=1e6)
    with pytest.raises(ClaimHeldError, match="cannot be read") as caught:
        claim(place, journal, ONE, "ann")
    assert caught.value.hint and "--force" in caught.value.hint
    assert ONE not in {t.id for t in candidates(place.board(), "ann")}
    assert force_release(place, ONE) is not None
    assert claim(place, journal, ONE, "ann")


@pytest.mark.parametrize(
    "change", [{"task": TWO}, {"agent": "a\nb"}, {"nonce": "x"}, {"expires_at": float("inf")}, {"touches": ("../x",)},
               {"branch": "--force"}, {"renewals": "many"}, {"expires_at": "soon"}], ids=str
)  # fmt: skip
def test_claims_with_wrong_fields_cannot_be_read(hub: Hub, change: dict[str, object]) -> None:
    place, _journal = hub.place()
    good = Claim(ONE, "ann", "0" * 32, 1.0, 2.0, 1.0, 0, f"task/{ONE}", ("docs",), "0" * 40)
    written = write_claim(place.git, good, 1.0)
    assert read_claims(place.git, {ONE: written.commit})[ONE] == written
    bad = place.git.read_objects([written.commit])[written.commit].decode()
    made = write_claim(place.git, replace(good, **change) if "agent" not in change else good, 1.0)  # type: ignore[arg-type]
    if "agent" in change:
        text = bad.partition("\n\n")[2].replace('"ann"', '"a\\nb"')
        made = replace(made, commit=place.git.commit(place.git.empty_tree, text))
    assert not read_claims(place.git, {ONE: made.commit})[ONE].readable


def test_a_claim_is_of_the_task_that_its_ref_names(hub: Hub) -> None:
    (a, ja), (b, jb) = hub.place(), hub.place()
    won = claim(a, ja, ONE, "ann").claim
    assert b.board().claims[ONE].readable
    assert a.remote.push([Update(f"refs/claims/{TWO}", None, won.commit)])
    for place in (a, b):
        assert not place.board().claims[TWO].readable
    with pytest.raises(ClaimHeldError, match="cannot be read"):
        claim(b, jb, TWO, "bob")


def test_release_and_clear(hub: Hub) -> None:
    place, journal = hub.place()
    claim(place, journal, ONE, "ann")
    assert release(place, journal, ONE)
    with pytest.raises(ClaimLostError, match="was not claimed from this clone"):
        release(place, journal, ONE)
    claim(place, journal, ONE, "ann")
    assert force_release(place, ONE) is not None
    assert force_release(place, ONE) is None
    assert not release(place, journal, ONE), "there is nothing to give back"
    claim(place, journal, ONE, "ann")
    claim(place, journal, TWO, "ann")
    hub.put({f"specs/ws09-docs/{ONE}.done.json": "{}"})
    assert clear_done(place) == [ONE]
    assert set(hub.refs()) == {TWO}
    journal.remember(ONE, "0" * 32)
    with pytest.raises(ClaimLostError, match="is gone and the task is done"):
        own(place.board(), journal, ONE)


def test_next_prefers_what_others_wait_for_and_spreads(hub: Hub) -> None:
    hub.specs("late-2a2a", depends_on=[TWO])
    hub.specs(*(f"more-{n}2aa" for n in range(6)))
    board = hub.place()[0].board()
    orders = [[t.id for t in candidates(board, agent)] for agent in ("ann", "bob", "cid")]
    assert [order[0] for order in orders] == [TWO] * 3
    assert len({tuple(order) for order in orders}) == 3
    assert candidates(board, "ann", "ws01-other") == []


def test_journals_of_odd_remotes(hub: Hub) -> None:
    first, second = (Journal(hub.folder, name) for name in ("https://x/../y", "origin"))
    first.remember(ONE, "0" * 32)
    assert first.made(ONE, "0" * 32) and not second.made(ONE, "0" * 32) and not first.made(ONE, "../x")
    assert first.tasks() == [ONE]
    assert [p.name for p in (hub.folder / "claims").iterdir()] != ["https://x"]


def test_a_spec_that_is_not_valid_cannot_be_claimed(hub: Hub) -> None:
    hub.put({"specs/ws09-docs/bad-2a2a.yaml": spec("bad-2a2a", size="huge")})
    place, journal = hub.place()
    with pytest.raises(Exception, match=r"specs/ws09-docs/bad-2a2a.yaml:6: size"):
        claim(place, journal, "bad-2a2a", "ann")
    assert "bad-2a2a" not in {t.id for t in candidates(place.board(), "ann")}
