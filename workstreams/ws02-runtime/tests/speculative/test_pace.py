"""Whether to check: from costs that are counted out, not measured."""

from __future__ import annotations

import pytest

from lilims.runtime.sampling import Sampler, SamplingParameters
from lilims.runtime.speculative import Pace, PromptLookup, Speculator
from lilims.runtime.speculative.pace import Reach

from .toy import ToySession, as_session


def test_the_first_step_is_plain_and_the_first_check_does_not_count() -> None:
    pace = Pace()
    assert not pace.pays()
    pace.stepped(1.0)
    assert pace.pays()
    pace.checked(2, 100.0)  # a function was loaded
    assert pace.pays()
    assert pace.check is None


def test_it_pays_while_the_tokens_take_longer_one_by_one() -> None:
    pace = Pace()
    pace.stepped(1.0)
    for _ in range(3):
        pace.checked(3, 2.0)
    assert pace.pays()
    for _ in range(20):
        pace.checked(1, 2.0)
    assert [pace.pays() for _ in range(3000)].index(True) >= 16  # eight times as long as a check takes
    assert pace.pays()  # and from then on, until there is something to check
    pace.checked(1, 2.0)
    assert [pace.pays() for _ in range(3000)].index(True) >= 32


def test_where_it_does_not_pay_it_is_tried_ever_more_rarely() -> None:
    pace, checks = Pace(), []
    for step in range(2000):
        if pace.pays():
            checks.append(step)
            pace.checked(1, 5.0)
        else:
            pace.stepped(1.0)
    assert checks[:4] == [1, 2, 43, 124]
    assert 5 < len(checks) < 9


def test_the_speedup_counts_everything() -> None:
    pace = Pace()
    assert pace.speedup is None
    pace.stepped(1.0)
    pace.checked(4, 2.0)
    assert pace.speedup == pytest.approx(5 / 3)


@pytest.mark.parametrize(("cost", "most_checks"), [(1.5, 1000), (30.0, 25)], ids=["cheap", "dear"])
def test_a_generation_keeps_to_it(cost: float, most_checks: int) -> None:
    """The text repeats itself, so proposals are good; whether they pay is a question of what a check costs."""
    session, sampler = ToySession(), Sampler(SamplingParameters())

    def clock() -> float:
        return session.appended + cost * session.scored

    speculator, found = Speculator(PromptLookup(), most=7, clock=clock), [1]
    session.append([0])
    while len(found) < 400:
        found += [choice.id for choice in speculator.step(as_session(session), sampler, found[-1])[0]]
    assert 0 < session.scored <= most_checks
    if cost < 2:
        assert speculator.pace.speedup is not None and speculator.pace.speedup > 3
        assert session.appended < 20
    else:
        assert session.appended > 150


@pytest.mark.parametrize(
    ("checks", "length"),
    [
        ([], 4),
        ([(4, 4)], 8),
        ([(4, 4), (8, 8), (8, 8)], 10),
        ([(4, 1)], 1),
        ([(4, 0)], 1),
        ([(4, 0), (1, 1)], 2),
        ([(3, 3)], 4),  # shorter than asked for: says nothing of longer ones
    ],
)
def test_guesses_are_as_long_as_they_are_right(checks: list[tuple[int, int]], length: int) -> None:
    reach = Reach(10)
    for proposed, accepted in checks:
        reach.checked(proposed, accepted)
    assert reach.length == length
