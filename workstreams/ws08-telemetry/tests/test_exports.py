"""`lilims.telemetry` names what it offers, and importing it is cheap."""

from __future__ import annotations

import ast
from pathlib import Path

import lilims.telemetry as package

from .helpers import finish, start


def test_every_name_is_there() -> None:
    assert sorted(package.__all__, key=lambda name: (not name.isupper(), name[0].islower(), name)) == package.__all__
    assert [name for name in package.__all__ if not hasattr(package, name)] == []
    assert dir(package) == sorted(package.__all__)


def test_type_checkers_see_the_same_names() -> None:
    tree = ast.parse(Path(package.__file__ or "").read_text("utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    imported = {alias.name for node in block.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert imported == set(package.__all__) == set(package._HOMES)


def test_importing_and_listening_loads_no_database() -> None:
    program = """
import sys
before = set(sys.modules)  # a tool of the environment may have loaded what it likes
import lilims.telemetry
lilims.telemetry.listen().stop()
print(sorted({"sqlite3", "rich", "plotille", "matplotlib", "numpy"} & (set(sys.modules) - before)))
"""
    assert finish(start(program)) == (0, "[]\n", "")
