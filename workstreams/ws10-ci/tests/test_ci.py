"""The package's public names, and the group of commands."""

from __future__ import annotations

import subprocess
import sys

import lilims.ci as package


def test_every_name_is_there() -> None:
    assert package.__all__ == sorted(package.__all__, key=lambda name: (not name[0].isupper(), name))
    assert [name for name in package.__all__ if not hasattr(package, name)] == []


def test_importing_it_is_cheap() -> None:
    code = """
import sys
before = set(sys.modules)
import lilims.ci, lilims.ci.commands.ci, lilims.ci.commands.plan, lilims.ci.commands.report, lilims.ci.commands.release
print(*sorted({"numpy", "pydantic", "rich", "yaml", "coremltools", "onnxruntime"} & set(sys.modules) - before))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_each_subcommand_has_help() -> None:
    from click.testing import CliRunner

    from lilims.ci.commands.ci import command

    listed = command.list_commands(None)  # type: ignore[arg-type]
    assert {"plan", "report", "release-check"} <= set(listed)
    for name in listed:
        done = CliRunner().invoke(command, [name, "--help"])
        assert done.exit_code == 0 and f"ci {name}" in done.output.replace("command", "ci"), name
