"""The conformance table and the results that it is made of."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from conformance.records import CRASHED, Results, by_class, class_of, read_summary
from conformance.table import DOCUMENT, WHY, render


def test_the_table_is_what_the_results_give() -> None:
    assert DOCUMENT.read_text(encoding="utf-8") == render(*read_summary())


def test_enough_passes() -> None:
    _, classes = read_summary()
    passed, failed = (sum(getattr(counts, key) for counts in classes.values()) for key in ("passed", "failed"))
    assert passed + failed > 6000
    assert passed / (passed + failed) >= 0.97
    assert sum(1 for counts in classes.values() if not counts.failed) / len(classes) >= 0.9


def test_each_class_that_is_not_whole_has_its_reason_and_no_other() -> None:
    _, classes = read_summary()
    broken = {name for name, counts in classes.items() if counts.failed}
    assert set(WHY) == broken
    assert all(sum(classes[name].reasons.values()) == classes[name].failed for name in broken)


@pytest.mark.parametrize(
    ("test", "name"),
    [
        ("iOS17/test_x.py::TestTopK::test_smoke[a=b-c::d]", "iOS17/TestTopK"),
        ("coreml_dialect/test_y.py::test_smoke", "coreml_dialect/test_y"),
        ("some/where/iOS14/test_z.py::TestA::test_b[1/2]", "iOS14/TestA"),
    ],
)
def test_classes(test: str, name: str) -> None:
    assert class_of(test) == name


def test_a_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    first = Results(path)
    first.add("a/test_x.py::TestX::test_1", "started")
    first.add("a/test_x.py::TestX::test_1", "passed")
    first.add("a/test_x.py::TestX::test_2", "not executed")
    first.add("a/test_x.py::TestX::test_3", "started")  # and no more
    again = Results(path)
    assert again.known == {f"a/test_x.py::TestX::test_{n}" for n in (1, 2, 3)}
    assert again.outcomes["a/test_x.py::TestX::test_3"] == ("failed", CRASHED)
    assert json.loads(path.read_text().splitlines()[-1])["outcome"] == "failed"
    counts = by_class([again])["a/TestX"]
    assert (counts.passed, counts.failed, counts.reasons) == (1, 1, {CRASHED: 1})


def test_later_results_replace_earlier_ones(tmp_path: Path) -> None:
    first, later = Results(None), Results(None)
    first.add("a/test_x.py::TestX::test_1", "failed", "an op is missing")
    first.add("a/test_x.py::TestX::test_2", "passed")
    later.add("a/test_x.py::TestX::test_1", "passed")
    counts = by_class([first, later])["a/TestX"]
    assert (counts.passed, counts.failed, counts.reasons) == (2, 0, {})
