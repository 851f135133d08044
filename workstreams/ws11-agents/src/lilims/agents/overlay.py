"""The environment in which a tree's own packages are imported, whatever is installed.

A clean checkout is not installed anywhere: its source folders go on PYTHONPATH, before site-packages, and its entry
points (commands that a branch has added) are written out as one small distribution beside them. Third-party packages
are those of this Python; a command that needs others names `hatch` as its program. Knows the workspace's form. Must
not know tasks.
"""

from __future__ import annotations

import os
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

__all__ = ["environment"]

_SECRET = re.compile(r"TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIAL|API_?KEY|PRIVATE_?KEY|ACCESS_KEY", re.IGNORECASE)
_DROPPED = re.compile(r"LILIMS_|GIT_|PYTEST_|COVERAGE")
_KEPT = ("LILIMS_TEST_DATA", "LILIMS_REQUIRE_TEST_DATA")


def environment(root: Path, scratch: Path) -> dict[str, str]:
    """Variables for a command on the tree at `root`: nothing that looks like a secret, a home and temporary folder of
    its own below `scratch`, plain wide output."""
    kept = {k: v for k, v in os.environ.items() if k in _KEPT or not (_SECRET.search(k) or _DROPPED.match(k))}
    temporary = scratch / "tmp"
    folders = {"LILIMS_HOME": scratch / "home", "TMPDIR": temporary, "TMP": temporary, "TEMP": temporary}
    for folder in folders.values():
        folder.mkdir(parents=True, exist_ok=True)
    paths = [*_entry_points(root, scratch / "entry-points"), *map(str, _sources(root))]
    return {
        **kept,
        **{name: str(folder) for name, folder in folders.items()},
        "LILIMS_CONFIG": str(scratch / "config.toml"),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONDONTWRITEBYTECODE": "1",
        "NO_COLOR": "1",
        "TERM": "dumb",
        "COLUMNS": "200",
    }


def _members(root: Path) -> list[Path]:
    settings = _toml(root / "pyproject.toml")
    globs = settings.get("tool", {}).get("uv", {}).get("workspace", {}).get("members", [])
    return sorted({folder for glob in globs for folder in root.glob(glob) if (folder / "pyproject.toml").is_file()})


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return {}


def _sources(root: Path) -> list[Path]:
    return [folder / "src" for folder in _members(root) if (folder / "src").is_dir()]


def _entry_points(root: Path, target: Path) -> list[str]:
    groups: dict[str, dict[str, str]] = {}
    for member in _members(root):
        for group, entries in _toml(member / "pyproject.toml").get("project", {}).get("entry-points", {}).items():
            groups.setdefault(group, {}).update(entries)
    if not groups:
        return []
    folder = target / "lilims_tree-0.dist-info"
    folder.mkdir(parents=True, exist_ok=True)
    lines = [line for g, es in groups.items() for line in (f"[{g}]", *(f"{k} = {v}" for k, v in es.items()), "")]
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: lilims-tree\nVersion: 0\n", "utf-8")
    (folder / "entry_points.txt").write_text("\n".join(lines), "utf-8")
    return [str(target)]
