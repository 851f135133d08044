"""The age gate, the guardian's choice and PIN: what is refused and what is not."""

from __future__ import annotations

import pytest

from lilims.ui.web import safety as safety_module
from lilims.ui.web.errors import NotAllowedError, RequestError
from lilims.ui.web.safety import Safety
from lilims.ui.web.store import Store

COST = safety_module._COST


class Clock:
    """A clock that a test moves."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """scrypt with less work: its form is tested, not its cost."""
    monkeypatch.setattr(safety_module, "_COST", 1 << 4)


def test_a_guess_is_not_cheap() -> None:
    assert COST >= 1 << 15  # 32 MiB of memory a guess


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def safety(store: Store, clock: Clock) -> Safety:
    return Safety(store, clock=clock)


def _code(safety: Safety) -> str | None:
    try:
        safety.check()
    except NotAllowedError as error:
        return error.code
    return None


def test_nothing_before_the_age_is_known(safety: Safety) -> None:
    assert _code(safety) == "age_unknown"
    assert safety.state()["allowed"] is False


def test_16_or_older_is_free_and_not_moderated(safety: Safety) -> None:
    safety.choose_band("16plus")
    assert _code(safety) is None and not safety.moderated
    safety.moderate(True)
    assert safety.moderated


def test_under_16_is_refused_by_default(safety: Safety) -> None:
    safety.choose_band("under16")
    assert _code(safety) == "under_age"
    safety.moderate(False)
    assert _code(safety) == "under_age"


def test_a_guardian_can_choose_moderated_and_take_it_back(safety: Safety) -> None:
    safety.choose_band("under16")
    safety.set_pin("2468")
    safety.choose("moderated", "2468")
    assert _code(safety) is None and safety.moderated
    safety.moderate(False)
    assert safety.moderated, "under 16, moderation cannot be switched off"
    safety.choose("refuse", "2468")
    assert _code(safety) == "under_age"


@pytest.mark.parametrize("pin", [None, "", "1357", "24680", "２４６８"])
def test_a_wrong_pin_changes_nothing(safety: Safety, pin: str | None) -> None:
    safety.choose_band("under16")
    safety.set_pin("2468")
    for attempt in (lambda: safety.choose("moderated", pin), lambda: safety.choose_band("16plus", pin)):
        with pytest.raises(NotAllowedError) as caught:
            attempt()
        assert caught.value.code == "pin_wrong"
    with pytest.raises(NotAllowedError):
        safety.set_pin("9999", pin)
    assert _code(safety) == "under_age"


def test_without_a_pin_a_child_cannot_grow_older(safety: Safety) -> None:
    safety.choose_band("under16")
    with pytest.raises(NotAllowedError) as caught:
        safety.choose_band("16plus")
    assert caught.value.code == "pin_needed"
    safety.set_pin("2468")
    safety.choose_band("16plus", "2468")
    assert _code(safety) is None


def test_guessing_takes_ever_longer(safety: Safety, clock: Clock) -> None:
    safety.choose_band("under16")
    safety.set_pin("2468")
    for _ in range(5):
        with pytest.raises(NotAllowedError, match="wrong"):
            safety.choose("moderated", "0000")
    with pytest.raises(NotAllowedError) as caught:
        safety.choose("moderated", "2468")  # even the right one
    assert caught.value.code == "pin_locked"
    clock.now += 31
    with pytest.raises(NotAllowedError, match="wrong"):
        safety.choose("moderated", "0000")
    clock.now += 31
    with pytest.raises(NotAllowedError) as caught:
        safety.choose("moderated", "2468")
    assert caught.value.code == "pin_locked", "the second pause is longer"
    clock.now += 60
    safety.choose("moderated", "2468")
    assert _code(safety) is None


def test_the_lock_outlives_a_restart(safety: Safety, store: Store, clock: Clock) -> None:
    safety.choose_band("under16")
    safety.set_pin("2468")
    for _ in range(5):
        with pytest.raises(NotAllowedError):
            safety.choose("moderated", "0000")
    with pytest.raises(NotAllowedError) as caught:
        Safety(store, clock=clock).choose("moderated", "2468")
    assert caught.value.code == "pin_locked"


def test_no_pin_and_no_date_of_birth_are_kept(safety: Safety, store: Store) -> None:
    safety.choose_band("under16")
    safety.set_pin("a very long PIN of a guardian")
    facts = {row[0]: row[1] for row in store._rows("SELECT name, value FROM facts")}
    assert set(facts) == {"age_band", "pin", "pin_failures", "pin_locked"}
    assert "guardian" not in facts["pin"] and len(facts["pin"]) > 150


@pytest.mark.parametrize("pin", ["123", "x" * 65, ""])
def test_pins_that_are_none(safety: Safety, pin: str) -> None:
    with pytest.raises(RequestError):
        safety.set_pin(pin)


def test_bands_and_choices_that_are_none(safety: Safety) -> None:
    with pytest.raises(RequestError):
        safety.choose_band("12")
    with pytest.raises(RequestError):
        safety.choose("anything", None)
