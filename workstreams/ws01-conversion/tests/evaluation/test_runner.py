"""Windows through models: in blocks of any size, in any number of processes, from a shelf; and what may go wrong."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lilims.conversion import shelves
from lilims.conversion.evaluation.cache import Shelf, make_room
from lilims.conversion.evaluation.metrics import Scores, score
from lilims.conversion.evaluation.runner import Work, run, score_window, usual_jobs
from lilims.conversion.evaluation.sources import aligned
from lilims.conversion.evaluation.windows import Windowing, plan
from lilims.conversion.workers import crew
from lilims.core.errors import ExecutionError, InputError
from lilims.core.events import Event, listening

from .fakes import Bigram, random_ids

MODEL, REFERENCE = Bigram(0), Bigram(1, chunk=3)
WINDOWS = plan(random_ids(200), Windowing(16))


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other processes import the fakes by the name that pytest gives them."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[4]))


def assert_same(found: Scores, wanted: Scores) -> None:
    for field in fields(Scores):
        np.testing.assert_array_equal(getattr(found, field.name), getattr(wanted, field.name), err_msg=field.name)


def direct() -> Scores:
    """All rows at once, by the definition."""
    inputs = [token for w in WINDOWS for token in w.inputs[w.first :]]
    targets = [token for w in WINDOWS for token in w.targets]
    return score(MODEL.table[inputs], targets, REFERENCE.table[inputs])


@pytest.mark.parametrize("jobs", [1, 2, 3])
def test_any_number_of_processes_gives_the_same_bits(jobs: int) -> None:
    events: list[Event] = []
    with listening(events.append), crew(jobs=jobs) as workers:
        found = run(Work(MODEL, REFERENCE), WINDOWS, workers=workers)
    assert_same(found, direct())
    assert [event.fields["done"] for event in events] == list(range(1, len(WINDOWS) + 1))
    assert events[-1].fields["nll"] == pytest.approx(found.nll.mean())
    assert events[-1].fields["divergence"] == pytest.approx(found.divergence.mean())


def test_blocks_of_any_size_are_aligned() -> None:
    rows = np.arange(23, dtype=np.float32).reshape(23, 1)

    def blocks(*sizes: int) -> Iterator[np.ndarray]:
        first = 0
        for size in sizes:
            yield rows[first : first + size]
            first += size

    pairs = list(aligned(blocks(5, 0, 10, 8), blocks(1, 7, 7, 7, 1)))
    assert all(len(a) == len(b) > 0 for a, b in pairs)
    for side in (0, 1):
        np.testing.assert_array_equal(np.concatenate([pair[side] for pair in pairs]), rows)
    with pytest.raises(InputError, match="different numbers of logits"):
        list(aligned(blocks(5, 5), blocks(5, 4)))


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize("whose", ["the model", "the reference"])
def test_nan_names_the_window(jobs: int, whose: str) -> None:
    counting = next(i for i, w in enumerate(WINDOWS) if 39 in w.inputs[w.first :])
    broken = replace(MODEL, broken=39)
    work = Work(broken, REFERENCE) if whose == "the model" else Work(MODEL, broken)
    message = f"the logits of {whose} are not finite in window {counting} \\(from token {16 * counting} of the text\\)"
    with crew(jobs=jobs) as workers, pytest.raises(ExecutionError, match=message):
        run(work, WINDOWS, workers=workers)


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "shelf", 40)


def opened(marker: Path) -> int:
    return len(marker.read_text().splitlines()) if marker.exists() else 0


def test_a_kept_reference_is_not_run_again_and_gives_the_same_bits(shelf: Shelf, tmp_path: Path) -> None:
    marker = tmp_path / "opened"
    reference = replace(REFERENCE, opened=str(marker))
    for times in (1, 1):
        assert_same(run(Work(MODEL, reference, shelf), WINDOWS), direct())
        assert opened(marker) == times
    with crew(jobs=2) as workers:
        assert_same(run(Work(MODEL, reference, shelf), WINDOWS, workers=workers), direct())
    assert opened(marker) == 1
    assert sum(path.stat().st_size for path in shelf.folder.iterdir()) == sum(
        4 * 40 * len(w.targets) + 4 for w in WINDOWS
    )


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def flip(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[40] ^= 1
    path.write_bytes(raw)


@pytest.mark.parametrize("damage", [cut, flip, Path.unlink])
def test_a_damaged_file_is_computed_again(shelf: Shelf, tmp_path: Path, damage: Any) -> None:
    marker = tmp_path / "opened"
    reference = replace(REFERENCE, opened=str(marker))
    run(Work(MODEL, reference, shelf), WINDOWS)
    damage(shelf.path(WINDOWS[3]))
    assert_same(run(Work(MODEL, reference, shelf), WINDOWS), direct())
    assert opened(marker) == 2
    assert shelf.read(WINDOWS[3]) is not None


def test_what_is_not_finished_leaves_nothing(shelf: Shelf) -> None:
    blocks = shelf.write(WINDOWS[0], REFERENCE.rows(WINDOWS[0]))
    next(blocks)
    blocks.close()  # type: ignore[attr-defined]
    assert list(shelf.folder.iterdir()) == []


def test_a_folder_that_cannot_be_written_costs_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert_same(run(Work(MODEL, REFERENCE, Shelf(tmp_path / "file" / "shelf", 40)), WINDOWS), direct())


def test_the_oldest_references_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelves, "cache_dir", lambda: tmp_path)
    size = sum(4 * 40 * len(w.targets) + 4 for w in WINDOWS)
    for age, name in ((300, "a"), (200, "b"), (100, "c")):
        made = make_room(name, WINDOWS, 40, limit=10 * size)
        assert made is not None
        run(Work(MODEL, REFERENCE, made), WINDOWS)
        os.utime(made.folder, (1e9 - age, 1e9 - age))
    make_room("a", WINDOWS, 40, limit=10 * size)  # used again
    assert make_room("d", WINDOWS, 40, limit=3 * size) is not None
    assert sorted(path.name for path in (tmp_path / "evaluation").iterdir()) == ["a", "c"]
    assert make_room("e", WINDOWS, 40, limit=size - 1) is None
    assert sorted(path.name for path in (tmp_path / "evaluation").iterdir()) == ["a", "c"]


@pytest.mark.parametrize(
    ("windows", "bytes_", "available", "cores", "wanted"),
    [(100, 10, 1000, 4, 4), (3, 10, 1000, 4, 1), (9, 10, 1000, 4, 2), (100, 400, 1000, 4, 2), (100, 4000, 1000, 4, 1),
     (1000, 1, None, 64, 16)],
)  # fmt: skip
def test_usual_jobs(
    windows: int, bytes_: int, available: int | None, cores: int, wanted: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: cores)
    assert usual_jobs(windows, bytes_, available) == wanted


def test_a_window_without_a_reference() -> None:
    assert not score_window(WINDOWS[0], MODEL).compared
