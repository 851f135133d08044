"""docs/converting.md and docs/architectures.md: messages that the code prints, options that exist, figures."""

from __future__ import annotations

import ast
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from lilims.conversion import convert, dry_run
from lilims.conversion.architectures import supported
from lilims.conversion.commands.convert import command
from lilims.core.testing import test_data

ROOT = Path(__file__).parents[3]
SOURCE = Path(convert.__code__.co_filename).parent
GUIDE = (ROOT / "docs" / "converting.md").read_text("utf-8")
TABLE = ROOT / "docs" / "architectures.md"


def templates() -> Iterator[str]:
    """Every string of the package as a pattern; what an f-string fills in may be anything."""
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield re.escape(node.value)
            if isinstance(node, ast.JoinedStr):
                parts = [re.escape(str(p.value)) if isinstance(p, ast.Constant) else ".+" for p in node.values]
                if sum(len(p) for p in parts if p != ".+") > 10:  # no pattern that fits everything
                    yield "".join(parts)


MESSAGES = re.findall(r"^\| `([^`]+)` \|", GUIDE.partition("## When it fails")[2], re.M)
PATTERNS = [re.compile(template) for template in templates()]


@pytest.mark.parametrize("message", MESSAGES)
def test_messages_are_those_of_the_code(message: str) -> None:
    assert any(pattern.fullmatch(message) for pattern in PATTERNS)


def test_the_table_of_messages_is_read() -> None:
    assert len(MESSAGES) > 15


COMMANDS = [line for line in re.findall(r"lilims convert [^`\n#]+", GUIDE) if "SOURCE" not in line]


@pytest.mark.parametrize("line", sorted(set(map(str.strip, COMMANDS))))
def test_commands_parse(line: str) -> None:
    arguments = shlex.split(line)[2:]
    with click.Context(command) as context:
        command.parse_args(context, arguments)
    assert context.params["output"] or context.params["dry_run"]


CONFIGS = {
    "EXAONE-4.0-1.2B": ROOT / "tools" / "configs" / "EXAONE-4.0-1.2B.json",
    "Gemma-2B": ROOT / "tools" / "configs" / "gemma-2b.json",
    "Phi-2": "configs/phi-2/config.json",
    "TinyStories-1M": "configs/TinyStories-1M/config.json",
}


@pytest.mark.parametrize("name", CONFIGS)
def test_package_sizes_are_those_of_a_dry_run(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command of each model, on its config; programs, of which building takes long, are 1 % at most."""
    if name != "TinyStories-1M":
        monkeypatch.setattr("lilims.conversion.estimate._program_size", lambda *_: 0)
    found = re.search(rf"^\| {name}\b[^|]*\| `([^`]+)` \| ([\d.]+) ([MG])B \|$", GUIDE, re.M)
    assert found is not None
    arguments = shlex.split(found[1])[2:]
    path = CONFIGS[name]
    planned = dry_run(
        path if isinstance(path, Path) else test_data(path), context=int(arguments[arguments.index("--context") + 1])
    )
    size = planned.package / {"M": 1e6, "G": 1e9}[found[3]]
    assert size == pytest.approx(float(found[2]), rel=0.04 if found[3] == "G" else 0.01)


def rows() -> dict[str, list[str]]:
    lines = [re.split(r" \| ", line.strip("| ")) for line in TABLE.read_text("utf-8").splitlines() if "|" in line]
    return {cells[0]: cells[1:] for cells in lines[2:]}


def test_the_table_has_every_architecture() -> None:
    assert sorted(rows()) == supported()


@pytest.mark.parametrize("name", supported())
def test_the_table_has_every_feature_and_good_figures(name: str) -> None:
    import architecture_table

    example, features, *figures = rows()[name]
    assert example == architecture_table.EXAMPLES[name]
    assert features == ", ".join(architecture_table.features_of(name))
    assert len(figures) == 3
    for figure in figures:
        error, _, same = figure.partition(", ")
        assert float(error) <= 1e-3
        share, _, tie = same.partition("% (tie: ")
        assert float(share.rstrip("%")) >= 97  # of 48 positions one may be a tie
        assert (share.rstrip("%") == "100") == (not tie)
        assert not tie or float(tie.rstrip(")")) <= 1e-3  # the gap of the two, in deviations of the logits


def test_examples_are_of_no_other_architectures() -> None:
    import architecture_table

    assert sorted(architecture_table.EXAMPLES) == supported()
    assert {c["model_type"] for c in map(dict, architecture_table.models().values())} == set(supported())
    assert json.loads(architecture_table.MODELS.read_text("utf-8"))["recorded_with"]
