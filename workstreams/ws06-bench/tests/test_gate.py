"""`lilims bench gate`: its statistics, its false alarms on recorded noise, the command."""

from __future__ import annotations

import copy
import itertools
import json
import math
import random
import statistics
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lilims.bench.history import append, comparable, read
from lilims.bench.regression import METRICS, RUNS, changes, confirmed, lower_bound, pseudomedian
from lilims.core.errors import InputError

from .conftest import Run

RECORDED = Path(__file__).parent / "data" / "noise.jsonl"
"""Runs of the built-in model one after the other on a machine with other work: nothing changed between them."""
VALUES = st.lists(st.floats(-1, 1), min_size=1, max_size=9)
WORK = ("-p", "8", "-n", "4", "-r", "2", "--cold", "0", "--threads", "1")


def noise() -> list[dict[str, Any]]:
    return [report["models"][0] for report in read(RECORDED)]


def slowed(figures: dict[str, Any], times: float) -> dict[str, Any]:
    """The same run, had all of it been so many times worse."""
    changed = copy.deepcopy(figures)
    for path, more_is_better in METRICS.values():
        part: Any = changed
        for key in path[:-1]:
            part = part[key]
        factor = 1 / times if more_is_better else times
        if part is None or part.get(path[-1]) is None:
            continue
        value = part[path[-1]]
        part[path[-1]] = [one * factor for one in value] if isinstance(value, list) else value * factor
    return changed


def judged(runs: list[dict[str, Any]], times: float) -> list[bool]:
    """Whether each metric alarms, for each run that has enough runs before it; the next run is the second one."""
    return [
        one.regressed
        for number in range(RUNS, len(runs) - 1)
        for one in confirmed(*(changes(runs[:number], slowed(runs[number + more], times)) for more in (0, 1)))
    ]


def test_false_alarms_on_recorded_noise() -> None:
    """In their order, and in a hundred others: at most one figure in fifty alarms where nothing changed."""
    runs = noise()
    assert len(runs) == 30
    assert statistics.fmean(judged(runs, 1.0)) <= 0.02
    shuffled = [judged(random.Random(seed).sample(runs, len(runs)), 1.0) for seed in range(100)]
    assert statistics.fmean(alarm for order in shuffled for alarm in order) <= 0.02


def test_regressions_are_seen_in_the_same_noise() -> None:
    """Runs differ by a factor of six: six times as bad is mostly seen, and a fifth more memory always."""
    assert statistics.fmean(judged(noise(), 6.0)) >= 0.8
    runs = noise()
    for number in range(RUNS, len(runs)):
        worse = changes(runs[:number], slowed(runs[number], 1.2))
        assert [one.metric for one in worse if one.metric == "peak RSS" and one.regressed], number


def test_a_second_measurement_confirms() -> None:
    runs = [{"decode": {"tokens_per_second": {"values": [100.0] * 5}}}]
    slow, well = (changes(runs, slowed_quiet(runs[0], times)) for times in (1.5, 1.0))
    assert [one.regressed for one in confirmed(slow, slow)] == [True]
    assert [one.regressed for one in confirmed(slow, well)] == [False]
    assert [one.regressed for one in confirmed(well, slow)] == [False]
    assert confirmed(slow, []) == slow


def test_the_noise_is_noise() -> None:
    """The recorded runs do differ: without it the rates above would say nothing."""
    rates = [one["decode"]["tokens_per_second"]["median"] for one in noise()]
    assert statistics.stdev(rates) / statistics.fmean(rates) > 0.02


@given(VALUES)
def test_the_pseudomedian_is_the_median_of_walsh_averages(values: list[float]) -> None:
    every = [(values[i] + values[j]) / 2 for i in range(len(values)) for j in range(i, len(values))]
    assert pseudomedian(values) == statistics.median(every)
    assert min(values) <= lower_bound(values) <= pseudomedian(values)


@pytest.mark.parametrize("count", range(1, 11))
def test_the_bounds_order_by_all_signs(count: int) -> None:
    """Against all 2^n signs of the ranks: the order k has P(W ≤ k - 1) ≤ 5 %, and the next would not."""
    sums = [sum(r for r, sign in enumerate(signs, 1) if sign) for signs in itertools.product((0, 1), repeat=count)]
    values = [math.sqrt(2) ** n for n in range(count)]
    means = sorted((values[i] + values[j]) / 2 for i in range(count) for j in range(i, count))
    order = means.index(lower_bound(values))
    share = [statistics.fmean([one <= w for one in sums]) for w in range(len(means) + 1)]
    assert order == 0 or share[order] <= 0.05
    assert share[order + 1] > 0.05 or order + 1 == len(means)


def test_exact_changes_of_quiet_figures() -> None:
    runs = [{"decode": {"tokens_per_second": {"values": [100.0] * 5}}, "memory": {"peak_rss": 100}}] * 3
    for times, expected in ((1.0, False), (1.09, False), (1.12, True), (0.5, False)):
        found = {one.metric: one for one in changes(runs, slowed_quiet(runs[0], times))}
        assert set(found) == {"decode, tokens/s", "peak RSS"}, "what was not measured is left out"
        for one in found.values():
            assert one.worse == pytest.approx(times) and one.sure == pytest.approx(times)
            assert one.regressed is expected, (one, times)


def slowed_quiet(figures: dict[str, Any], times: float) -> dict[str, Any]:
    rates = [value / times for value in figures["decode"]["tokens_per_second"]["values"]]
    peak = {"memory": {"peak_rss": 100 * times}} if "memory" in figures else {}
    return {"decode": {"tokens_per_second": {"values": rates}}, **peak}


def test_one_good_repetition_is_a_doubt() -> None:
    """Four repetitions at half the speed and one as before: not sure enough."""
    runs = [{"decode": {"tokens_per_second": {"values": [100.0] * 5}}}]
    slow = {"decode": {"tokens_per_second": {"values": [50.0, 50, 100, 50, 50]}}}
    (found,) = changes(runs, slow)
    assert found.worse == pytest.approx(2) and not found.regressed


def test_measured_again(lilims: Run, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    history = tmp_path / "history.jsonl"
    for _ in range(2):
        assert lilims("bench", tiny, *WORK, "--history", history) == 0
    capsys.readouterr()
    code = lilims("bench", "gate", "--baseline", history, "--threshold", "10", "--history", history, "--json")
    assert code == 0, "eleven times slower than a moment ago"
    seen = json.loads(capsys.readouterr().out)
    assert seen["kind"] == "gate" and seen["passes"] is True
    assert {one["metric"] for one in seen["models"]["tiny (int8)"]} >= {"prefill, tokens/s", "peak RSS"}
    assert len(read(history)) == 3, "what passed was added"


def test_what_looks_worse_is_measured_once_more(
    lilims: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from lilims.bench import measuring

    report = read(RECORDED)[0]
    append(tmp_path / "history.jsonl", report)
    answers: list[dict[str, Any]] = []
    monkeypatch.setattr(measuring, "bench", lambda *_, **__: answers.pop(0))
    worse = {**report, "models": [slowed(report["models"][0], 1.5)]}
    for given_answers, code in (([report], 0), ([worse, report], 0), ([worse, worse], 1)):
        answers[:] = given_answers
        assert lilims("bench", "gate", "--baseline", tmp_path / "history.jsonl") == code
        assert answers == [], "as often as it takes"
        assert "fewer than 5 runs" in capsys.readouterr().err


def test_a_regression_fails(lilims: Run, tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    history, candidate = tmp_path / "history.jsonl", tmp_path / "candidate.jsonl"
    report = read(RECORDED)[0]
    append(history, report)
    append(candidate, {**report, "models": [slowed(report["models"][0], 1.5)]})
    kept = history.read_bytes()
    arguments = ("bench", "gate", "--baseline", history, "--candidate", candidate, "--history", history)
    assert lilims(*arguments) == 1
    seen = capsys.readouterr()
    assert "WORSE" in seen.out and "decode, tokens/s" in " ".join(seen.err.split())
    assert history.read_bytes() == kept, "what failed is not added"
    assert lilims("bench", "gate", "--baseline", history, "--candidate", candidate, "--threshold", "0.6") == 0


def test_only_what_compares_is_compared(lilims: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = read(RECORDED)[0]
    model = report["models"][0]
    others = [
        {**report, "workload": {**report["workload"], "prompt": 1}},
        {**report, "machine": {**report["machine"], "processor": "another"}},
        {**report, "models": [{**model, "scheme": "fp16"}]},
    ]
    assert comparable([report, *others], report, model) == [model]
    for one in others:
        append(tmp_path / "other.jsonl", one)
    append(tmp_path / "own.jsonl", report)
    code = lilims("bench", "gate", "--baseline", tmp_path / "other.jsonl", "--candidate", tmp_path / "own.jsonl")
    assert code == 2
    assert "has no run of" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    "content", [b"", b"\n\n", b"{}\n", b"[]\n", b"{", b'{"kind": "bench", "models": 3}', b"\xff\xfe"],
    ids=["empty", "blank", "object", "list", "cut", "models", "bytes"],
)  # fmt: skip
def test_histories_that_are_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "history.jsonl"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"history\.jsonl"):
        read(path)


def test_no_history(lilims: Run, tmp_path: Path) -> None:
    assert lilims("bench", "gate", "--baseline", tmp_path / "none.jsonl") == 1
    assert lilims("bench", "gate") == 2
