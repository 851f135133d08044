"""The package's names: complete, importable, and light to import."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import lilims.runtime as package


def test_all_is_complete_and_every_name_is_there() -> None:
    source = ast.parse(Path(str(package.__file__)).read_text("utf-8"))
    typed = {
        alias.name
        for node in ast.walk(source)
        if isinstance(node, ast.ImportFrom) and node.level == 1
        for alias in node.names
    }
    assert package.__all__ == sorted(package.__all__)
    assert set(package.__all__) == typed == set(package._HOMES)
    for name in package.__all__:
        assert getattr(package, name) is not None
    assert dir(package) == package.__all__


def test_unknown_names_are_attribute_errors() -> None:
    assert not hasattr(package, "absent")


def test_importing_is_light() -> None:
    script = (
        "import sys, lilims.runtime, lilims.runtime.commands.inspect, lilims.runtime.commands.doctor\n"
        "heavy = ('numpy', 'pydantic', 'onnx', 'onnxruntime', 'tokenizers', 'google', 'rich')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "[]\n"
