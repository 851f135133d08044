"""A pytest plugin: coremltools' own tests of operators, run against an executor that is not Core ML.

Those tests build an ML Program, convert it and, where Core ML exists, call `MLModel.predict` and compare with numpy or
torch. The plugin makes them do that anywhere, with the portable executor, or another that the environment variable
EXECUTOR names ("module:attribute"). It is called as `coremltools.models.MLModel` is:

    program = Executor(package_path, function_name=None)      # package_path: an .mlpackage folder
    state   = program.make_state()
    outputs = program.predict(inputs, state=None)             # dictionaries of numpy arrays

`hatch run conformance:whole` runs everything, `hatch run conformance:sample` one test in twenty; the settings are in
pytest.ini. Only a test in which the executor was asked for a prediction counts; tests of the old neuralnetwork format
have no program to execute. The run fails where a class fails that is whole in results.json.

Options: `--sample N` keeps one test in N, chosen by a hash of its name, `--sample-offset K` another N-th;
`--results FILE` writes a line of JSON per test as it ends and skips the tests that the file holds already, so that a
run goes on where it was stopped. A test that took the interpreter with it is recorded as crashed by the next run.

Must not know the executor's insides, how results are kept (records.py does) or what is made of them (table.py does).
"""

from __future__ import annotations

import importlib
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import coremltools as ct
import coremltools._deps as deps
import coremltools.models.utils as model_utils
import pytest

from .records import SUMMARY, Results, by_class, class_of, read_summary

deps._IS_MACOS = True  # read by the tests' helpers when they are imported, which is after this plugin
model_utils._is_macos = lambda: True
model_utils._macos_version = lambda: (15, 5)

_OURS = "lilims.runtime.portable:MLModel"
_REASON = 300  # characters of a failure that are kept


def _executor(model: Any) -> Any:
    if getattr(model, "_portable", None) is None:
        module, attribute = os.environ.get("EXECUTOR", _OURS).split(":")
        factory = getattr(importlib.import_module(module), attribute)
        model._portable = factory(model.package_path, function_name=getattr(model, "function_name", None))
    return model._portable


class _Asked:
    """The test that runs, and whether it asked for a prediction."""

    names: ClassVar[set[str]] = set()
    current: ClassVar[str] = ""


def _predict(self: Any, data: Any, state: Any = None) -> Any:
    """`predict` by the executor. A program that fails while it runs fails in Core ML's words, which tests look for."""
    _Asked.names.add(_Asked.current)
    if self.package_path is None:
        pytest.skip("no ML Program package")
    executor = _executor(self)
    try:
        return executor.predict(data, state=state)
    except Exception as exc:
        raise RuntimeError(f"Unable to compute the prediction using ML Program. {exc}") from exc


def _make_state(self: Any) -> Any:
    return _executor(self).make_state()


ct.models.MLModel.predict = _predict
ct.models.MLModel.make_state = _make_state


def test_name(item: pytest.Item) -> str:
    """A test's name that depends on neither the working folder nor on how it was asked for."""
    return f"{item.path.parent.name}/{item.path.name}::{item.nodeid.partition('::')[2]}"


_RESULTS = pytest.StashKey[Results]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--sample", type=int, default=1, help="keep one test in N")
    parser.addoption("--sample-offset", type=int, default=0, help="which of the N")
    parser.addoption("--results", type=Path, default=None, help="a file of JSON lines to go on with")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_RESULTS] = Results(config.getoption("--results"))


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    step, offset = config.getoption("--sample"), config.getoption("--sample-offset")
    known = config.stash[_RESULTS].known
    keep: list[pytest.Item] = []
    drop: list[pytest.Item] = []
    for item in items:
        parameters = getattr(getattr(item, "callspec", None), "params", {})
        old_format = "neuralnetwork" in item.nodeid or "neuralnetwork" in str(parameters.get("backend"))
        chosen = zlib.crc32(test_name(item).encode()) % step == offset
        (keep if chosen and not old_format and test_name(item) not in known else drop).append(item)
    items[:] = keep
    config.hook.pytest_deselected(items=drop)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    _Asked.current = test_name(item)
    item.config.stash[_RESULTS].add(_Asked.current, "started")
    return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: Any) -> Any:
    report = yield
    results, name = item.config.stash[_RESULTS], test_name(item)
    if report.when == "call" and name in _Asked.names and not report.skipped:
        results.add(name, report.outcome, "" if report.passed else _reason(call.excinfo, report))
    elif report.when == "call" or (report.when == "setup" and not report.passed):
        results.add(name, "not executed")
    return report


def _reason(excinfo: Any, report: Any) -> str:
    """The error's class and its first words, on one line."""
    if excinfo is None:  # no error, where one was expected
        return str(report.longrepr)[:_REASON]
    words = " ".join(str(excinfo.value).split())
    return f"{excinfo.typename}: {words}"[:_REASON]


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """A failure that is known of is none of the run's."""
    known = {name for name, counts in read_summary()[1].items() if counts.failed} if SUMMARY.exists() else set()
    outcomes = session.config.stash[_RESULTS].outcomes.items()
    broken = any(outcome == "failed" and class_of(test) not in known for test, (outcome, _) in outcomes)
    if session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED if broken else pytest.ExitCode.OK


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    classes = by_class([config.stash[_RESULTS]])
    for name, counts in classes.items():
        if counts.failed:
            terminalreporter.write_line(f"  {name}: {counts.failed} of {counts.passed + counts.failed} failed")
            for reason in counts.reasons:
                terminalreporter.write_line(f"    {reason}")
    passed, failed = (sum(getattr(counts, key) for counts in classes.values()) for key in ("passed", "failed"))
    whole = sum(1 for counts in classes.values() if not counts.failed)
    terminalreporter.write_line(
        f"conformance: {whole} of {len(classes)} test classes whole; {passed} of {passed + failed} tests that executed "
        f"a program passed ({100 * passed / max(1, passed + failed):.2f} %)"
    )
