"""Crash reports: where it broke, and nothing of what it was told. Signals end real processes."""

from __future__ import annotations

import re
import signal
import sys
import threading
from pathlib import Path

import pytest

from lilims.core import listeners
from lilims.core.manifest import read_manifest
from lilims.telemetry import Store, database
from lilims.telemetry.crash_report import of_dump, of_error, place

from .helpers import LILIMS, finish, start, wait_for

SECRET = "xyzzyplugh"
MACHINE = {"os.type": "linux", "service.version": "0.1.0"}
CRASHING = f"""
import ctypes, faulthandler, sys, click
from lilims.core import cli
from lilims.core.errors import ManifestError

def body():
    {SECRET} = "{SECRET}"
    BODY

made = cli.command("show")(body)
class Entry:
    name, value, module = "show", "", "lilims.core.cli"
    def load(self):
        return made
cli.entry_points = lambda group: [Entry()]
cli.main(["show"])
"""
ENDS = {
    "SIGSEGV": ("faulthandler._sigsegv()", "Segmentation fault"),
    "SIGABRT": ("faulthandler._sigabrt()", "Aborted"),
    "SIGFPE": ("faulthandler._sigfpe()", "Floating.point exception"),
}


def crashes() -> list[str]:
    store = Store.open_if_present()
    if store is None:
        return []
    with store:
        return [crash.report for crash in store.crashes()]


def switch_on() -> None:
    listeners.switch().parent.mkdir(parents=True)
    listeners.switch().touch()


@pytest.mark.skipif(sys.platform == "win32", reason="no fork: fatal errors leave no report there")
@pytest.mark.parametrize(("call", "title"), ENDS.values(), ids=ENDS)
def test_a_fatal_signal_leaves_a_redacted_report(call: str, title: str, home: Path) -> None:
    switch_on()
    code, _, _ = finish(start(CRASHING.replace("BODY", call)))
    assert code < 0, "the process ends by the signal, as it would without telemetry"
    (report,) = wait_for(crashes)
    assert re.search(f"- fatal: {title}", report, re.I)
    assert "- command: lilims show" in report
    assert re.search(r"  lilims/core/cli\.py:\d+ in run\n", report)
    assert "(other code)" in report, "the program that crashed is nobody's package"
    left = b"".join(path.read_bytes() for path in database().parent.iterdir())
    for secret in (SECRET.encode(), str(home).encode(), str(Path.home()).encode() + b"/", sys.prefix.encode()):
        assert secret not in left


@pytest.mark.skipif(sys.platform == "win32", reason="no fork")
def test_the_watcher_ends_with_its_command_and_holds_nothing_open(home: Path) -> None:
    switch_on()
    code, out, err = finish(start(CRASHING.replace("BODY", "print('done')")))  # communicate() sees all pipes closed
    assert (code, out, err) == (0, "done\n", "")
    assert crashes() == []


@pytest.mark.skipif(sys.platform == "win32", reason="no fork")
def test_an_interrupt_leaves_no_report(home: Path) -> None:
    switch_on()
    process = start(CRASHING.replace("BODY", "print('ready', flush=True); import time; time.sleep(60)"))
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    assert finish(process)[0] == 130
    assert crashes() == []


def test_an_unexpected_error_leaves_a_report_and_a_known_one_none(home: Path) -> None:
    switch_on()
    finish(start(CRASHING.replace("BODY", f"raise ManifestError('the file {SECRET} is damaged')")))
    assert crashes() == []
    code, _, err = finish(start(CRASHING.replace("BODY", f"raise RuntimeError('no {SECRET} at /home/ann')")))
    assert (code, SECRET in err) == (1, True), "the user sees the whole message"
    (report,) = crashes()
    assert "- error: RuntimeError" in report
    assert SECRET not in report and "ann" not in report
    with Store.open() as store:
        kinds = [record.attributes for record in store.records()]
    assert kinds == [
        {"lilims.command": "show", "error.type": "ManifestError"},
        {"lilims.command": "show", "error.type": "RuntimeError"},
    ]


def test_an_error_in_a_thread_leaves_a_report(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from lilims.telemetry import listen

    before = threading.excepthook
    seen: list[object] = []
    threading.excepthook = seen.append
    try:
        listening = listen()
        thread = threading.Thread(target=lambda: 1 / 0)
        thread.start()
        thread.join()
        listening.stop()
        assert len(seen) == 1, "the hook that was there is called too"
    finally:
        threading.excepthook = before
    assert "builtins.ZeroDivisionError" in crashes()[0]


def test_a_message_keeps_only_the_words_of_the_code_that_raised_it(tmp_path: Path) -> None:
    folder = tmp_path / SECRET
    try:
        read_manifest(folder)
    except Exception as error:
        report = of_error(error, "show", dict(MACHINE))
    assert SECRET not in report and str(tmp_path) not in report
    assert "lilims.core.errors.ManifestError" in report
    assert "no such file" in report, "words that stand in files.py"
    assert "builtins.FileNotFoundError" in report, "what led to it"
    assert re.search(r"  lilims/core/files\.py:\d+ in read_bytes\n", report)


PLACES = {
    "a package's": ("/home/ann/venv/lib/python3.12/site-packages/numpy/core/a.py", "numpy/core/a.py:7 in go"),
    "Windows": (r"C:\Users\ann\venv\Lib\site-packages\numpy\a.py", "numpy/a.py:7 in go"),
    "the user's": ("/home/ann/work/secret.py", "(other code)"),
    "text": ("<string>", "(other code)"),
    "frozen": ("<frozen importlib._bootstrap>", "<frozen importlib._bootstrap>:7 in go"),
    "a name beside it": ("/home/ann/lilims/secret.py", "(other code)"),
}


@pytest.mark.parametrize(("file", "shown"), PLACES.values(), ids=PLACES)
def test_places_lose_their_folders(file: str, shown: str) -> None:
    assert place(file, 7, "go") == shown


def test_what_is_no_dump_makes_no_report() -> None:
    assert of_dump("some text of /home/ann", "run", dict(MACHINE)) is None


@pytest.mark.parametrize("title", ["Segmentation fault", "Floating point exception", "Floating-point exception"])
def test_titles_are_whole(title: str) -> None:
    """Python 3.13 has hyphens in them."""
    report = of_dump(f"Fatal Python error: {title}\n\nThread 0x1 (most recent call first):\n", "run", dict(MACHINE))
    assert report is not None
    assert f"- fatal: {title}\n" in report


def test_lines_that_are_not_known_are_left_out() -> None:
    dump = (
        "Fatal Python error: Segmentation fault\n\nCurrent thread 0x00007f0a (most recent call first):\n"
        f'  File "/home/ann/{SECRET}.py", line 3 in {SECRET}\n  {SECRET}\n\nExtension modules: {SECRET} (total: 1)\n'
    )
    report = of_dump(dump, "run", dict(MACHINE))
    assert report is not None
    assert report.endswith("```text\nCurrent thread, innermost call first:\n  (other code)\n```\n")


def test_a_command_is_watched_only_where_telemetry_is_on(home: Path) -> None:
    program = LILIMS.replace("main(sys.argv", "import faulthandler; main(sys.argv")
    code, _, _ = finish(start(program, "telemetry", "status"))
    assert code == 0
    assert not database().parent.exists()
