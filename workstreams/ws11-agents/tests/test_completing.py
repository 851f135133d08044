"""Completion: the record and the deletion of the claim reach the remote together, or neither does."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lilims.agents import claiming, completing
from lilims.agents.board import Workplace
from lilims.agents.claiming import claim, renew
from lilims.agents.completing import complete, submit
from lilims.agents.errors import (
    AcceptanceError,
    ClaimLostError,
    ConflictError,
    HostRefusesError,
    NotReadyError,
    OutsideError,
)
from lilims.agents.journal import Journal
from lilims.agents.merging import check_merge
from lilims.agents.records import Evidence, Result, parse_completion
from lilims.agents.remote import Remote, Update

from .conftest import Hub, git

ONE, TWO = "one-2a2a", "two-3b3b"
RECORD = f"specs/ws09-docs/{ONE}.done.json"
Work = Callable[..., str]


def evidence(commit: str, task: str = ONE, outcome: str = "passed") -> Evidence:
    result = Result(run=["x"], cwd=".", outcome=outcome, exit_code=0, seconds=1, output_bytes=0, output_sha256="",
                    output_tail="")  # type: ignore[arg-type]  # fmt: skip
    return Evidence(task=task, commit=commit, platform="p", python="3", results=[result])


@pytest.fixture
def held(hub: Hub) -> tuple[Workplace, Journal]:
    place, journal = hub.place()
    claim(place, journal, ONE, "ann")
    return place, journal


def test_complete(hub: Hub, held: tuple[Workplace, Journal], do_work: Work) -> None:
    place, journal = held
    head = do_work(place, {f"work/{ONE}.txt": "done"})
    nonce = place.board().claims[ONE].nonce
    made = complete(place, journal, evidence(head))
    assert hub.refs() == {}
    assert git(hub.path, "rev-parse", "main", "main^") == f"{made.commit}\n{head}"
    record = parse_completion(git(hub.path, "show", f"main:{RECORD}").encode(), RECORD)
    assert (record.task, record.claim, record.agent, record.evidence.commit) == (ONE, nonce, "ann", head)
    assert git(hub.path, "log", "-1", "--format=%(trailers)", "main") == f"Task: {ONE}\nClaim: {nonce}"
    board = place.board()
    assert board.state(board.catalogue.task(ONE)) == "done"
    assert board.catalogue.lint() == []
    assert not journal.knows(ONE)


def test_a_main_branch_that_moved_is_merged_with(hub: Hub, held: tuple[Workplace, Journal], do_work: Work) -> None:
    place, journal = held
    head = do_work(place, {f"work/{ONE}.txt": "done"})
    moved = hub.put({"other.txt": "x"})
    complete(place, journal, evidence(head))
    assert git(hub.path, "log", "-1", "--format=%P", "main") == f"{moved} {head}"
    files = set(git(hub.path, "ls-tree", "-r", "--name-only", "main").split())
    assert {"README.md", "other.txt", RECORD, f"work/{ONE}.txt"} <= files


def test_a_conflict_is_left_to_the_agent(hub: Hub, held: tuple[Workplace, Journal], do_work: Work) -> None:
    place, journal = held
    head = do_work(place, {f"work/{ONE}.txt": "done"})
    main = hub.put({f"work/{ONE}.txt": "another"})
    with pytest.raises(ConflictError, match="does not merge"):
        complete(place, journal, evidence(head))
    assert git(hub.path, "rev-parse", "main") == main
    assert ONE in hub.refs()


def test_main_moves_between_reading_and_push(
    hub: Hub, held: tuple[Workplace, Journal], do_work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, journal = held
    head = do_work(place, {f"work/{ONE}.txt": "done"})
    push = Remote.push

    def late(remote: Remote, updates: list[Update], *, hooks: bool = False) -> bool:
        monkeypatch.setattr(Remote, "push", push)
        hub.put({"other.txt": "x"})
        return push(remote, updates, hooks=hooks)

    monkeypatch.setattr(Remote, "push", late)
    complete(place, journal, evidence(head))
    assert "other.txt" in git(hub.path, "ls-tree", "-r", "--name-only", "main")


def test_an_agent_that_lost_its_claim_cannot_complete(
    hub: Hub, held: tuple[Workplace, Journal], do_work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, journal = held
    head = do_work(place, {f"work/{ONE}.txt": "done"})
    other, other_journal = hub.place(skew=1e6)
    push = Remote.push
    main = place.board().main

    def taken_over_just_before(remote: Remote, updates: list[Update], *, hooks: bool = False) -> bool:
        monkeypatch.setattr(Remote, "push", push)
        claim(other, other_journal, ONE, "bob")
        return push(remote, updates, hooks=hooks)

    monkeypatch.setattr(Remote, "push", taken_over_just_before)
    with pytest.raises(ClaimLostError, match="bob has it now"):
        complete(place, journal, evidence(head))
    assert git(hub.path, "rev-parse", "main") == main
    complete(other, other_journal, evidence(do_work(other, {f"work/{ONE}.txt": "bob's"})))
    with pytest.raises(ClaimLostError, match="is gone and the task is done"):
        complete(place, journal, evidence(head))
    assert git(hub.path, "log", "--format=%s", "main", "--", RECORD).count("Complete") == 1


def test_an_expired_claim_that_nobody_took_still_completes(
    hub: Hub, held: tuple[Workplace, Journal], do_work: Work
) -> None:
    place, journal = held
    place.skew = 1e6
    assert complete(place, journal, evidence(do_work(place, {f"work/{ONE}.txt": "late"})))


def test_what_is_refused(hub: Hub, held: tuple[Workplace, Journal], do_work: Work) -> None:
    place, journal = held
    head = do_work(place, {f"work/{ONE}.txt": "done"})
    with pytest.raises(AcceptanceError):
        complete(place, journal, evidence(head, outcome="failed"))
    with pytest.raises(AcceptanceError):
        complete(place, journal, evidence(head, outcome="skipped"))
    with pytest.raises(ClaimLostError, match="was not claimed from this clone"):
        complete(place, journal, evidence(head, TWO))
    stray = do_work(place, {f"work/{ONE}.txt": "done", "README.md": "mine"})
    with pytest.raises(OutsideError, match=r"changes README.md"):
        complete(place, journal, evidence(stray))
    root = place.git.commit(place.git.empty_tree, "unrelated")
    with pytest.raises(ConflictError, match="no commit in common"):
        complete(place, journal, evidence(root))
    claim(place, journal, ONE, "ann", also=("README.md",))
    assert complete(place, journal, evidence(stray))


def test_a_protected_main_branch(
    hub: Hub, held: tuple[Workplace, Journal], do_work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(completing, "PAUSE", 0.001)
    monkeypatch.setattr(claiming, "PAUSE", 0.001)
    place, journal = held
    head = do_work(place, {f"work/{ONE}.txt": "done"})
    hub.hook("pre-receive", 'while read old new ref; do [ "$ref" != refs/heads/main ] || exit 1; done')
    with pytest.raises(HostRefusesError, match="does not let you push to main") as caught:
        complete(place, journal, evidence(head))
    assert caught.value.hint == f"lilims tasks complete {ONE} --pull-request"
    made = submit(place, journal, evidence(head))
    assert git(hub.path, "rev-parse", f"task/{ONE}") == made.commit
    there = place.board().claims[ONE]
    assert there.submitted and there.lease_s == completing.REVIEW_LEASE_S
    assert check_merge(place.git, place.board(), place.board().main, made.commit) == ([ONE], [])


def test_a_submission_needs_the_claim(hub: Hub, held: tuple[Workplace, Journal], do_work: Work) -> None:
    place, journal = held
    head = do_work(place, {f"work/{ONE}.txt": "done"})
    other, other_journal = hub.place(skew=1e6)
    claim(other, other_journal, ONE, "bob")
    with pytest.raises(ClaimLostError):
        submit(place, journal, evidence(head))
    assert git(hub.path, "for-each-ref", "refs/heads/task") == ""


def test_nothing_is_pushed_by_a_dry_run(hub: Hub, held: tuple[Workplace, Journal], do_work: Work) -> None:
    place, journal = held
    head = do_work(place, {f"work/{ONE}.txt": "done"})
    refs = git(hub.path, "for-each-ref")
    made = complete(place, journal, evidence(head), push=False)
    assert submit(place, journal, evidence(head), push=False).title == made.title
    assert made.title == f"Complete {ONE}: The task {ONE}" and f"Task: {ONE}\nClaim: " in made.body
    assert git(hub.path, "for-each-ref") == refs


# -- check-merge ------------------------------------------------------------------------------------------------------


@pytest.fixture
def submitted(hub: Hub, held: tuple[Workplace, Journal], do_work: Work) -> tuple[Workplace, str, str]:
    """A clone, the main branch and a branch that completes one-2a2a."""
    place, journal = held
    head = do_work(place, {f"work/{ONE}.txt": "done"})
    return place, place.board().main, submit(place, journal, evidence(head)).commit


def refusals(place: Workplace, base: str, head: str) -> list[str]:
    return [str(refusal) for refusal in check_merge(place.git, place.board(), base, head)[1]]


def test_a_merge_under_its_own_claim(submitted: tuple[Workplace, str, str], do_work: Work) -> None:
    place, main, head = submitted
    assert check_merge(place.git, place.board(), main, head) == ([ONE], [])
    plain = do_work(place, {"README.md": "anything"})
    assert check_merge(place.git, place.board(), main, plain) == ([], []), "a range without a task"


def test_a_merge_under_another_claim(hub: Hub, submitted: tuple[Workplace, str, str]) -> None:
    place, main, head = submitted
    other, other_journal = hub.place(skew=1e8)
    claim(other, other_journal, ONE, "bob")
    (line,) = refusals(place, main, head)
    assert line.startswith(f"trailers: the claim of {ONE} is bob's ")
    claiming.force_release(other, ONE)
    assert refusals(place, main, head) == [f"trailers: there is no claim of {ONE} on the remote"]


def amended(place: Workplace, head: str, message: str, files: dict[str, str] | None = None) -> str:
    tree = place.git.tree_with(head, {p: t.encode() for p, t in (files or {}).items()})
    return place.git.commit(tree, message, [f"{head}^"])


def test_merges_that_are_refused(hub: Hub, submitted: tuple[Workplace, str, str], do_work: Work) -> None:
    place, main, head = submitted
    nonce = place.board().claims[ONE].nonce
    good = f"x\n\nTask: {ONE}\nClaim: {nonce}"
    assert refusals(place, main, amended(place, head, good)) == []
    text = git(place.git.root, "show", f"{head}:{RECORD}")
    cases = {
        "trailers: .* does not carry": amended(place, head, "no trailers"),
        "trailers: .* does not carry .*": amended(place, head, f"x\n\nTask: {ONE}\nClaim: {'0' * 32}"),
        "trailers: a commit names the task two-3b3b": amended(place, head, f"{good}\nTask: {TWO}"),
        "scope: README.md is outside": amended(place, head, good, {"README.md": "mine"}),
        "immutable: specs/ws09-docs/two-3b3b.yaml may not change": amended(
            place, head, good, {f"specs/ws09-docs/{TWO}.yaml": "{}"}
        ),
        "record: .* evidence shows a failure": amended(place, head, good, {RECORD: text.replace("passed", "failed")}),
        "record: .* not a completion record": amended(place, head, good, {RECORD: "{}"}),
        "record: .* another text of the spec": amended(
            place, head, good, {RECORD: text.replace(place.board().claims[ONE].spec, "0" * 40)}
        ),
        "record: .* verified is not in what": amended(
            place, head, good, {RECORD: text.replace(git(place.git.root, "rev-parse", f"{head}^"), main)}
        ),
        "record: .* has no task 'one-2a2a' there": amended(
            place, head, good, {RECORD.replace("ws09-docs", "ws01-x"): text}
        ),
    }
    import re

    for pattern, commit in cases.items():
        lines = refusals(place, main, commit)
        assert any(re.match(pattern, line) for line in lines), (pattern, lines)


def test_a_record_stays(hub: Hub, held: tuple[Workplace, Journal], do_work: Work) -> None:
    place, journal = held
    made = complete(place, journal, evidence(do_work(place, {f"work/{ONE}.txt": "done"})))
    changed = do_work(place, {RECORD: "{}"})
    assert refusals(place, made.commit, changed) == [f"immutable: {RECORD} is a completion record: it stays as it is"]
    with pytest.raises(NotReadyError):
        claim(place, journal, ONE, "bob")
    with pytest.raises(ClaimLostError):
        renew(place, journal, ONE)
