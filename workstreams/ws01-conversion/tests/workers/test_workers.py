"""Work in this process and in others: order, what is opened and how often, errors, ends."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import lilims.conversion.workers as package
from lilims.conversion.workers import Workers, crew
from lilims.conversion.workers.base import in_order
from lilims.core.errors import ExecutionError, UsageError

from . import jobs
from .jobs import Multiplier

ROOT = Path(__file__).parents[4]


@pytest.fixture(autouse=True)
def importable(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other processes import the jobs by the name that pytest gives them."""
    monkeypatch.syspath_prepend(str(ROOT))


@pytest.fixture(scope="module", params=[1, 2], ids=["serial", "processes"])
def workers(request: pytest.FixtureRequest) -> Iterator[Workers]:
    with crew(jobs=request.param) as found:
        yield found


@pytest.fixture
def work(tmp_path: Path) -> Multiplier:
    return Multiplier(3, str(tmp_path / "opened"))


def opened(work: Multiplier) -> list[int]:
    marker = Path(work.opened)
    return [int(line) for line in marker.read_text().split()] if marker.exists() else []


def test_results_come_in_order(workers: Workers, work: Multiplier) -> None:
    assert list(workers.map(jobs.multiply, work, range(50))) == [3 * item for item in range(50)]
    assert 1 <= len(opened(work)) <= workers.size


def test_what_was_opened_serves_the_next_call(workers: Workers, work: Multiplier) -> None:
    for _ in range(3):
        assert list(workers.map(jobs.multiply, work, [1, 2])) == [3, 6]
    assert len(opened(work)) == len(set(opened(work))) <= workers.size


def test_other_work_is_opened_and_the_last_forgotten(workers: Workers, work: Multiplier) -> None:
    other = Multiplier(5, work.opened)
    for one, wanted in ((work, [3]), (other, [5]), (work, [3])):
        assert list(workers.map(jobs.multiply, one, [1])) == wanted
    assert 2 <= len(opened(work)) <= 3  # of two processes each may keep another


def test_an_error_comes_at_its_items_turn(workers: Workers, work: Multiplier) -> None:
    found = workers.map(jobs.refuse, work, range(9))
    assert [next(found) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(UsageError, match="three is too much") as error:
        next(found)
    assert (error.value.where, error.value.hint) == ("item 3", "take two")
    assert list(workers.map(jobs.multiply, work, [7])) == [21]  # and the workers go on


def test_few_items_are_taken_ahead(workers: Workers, work: Multiplier) -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for item in range(1000):
            taken.append(item)
            yield item

    found = workers.map(jobs.multiply, work, items())
    assert next(found) == 0 and len(taken) <= 4 * workers.size
    found.close()
    assert len(taken) <= 4 * workers.size


def test_nothing_is_opened_for_no_items(workers: Workers, work: Multiplier) -> None:
    assert list(workers.map(jobs.multiply, work, [])) == [] and opened(work) == []


def test_processes_are_others_than_this(work: Multiplier) -> None:
    with crew(jobs=2) as workers:
        found = set(workers.map(jobs.where, work, range(20)))
    assert os.getpid() not in found and 1 <= len(found) <= 2
    assert all(gone(number) for number in found)


def test_a_process_that_dies_is_an_error_and_others_follow(work: Multiplier) -> None:
    with crew(jobs=2) as workers:
        for function, description in ((jobs.multiply, Multiplier(-1, work.opened)), (jobs.die, work)):
            with pytest.raises(ExecutionError, match="a process that does the work died"):
                list(workers.map(function, description, range(4)))
        assert list(workers.map(jobs.multiply, work, [1, 2])) == [3, 6]


def test_what_is_dropped_is_cancelled() -> None:
    class Future:
        def __init__(self, item: int) -> None:
            self.item, self.cancelled = item, False
            made.append(self)

        def cancel(self) -> None:
            self.cancelled = True

    made: list[Future] = []
    found = in_order(Future, lambda future: future.item, range(10), 3)
    assert [next(found), next(found)] == [0, 1]
    found.close()
    assert [future.cancelled for future in made] == [False, False, True, True]


KILLED = """
import importlib, sys
sys.path.insert(0, sys.argv[1])
from lilims.conversion.workers import crew
if __name__ == "__main__":
    jobs = importlib.import_module(sys.argv[2])
    with crew(jobs=2) as workers:
        list(workers.map(jobs.nap, jobs.Multiplier(1, sys.argv[3]), [60.0] * 4))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="a process of another one cannot be looked for by its number")
def test_a_killed_run_leaves_no_process(tmp_path: Path, work: Multiplier) -> None:
    (tmp_path / "killed.py").write_text(KILLED)
    parent = subprocess.Popen([sys.executable, tmp_path / "killed.py", str(ROOT), jobs.__name__, work.opened])
    until(lambda: len(opened(work)) == 2)
    parent.kill()
    parent.wait()
    for number in opened(work):
        until(lambda number=number: gone(number))


SCRIPT = """
import importlib, sys
sys.path.insert(0, sys.argv[1])
from lilims.conversion.workers import crew
jobs = importlib.import_module(sys.argv[2])
print("once")
with crew(jobs=2) as workers:
    print(list(workers.map(jobs.multiply, jobs.Multiplier(3, sys.argv[3]), range(4))))
"""


def test_a_script_needs_no_guard(tmp_path: Path, work: Multiplier) -> None:
    """Processes that are spawned run the main program's file again, if nobody hinders them."""
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, tmp_path / "script.py", str(ROOT), jobs.__name__, work.opened]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "once\n[0, 3, 6, 9]\n", "")


def until(true: Callable[[], bool]) -> None:
    """Waits, at most two minutes."""
    for _ in range(1200):
        if true():
            return
        time.sleep(0.1)
    raise AssertionError("it never became true")


def gone(number: int) -> bool:
    """Whether a process has ended; one that nobody has waited for counts as ended."""
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return True
    stat = Path(f"/proc/{number}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z"


def test_all_names_are_there() -> None:
    assert {getattr(package, name).__name__ for name in package.__all__} == set(package.__all__)
