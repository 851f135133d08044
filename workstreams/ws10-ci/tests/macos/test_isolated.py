"""A rung's process: whatever it does, the climb goes on and says what became of it."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from lilims.ci.macos.climbing import chosen, climb, report
from lilims.ci.macos.isolated import _KEPT, ask
from lilims.ci.macos.pages import markdown
from lilims.ci.macos.rungs import OUTCOMES, Result, Rung, Target
from lilims.core.errors import UsageError

WINDOWS = sys.platform == "win32"


def rung(function: str) -> Rung:
    return Rung(function.replace("_", "-"), "it holds", "something else is done", f"misbehaving:{function}")


@pytest.mark.parametrize(
    ("function", "outcome", "detail"),
    [
        ("passes", "passed", "portable on CPU_ONLY"),
        ("differs", "differs", "7 is not 5"),
        ("raises", "refused", "RuntimeError: Error compiling model"),
        ("segfaults", "crashed", "with exit code 3221225477" if WINDOWS else "ended by SIGSEGV"),
        ("is_killed", "crashed", "ended" if WINDOWS else "ended by SIGKILL"),
        ("leaves", "crashed", "exit code 0 and no answer"),
        ("leaves_half_an_answer", "crashed", "exit code 0 and no answer"),
        ("answers_nonsense", "crashed", "exit code 0 and no answer"),
        ("answers_and_crashes", "crashed", "exit code 3"),
        ("is_not_there", "refused", "AttributeError: module 'misbehaving' has no attribute 'is_not_there'"),
    ],
)
def test_what_becomes_of_a_rung(function: str, outcome: str, detail: str, target: Target) -> None:
    result = ask(rung(function), target)
    assert (result.outcome, result.passed) == (outcome, outcome == "passed")
    assert detail in result.detail and len(result.detail) <= 2000
    assert result.name == function.replace("_", "-") and outcome in OUTCOMES


def test_a_crash_tells_where(target: Target) -> None:
    result = ask(rung("segfaults"), target)
    assert "about to" in result.output
    assert "misbehaving.py" in result.output, "the traceback of faulthandler"


def test_figures_that_are_no_numbers_are_left_out(target: Target) -> None:
    result = ask(rung("differs"), target)
    assert result.figures == {"max": 2.0} and "what was computed: 7" in result.output


def test_a_rung_that_passes_keeps_no_output(target: Target) -> None:
    result = ask(rung("passes"), target)
    assert (result.output, result.figures) == ("", {"max": 0.5})


def stopped(function: str, target: Target) -> Result:
    """A rung that hangs, given longer until it came to where it hangs: a process may take long to start."""
    for seconds in (2.0, 10.0, 60.0):
        result = ask(rung(function), target, seconds=seconds)
        if result.output.endswith("waiting"):
            return result
    raise AssertionError(result)


def test_a_rung_that_hangs_is_stopped(target: Target) -> None:
    begun = time.monotonic()
    result = stopped("hangs", target)
    assert result.outcome == "hung" and result.detail.startswith("stopped after ")
    assert time.monotonic() - begun < 300


@pytest.mark.skipif(WINDOWS, reason="processes have no groups there")
def test_what_it_has_started_is_stopped_with_it(target: Target) -> None:
    assert stopped("hangs_with_a_child", target).outcome == "hung"
    child = int((target.shared / "pid").read_text())
    for _ in range(600):
        if not alive(child):
            return
        time.sleep(0.1)
    pytest.fail("it runs on")


def alive(pid: int) -> bool:
    """Whether a process runs; one that nobody has waited for does not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    return not (status.is_file() and status.read_text().rpartition(")")[2].split()[0] == "Z")


def test_no_more_than_the_last_of_the_output_is_kept(target: Target) -> None:
    result = ask(rung("chatters"), target)
    assert len(result.output) <= _KEPT and result.output.endswith("the last line")


def test_one_climb_over_all_of_them(tmp_path: Path) -> None:
    rungs = [rung(name) for name in ("segfaults", "raises", "passes", "differs")]
    heard: list[str] = []
    results = climb(rungs, "portable", "CPU_ONLY", shared=tmp_path, heard=lambda r, _: heard.append(r.name))
    assert heard == [one.name for one in rungs] == [one.name for one in results]
    assert [one.outcome for one in results] == ["crashed", "refused", "passed", "differs"]
    value = report(rungs, results, "portable", "CPU_ONLY")
    assert value["passed"] is False and value["stand_in"] is True and value["compute_units"] is None
    page = markdown("Probes", value)
    assert page.startswith("## Probes: 1 of 4 passed\n")
    assert "Core ML was not run" in page
    assert page.count("### ") == 3 and "### passes" not in page
    assert "    what was computed: 7" in page and "What follows: something else is done." in page
    assert report([rungs[2]], [results[2]], "coreml", "CPU_AND_GPU")["passed"] is True


def test_a_page_cannot_be_broken_by_what_was_said() -> None:
    """A table's rows stay rows, and no control character reaches a terminal."""
    result = {"name": "a", "outcome": "refused", "detail": "x | y\n# z \x1b[31m", "seconds": 1.0, "figures": {}}
    shown = {**result, "output": "```\n\x1b[0m<script>", "shows": "", "otherwise": "b"}
    machine = {"versions": {}, "system": "s", "processor": "p", "cores": 1}
    page = markdown("T", {"results": [shown], "stand_in": False, "compute_units": "CPU_ONLY", "machine": machine})
    assert "\x1b" not in page
    assert "| `x ¦ y # z [31m` |" in page
    assert "\n    ```\n" in page, "output is an indented block, so that a fence in it ends nothing"


def test_rungs_are_chosen_by_name() -> None:
    rungs = [rung("passes"), rung("raises")]
    assert chosen(rungs, ()) == rungs
    assert chosen(rungs, ("raises",)) == rungs[1:]
    with pytest.raises(UsageError, match="there is no 'other'") as caught:
        chosen(rungs, ("other",))
    assert caught.value.hint == "there are passes, raises"
