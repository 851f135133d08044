"""`lilims ci report`: what it shows and marks, and what hostile files cannot do to it."""

from __future__ import annotations

import contextlib
import html
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lilims.ci.errors import ReportError
from lilims.ci.figures import Figures, Suite, read_figures
from lilims.ci.markdown import bounded, code, table
from lilims.ci.reporting import LONGEST, MARKER, make_report
from lilims.core import cli

JUNIT = """<?xml version="1.0" encoding="utf-8"?><testsuites><testsuite name="pytest">
<testcase classname="tests.test_a" name="test_one" time="1.5"/>
<testcase classname="tests.test_a" name="test_two" time="0.5"><failure message="no">x</failure></testcase>
<testcase classname="tests.test_a" name="test_three" time="nan"><skipped/></testcase>
<testcase classname="tests.test_a" name="test_four"><error/></testcase>
</testsuite></testsuites>"""


def sizes(**found: Any) -> dict[str, Any]:
    return {"kind": "sizes", "schema_version": 1, "sizes": found}


def quality(perplexity: Any, **more: Any) -> dict[str, Any]:
    one = {"model": "stories", "scheme": "int4", "perplexity": perplexity, "change": 0.02, "bar": 0.03, "passed": True}
    return {"kind": "quality", "schema_version": 1, "passed": True, "results": [one | more]}


def gate(worse: Any, regressed: bool = False, metric: str = "decode, tokens/s") -> dict[str, Any]:
    one = {"metric": metric, "baseline": 100.0, "candidate": 90.0, "worse": worse, "sure": 1.0, "regressed": regressed}
    return {"kind": "gate", "schema_version": 1, "models": {"stories (int4)": [one]}}


def folder(path: Path, **files: Any) -> Path:
    """A folder of JSON files, and of XML where a value is text."""
    path.mkdir(parents=True, exist_ok=True)
    for name, value in files.items():
        ending, text = ("xml", value) if isinstance(value, str) else ("json", json.dumps(value))
        (path / f"{name}.{ending}").write_text(text, "utf-8")
    return path


def test_tests_are_counted_and_failures_named(tmp_path: Path) -> None:
    report = make_report(read_figures(folder(tmp_path, linux=JUNIT)), None)
    assert report.body.startswith(MARKER + "\n") and "| `linux` | 1 | 2 ❌ | 1 | 2 s |" in report.body
    assert "- `tests.test_a::test_two`" in report.body and "- `tests.test_a::test_four`" in report.body
    assert "test_one`" not in report.body and report.failed == ("tests: linux",)


THRESHOLDS = {
    "a little larger": (sizes(wheel=1_010_000), sizes(wheel=1_000_000), [], []),
    "larger, but small": (sizes(wheel=20), sizes(wheel=10), [], []),
    "larger": (sizes(wheel=1_030_000), sizes(wheel=1_000_000), [], ["size: wheel"]),
    "smaller": (sizes(wheel=10), sizes(wheel=100), [], []),
    "new": (sizes(wheel=10, more=3), sizes(wheel=10), [], []),
    "gone": (sizes(wheel=10), sizes(wheel=10, more=3), [], []),
    "no base": (sizes(wheel=10), None, [], []),
    "empty base": (sizes(wheel=10), sizes(wheel=0), [], []),
    "a little more perplexed": (quality(5.009), quality(5.0), [], []),
    "more perplexed": (quality(5.011), quality(5.0), [], ["perplexity: stories int4"]),
    "over the bar": (quality(5.0, passed=False), quality(5.0), ["quality gate: stories int4"], []),
    "a bar that is not said to be met": (quality(5.0, passed="yes"), None, ["quality gate: stories int4"], []),
    "slower within noise": (gate(1.3), None, [], []),
    "slower": (gate(1.3, True), None, [], ["speed: stories (int4), decode, tokens/s"]),
}


@pytest.mark.parametrize("name", THRESHOLDS)
def test_thresholds(tmp_path: Path, name: str) -> None:
    now, before, failed, marked = THRESHOLDS[name]
    base = read_figures(folder(tmp_path / "base", x=before)) if before else None
    report = make_report(read_figures(folder(tmp_path / "head", x=now)), base)
    assert (list(report.failed), list(report.marked)) == (failed, marked)
    assert report.body.count("❌") == (2 if failed else 0) and report.body.count("⚠️") == (2 if marked else 0)


def test_parts_that_are_missing_are_said_to_be(tmp_path: Path) -> None:
    body = make_report(read_figures(folder(tmp_path)), None).body
    assert "no figures" in body and body.count("Not measured.") == 3 and "No test results." in body
    with pytest.raises(ReportError, match="no such folder"):
        read_figures(tmp_path / "gone")


BAD = {
    "no XML": "<testsuite><testcase>",
    "entities": '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><testsuite><testcase name="&b;"/></testsuite>',
    "another encoding": "\0<\0t",
    "no tests": "<testsuite/>",
    "no end of nesting": "<a>" * 200_000,
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_damaged_results_are_named_and_the_rest_is_read(tmp_path: Path, name: str) -> None:
    found = read_figures(folder(tmp_path, bad=BAD[name], good=JUNIT, sizes=sizes(wheel=3)))
    assert [one for one, _why in found.unreadable] == ["bad.xml"]
    assert len(found.suites) == 1 and found.sizes == {"wheel": 3}
    assert "`bad.xml`" in make_report(found, None).body


WRONG = [
    sizes(wheel=-1), sizes(wheel=True), sizes(wheel="3"), sizes(wheel=1 << 70), {"kind": "sizes", "sizes": [3]},
    quality("x"), quality(None), quality(0), quality(-1), quality(1e300), {"kind": "quality", "results": {"a": 1}},
    {"kind": "quality", "results": [3, None]}, gate(None), gate("nan"), {"kind": "gate", "models": [1]},
    {"kind": "gate", "models": {"x": 3}}, {"kind": "other"}, [], 3, "x", None,
]  # fmt: skip


@pytest.mark.parametrize("value", WRONG, ids=range(len(WRONG)))
def test_values_of_a_wrong_type_are_left_out(tmp_path: Path, value: Any) -> None:
    (tmp_path / "x.json").write_text(json.dumps(value), "utf-8")
    found = read_figures(tmp_path)
    assert (found.sizes, found.quality, found.speed) == ({}, {}, [])


def test_files_are_bounded_in_size_and_number(tmp_path: Path) -> None:
    (tmp_path / "big.json").write_bytes(b'{"kind": "sizes", "x": "' + b"a" * (5 << 20) + b'"}')
    for n in range(250):
        (tmp_path / f"s{n:03}.json").write_text(json.dumps(sizes(**{f"w{n}": n, f"v{n}": n})), "utf-8")
    with contextlib.suppress(OSError, NotImplementedError):  # Windows, without the right to
        (tmp_path / "link.json").symlink_to(tmp_path / "s000.json")
    found = read_figures(tmp_path)
    assert len(found.sizes) == 200 and [name for name, _ in found.unreadable] == ["big.json", "51 files more"]


def test_a_report_fits(tmp_path: Path) -> None:
    names = tuple("x" * 5000 for _ in range(200))
    head = Figures(suites=[Suite(f"s{n}" + "y" * 5000, 1, 200, 0, 1.0, names) for n in range(150)])
    body = make_report(head, None).body
    assert len(body) <= LONGEST and "#### Speed and memory" in body and body.endswith("_The rest did not fit._\n")
    for line in body.splitlines():
        assert line.count("`") % 2 == 0  # nothing was cut within a span


HOSTILE = [
    "`", "``` \n# big", "|", "a|b|c", "<script>alert(1)</script>", "<!-- lilims-ci-report -->", "@everyone", "#1",
    "[x](javascript:alert(1))", "![x](https://example.org/x.png)", "\u202egnp.exe", "\x1b[31m", "a\r\n\r\n## b",
    "</details>", "http://example.org", "\\`", "", " ", "-->",
]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_text_from_files_means_nothing(tmp_path: Path, text: str) -> None:
    xml = '<testsuite><testcase classname="c" name="{}"><failure/></testcase></testsuite>'
    case = html.escape("".join(c for c in text if c.isprintable() or c in "\r\n"))
    (tmp_path / "x.xml").write_text(xml.format(case), "utf-8")
    (tmp_path / "x.json").write_text(json.dumps(sizes(**{text: 3})), "utf-8")
    (tmp_path / "q.json").write_text(json.dumps(quality(5, model=text, scheme=text)), "utf-8")
    (tmp_path / "g.json").write_text(json.dumps(gate(1.0, metric=text)), "utf-8")
    found = read_figures(tmp_path)
    found.unreadable.append((text, text))
    assert outside_of_code(make_report(found, None, title=text or "x").body) == outside_of_code(plain(tmp_path))


def plain(path: Path) -> str:
    """The same report with harmless names."""
    found = read_figures(path)
    found.sizes = {"x": 3}
    found.quality = dict.fromkeys([("x", "x")], next(iter(found.quality.values())))
    found.suites = [Suite("x", 0, 1, 0, 0.0, ("x",))]
    found.unreadable.append(("x", "x"))
    return make_report(found, None, title="x").body


def outside_of_code(body: str) -> str:
    """Markdown with the content of code spans left out, each of which has to end in its own line."""
    return re.sub(r"`[^`\n]*`", "``", body).replace("`` ``", "``")


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=400))
def test_a_code_span_ends_where_it_should(text: str) -> None:
    span = code(text)
    assert span[0] == span[-1] == "`" and "`" not in span[1:-1]
    assert "|" not in span and len(span.splitlines()) == 1 and span.isprintable() and len(span) < 170


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text("ab\n", max_size=40), max_size=12), st.integers(20, 200))
def test_bounded_keeps_whole_blocks(blocks: list[str], most: int) -> None:
    body = bounded(blocks, most, "cut")
    assert len(body) <= most
    whole = "\n\n".join(blocks) + "\n"
    assert body == whole or body.endswith("cut\n")


def test_a_table() -> None:
    assert table(("", "a"), [("x", "1")]) == "|  | a |\n|---|---:|\n| x | 1 |"


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    head = folder(tmp_path / "head", linux=JUNIT, sizes=sizes(wheel=30))
    words = ["ci", "report", str(head), "--base", str(tmp_path / "gone"), "--title", "abc"]
    assert cli.run([*words, "-o", str(tmp_path / "comment.md")]) == 0
    body = (tmp_path / "comment.md").read_text("utf-8")
    assert capsys.readouterr().out == "" and body.startswith(MARKER) and "`abc`" in body
    assert cli.run([*words]) == 0 and capsys.readouterr().out == body
    assert cli.run([*words, "--json", "--strict"]) == 1
    value = json.loads(capsys.readouterr().out)
    assert (value["kind"], value["body"], value["failed"]) == ("ci-report", body, ["tests: linux"])
    assert cli.run(["ci", "report", str(tmp_path / "gone")]) == 1
