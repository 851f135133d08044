"""A pytest plugin: coremltools' own tests of operators, run against an executor that is not Core ML.

Those tests build an ML Program, convert it and, where Core ML exists, call `MLModel.predict` and compare with numpy or
torch. The plugin makes them do that anywhere, with the executor that the environment variable EXECUTOR names
("module:attribute"). The executor is called as `coremltools.models.MLModel` is:

    program = Executor(package_path, function_name=None)      # package_path: an .mlpackage folder
    state   = program.make_state()
    outputs = program.predict(inputs, state=None)             # dictionaries of numpy arrays

`hatch run conformance:whole` runs everything, `hatch run conformance:sample` one test in twenty. Only a test in which
the executor was asked for a prediction counts; tests of the old neuralnetwork format have no program to execute.

Options: `--sample N` keeps one test in N, chosen by a hash of its name, `--sample-offset K` another N-th;
`--results FILE` writes a line of JSON per test as it ends and skips the tests that the file holds already, so that a
run goes on where it was stopped. A test that took the interpreter with it is recorded as crashed by the next run.

Must not know the executor's insides, nor what is done with the results (table.py does).
"""

from __future__ import annotations

import importlib
import json
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import coremltools as ct
import coremltools._deps as deps
import coremltools.models.utils as model_utils
import pytest

deps._IS_MACOS = True  # read by the tests' helpers when they are imported, which is after this plugin
model_utils._is_macos = lambda: True
model_utils._macos_version = lambda: (15, 5)

_REASON = 300  # characters of a failure that are kept


def _executor(model: Any) -> Any:
    if getattr(model, "_portable", None) is None:
        module, attribute = os.environ["EXECUTOR"].split(":")
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


def test_class(name: str) -> str:
    """The opset and the class of a test, "iOS17/TestTopK"; the file stands for the class where there is none."""
    path, _, rest = name.split("[")[0].partition("::")
    return f"{Path(path).parent.name}/{rest.split('::')[0] if '::' in rest else Path(path).stem}"


class Results:
    """What became of each test, kept in memory and, line by line, in a file."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.outcomes: dict[str, tuple[str, str]] = {}  # test -> outcome, reason
        if path is not None and path.exists():
            for line in path.read_text().splitlines():
                found = json.loads(line)
                self.outcomes[found["test"]] = (found["outcome"], found.get("reason", ""))
        self.known = set(self.outcomes)
        for test in [test for test, (outcome, _) in self.outcomes.items() if outcome == "started"]:
            self.add(test, "failed", "the interpreter crashed")

    def add(self, test: str, outcome: str, reason: str = "") -> None:
        self.outcomes[test] = (outcome, reason)
        if self.path is not None:
            record = {"test": test, "outcome": outcome} | ({"reason": reason} if reason else {})
            with self.path.open("a") as file:
                file.write(json.dumps(record) + "\n")

    def by_class(self) -> dict[str, tuple[int, int]]:
        """Passed and failed tests of each class."""
        counts: dict[str, tuple[int, int]] = {}
        for test, (outcome, _) in self.outcomes.items():
            passed, failed = counts.get(test_class(test), (0, 0))
            if outcome in ("passed", "failed"):
                counts[test_class(test)] = (passed + (outcome == "passed"), failed + (outcome == "failed"))
        return dict(sorted(counts.items()))


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
    keep, drop = [], []
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


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    counts = config.stash[_RESULTS].by_class()
    for name, (passed, failed) in counts.items():
        if failed:
            terminalreporter.write_line(f"  {name}: {failed} of {passed + failed} failed")
    passed, failed = (sum(pair[i] for pair in counts.values()) for i in (0, 1))
    whole = sum(1 for pair in counts.values() if not pair[1])
    terminalreporter.write_line(
        f"conformance: {whole} of {len(counts)} test classes whole; {passed} of {passed + failed} tests that executed "
        f"a program passed ({100 * passed / max(1, passed + failed):.1f} %)"
    )
