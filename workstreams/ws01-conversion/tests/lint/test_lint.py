"""Every rule: a package that it objects to, and one near it that it lets pass."""

from __future__ import annotations

import json
import os
import re
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import lilims.conversion.lint as lint_package
from lilims.conversion import convert
from lilims.conversion.commands.lint import command
from lilims.conversion.lint import lint, rules, rules_page
from lilims.core.errors import UsageError

from ..test_convert import rewrite
from . import bodies
from .conftest import State

STATE = State((2, 64, 32))


@dataclass(frozen=True)
class Example:
    """A body with what it is built with; `loose` makes the first dimension of its first input flexible."""

    body: Any
    options: dict[str, Any] = field(default_factory=dict)
    loose: bool = False
    op: str | None = None  # where it is found


def example(body: Any, *, loose: bool = False, op: str | None = None, **options: Any) -> Example:
    return Example(body, options, loose, op)


SQUARE = {"x": (2, 64, 32), "s": STATE}
EXAMPLES: dict[str, tuple[Example, Example]] = {
    "L101": (
        example(bodies.update, x=(2, 64, 30), s=State((2, 64, 30)), op="s"),
        example(bodies.update, **SQUARE),
    ),
    "L102": (
        example(bodies.two_states, **SQUARE, t=STATE),
        example(bodies.update, **SQUARE),
    ),
    "L103": (
        example(bodies.second_read, **SQUARE, op="again"),
        example(bodies.update, **SQUARE),
    ),
    "L104": (
        example(bodies.output_written, **SQUARE),
        example(bodies.update, **SQUARE),
    ),
    "L201": (example(bodies.nested, x=(1, 32), op="outer"), example(bodies.quantised, x=(1, 32))),
    "L202": (example(bodies.wide_scale, x=(1, 32), op="weight"), example(bodies.quantised, x=(1, 32))),
    "L203": (
        example(bodies.per_block, x=(1, 32), units="CPU_AND_NE", op="weight"),
        example(bodies.quantised, x=(1, 32), units="CPU_AND_NE"),
    ),
    "L301": (
        example(bodies.plain, x=(4, 4), functions=2, loose=True, op="x"),
        example(bodies.plain, x=(4, 4), functions=2),
    ),
    "L302": (example(bodies.update, **SQUARE, loose=True, op="x"), example(bodies.plain, x=(4, 4), loose=True)),
    "L303": (
        example(bodies.plain, x=(4, 4), loose=True, units="ALL"),
        example(bodies.plain, x=(4, 4), loose=True, units="CPU_AND_GPU"),
    ),
    "L401": (example(bodies.island, x=(4, 4)), example(bodies.cast_at_the_end, x=(4, 4))),
    "L402": (example(bodies.plain, x=(4, 4), dtype="fp32"), example(bodies.plain, x=(4, 4))),
    "L502": (
        example(bodies.product, x=(4, 4), units="CPU_AND_NE"),
        example(bodies.product, x=(4, 4), units="CPU_AND_GPU"),
    ),
    "L503": (
        example(bodies.chunk_written, x=(1, 64, 32), s=STATE, units="CPU_AND_NE"),
        example(bodies.chunk_written, x=(1, 32, 32), s=STATE, units="CPU_AND_NE"),
    ),
    "L504": (example(bodies.plain, x=(4, 4)), example(bodies.plain, x=(4, 4), units="ALL")),
    "L601": (
        example(bodies.table_and_state, **SQUARE, units="CPU_AND_NE", version="9.0"),
        example(bodies.table_and_state, **SQUARE, units="CPU_AND_NE", version="8.3.0"),
    ),
    "L602": (
        example(bodies.attention_op, x=(1, 4, 8, 32), units="CPU_AND_NE"),
        example(bodies.attention_op, x=(1, 4, 8, 32), units="CPU_AND_GPU"),
    ),
    "L603": (
        example(bodies.attention_parts, x=(12, 4, 8, 32), units="CPU_AND_GPU"),
        example(bodies.attention_parts, x=(9, 4, 8, 32), units="CPU_AND_GPU"),
    ),
}
MEASURED = {"L403", "L404"}


def make(package: Callable[..., Path], wanted: Example) -> Path:
    path = package(wanted.body, **wanted.options)
    if wanted.loose:
        loosen(path)
    return path


def loosen(package: Path) -> None:
    """Makes the first dimension of every function's first input flexible, as RangeDim does in the program."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from coremltools.proto import Model_pb2
    file = package / "Data/com.apple.CoreML/model.mlmodel"
    spec = Model_pb2.Model()
    spec.ParseFromString(file.read_bytes())
    for function in spec.mlProgram.functions.values():
        function.inputs[0].type.tensorType.dimensions[0].unknown.variadic = False
    file.write_bytes(spec.SerializeToString())


def found(path: Path, **options: Any) -> dict[str, Any]:
    return {finding.rule.id: finding for finding in lint(path, **options).findings}


@pytest.mark.parametrize("rule", EXAMPLES)
def test_a_rule_finds_what_it_is_about(package: Callable[..., Path], rule: str) -> None:
    bad, _ = EXAMPLES[rule]
    seen = found(make(package, bad))
    assert rule in seen
    assert bad.op is None or seen[rule].op == bad.op


@pytest.mark.parametrize("rule", EXAMPLES)
def test_a_rule_lets_pass_what_is_right(package: Callable[..., Path], rule: str) -> None:
    assert rule not in found(make(package, EXAMPLES[rule][1]))


def test_a_file_over_a_gigabyte(package: Callable[..., Path]) -> None:
    """The file has a hole, which takes no room on the disk."""
    path = package(bodies.per_block, x=(1, 32), units="CPU_AND_NE")
    assert "L501" not in found(path)
    os.truncate(path / "Data/com.apple.CoreML/weights/weight.bin", 1_000_000_001)
    assert "1.0 GB" in found(path)["L501"].message


def test_every_rule_has_an_example() -> None:
    assert {rule.id for rule in rules()} == EXAMPLES.keys() | MEASURED | {"L501"}


def test_every_rule_tells_why_whence_and_what_to_do() -> None:
    for rule in rules():
        assert re.fullmatch(r"L[1-6]\d\d", rule.id)
        for text in (rule.title, rule.reason, rule.source, rule.remedy):
            assert text and not text.endswith("."), rule.id
        assert re.search("https://|reported|measured|no published model", rule.source), rule.id


# -- what is measured --------------------------------------------------------------------------------------------------


@pytest.fixture
def source(checkpoint_of: Callable[[str], Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(checkpoint_of("llama"), tmp_path / "source"))


def test_a_sound_model_has_no_findings(converted: Callable[..., Path]) -> None:
    report = lint(converted("llama", "int4"))
    assert [(f.rule.id, f.message) for f in report.findings] == []
    assert {*MEASURED} <= set(report.checked)


@pytest.mark.slow
def test_an_overflow_is_named_where_it_begins(source: Path, tmp_path: Path) -> None:
    def inflate(tensors: dict[str, np.ndarray]) -> None:
        tensors["model.layers.1.mlp.down_proj.weight"] *= 1.5e5

    rewrite(source, inflate)
    convert(source, tmp_path / "model", quantize="fp16")
    finding = found(tmp_path / "model")["L403"]
    assert finding.severity == "error"
    assert finding.op.startswith("linear_")
    assert "random tokens" in finding.message
    assert "L403" not in found(tmp_path / "model", ignore=["L403"])


def test_an_underflow_is_named_where_it_matters(source: Path, tmp_path: Path) -> None:
    """What only a sum takes is lost without effect: o_proj's is not named, up_proj's is, which a product takes."""

    def shrink(tensors: dict[str, np.ndarray]) -> None:
        tensors["model.layers.0.self_attn.o_proj.weight"] *= 1e-9
        tensors["model.layers.1.post_attention_layernorm.weight"] *= 1e-4
        tensors["model.layers.1.mlp.up_proj.weight"] *= 1e-5

    rewrite(source, shrink)
    convert(source, tmp_path / "model", quantize="fp16")
    finding = found(tmp_path / "model")["L404"]
    assert finding.severity == "warning"
    assert finding.op.startswith("linear_")


def test_measured_rules_say_why_they_were_left_out(package: Callable[..., Path]) -> None:
    report = lint(package(bodies.plain, x=(4, 4)))
    assert report.skipped.keys() == MEASURED
    assert not MEASURED & set(report.checked)


# -- the command -------------------------------------------------------------------------------------------------------


def run(*arguments: Any) -> Any:
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


def test_the_exit_code_tells_of_errors_alone(package: Callable[..., Path]) -> None:
    path = make(package, EXAMPLES["L401"][0])
    assert run(path).exit_code == 0
    assert run(path, "--strict").exit_code == 1
    assert run(path, "--strict", "--ignore", "L401").exit_code == 0


def test_json_has_every_finding(package: Callable[..., Path]) -> None:
    done = run(make(package, EXAMPLES["L103"][0]), "--json")
    value = json.loads(done.stdout)
    assert done.exit_code == 1
    assert (value["kind"], value["schema_version"], value["errors"]) == ("lint", 1, 1)
    (finding,) = [f for f in value["findings"] if f["rule"] == "L103"]
    assert (finding["severity"], finding["functions"], finding["op"]) == ("error", ["main"], "again")
    assert {"message", "reason", "source", "remedy", "package", "title"} <= finding.keys()


def test_what_functions_have_alike_is_one_finding(package: Callable[..., Path]) -> None:
    report = lint(make(package, EXAMPLES["L301"][0]))
    (finding,) = [f for f in report.findings if f.rule.id == "L301"]
    assert finding.functions == ("f0", "f1")


def test_the_rules_are_listed() -> None:
    assert [rule["id"] for rule in json.loads(run("--rules", "--json").stdout)["rules"]] == [r.id for r in rules()]
    assert all(rule.id in run("--rules").stdout for rule in rules())


def test_an_unknown_rule_is_a_usage_error(package: Callable[..., Path]) -> None:
    with pytest.raises(UsageError, match="'L999'"):
        lint(package(bodies.plain, x=(4, 4)), ignore=["L999"])
    with pytest.raises(UsageError, match="--text"):
        lint(package(bodies.plain, x=(4, 4)), text="Once")


def test_the_page_is_current() -> None:
    """After a change of a rule: `lilims lint --rules --markdown > docs/lint.md`."""
    page = Path(__file__).parents[4] / "docs/lint.md"
    assert page.read_text("utf-8") == rules_page() == run("--rules", "--markdown").stdout


def test_all_names_are_there() -> None:
    assert lint_package.__all__ == sorted(lint_package._HOMES)
    assert all(getattr(lint_package, name) is not None for name in lint_package.__all__)
