"""Starts a workstream: `python tools/new_workstream.py 06 bench --needs runtime core --about "Measures models."`

Writes workstreams/ws<NN>-<name> and enters it in every list that tools/check_layout.py compares. The test that it
writes fails until the package exports something. Knows the layout's form. Must not know what a workstream does.
"""

from __future__ import annotations

import argparse
import posixpath
import re
import shutil
from pathlib import Path

import check_layout as layout

PYPROJECT = """\
[build-system]
requires = ["hatchling>=1.27"]
build-backend = "hatchling.build"

[project]
name = "lilims-{name}"
version = "{version}"
description = "{about}"
readme = "README.md"
license = "Apache-2.0"
requires-python = ">=3.11,<3.14"
dependencies = [{dependencies}]

[tool.hatch.build.targets.wheel]
packages = ["src/lilims"]

[tool.hatch.envs.hatch-test]
workspace.members = [{members}]
extra-dependencies = ["hypothesis>=6.150"]
default-args = ["tests"]

[[tool.hatch.envs.hatch-test.matrix]]
python = ["3.11", "3.12", "3.13"]
"""
README = """\
# lilims-{name}

{about}

```sh
cd {folder}
hatch test
```
"""
INIT = '''\
"""{about}"""

{imports}

__all__: list[str] = []
'''
TEST = '''\
"""The package's public names."""

import lilims.{package} as package


def test_exports_something() -> None:
    assert package.__all__, "lilims.{package} exports nothing yet"
    assert [name for name in package.__all__ if not hasattr(package, name)] == []
'''


def insert_after_last(path: Path, pattern: str, line: str, start: str = "") -> None:
    """Puts `line` behind the last line that matches `pattern` in the block that begins with `start`."""
    lines = path.read_text("utf-8").splitlines()
    first = next(n for n, text in enumerate(lines) if text.startswith(start))
    end = next((n for n in range(first + 1, len(lines)) if lines[n].startswith("[") and start), len(lines))
    last = max(n for n in range(first, end) if re.match(pattern, lines[n]))
    lines.insert(last + 1, line)
    path.write_text("\n".join(lines) + "\n", "utf-8")


def create(root: Path, number: int, name: str, needs: list[str], about: str) -> Path:
    """Writes the workstream's files, enters it in the root's lists and the README's diagram; returns its folder."""
    repo = layout.Repository(root)
    names = sorted(f"lilims-{need}" for need in needs)
    if not re.fullmatch(r"[a-z][a-z0-9]*", name) or f"lilims-{name}" in repo.members:
        raise SystemExit(f"{name!r} is taken, or is not a lower-case name")
    if unknown := [n for n in names if n not in repo.members]:
        raise SystemExit(f"unknown dependencies: {', '.join(unknown)}; known: {', '.join(sorted(repo.members))}")

    folder = f"workstreams/ws{number:02}-{name}"
    reachable = sorted(set(names).union(*(layout.closure(repo.arrows(), n) for n in names)))
    members = [posixpath.relpath(repo.members[n].folder, folder) for n in reachable]
    values = {
        "name": name,
        "package": name,
        "about": about,
        "version": layout.get(repo.settings, "project.version", "0.1.0"),
        "folder": folder,
        "dependencies": ", ".join(f'"{n}"' for n in names),
        "members": ", ".join(f'"{m}"' for m in members),
        "imports": "\n".join(f"import {n.replace('-', '.', 1)}  # noqa: F401 (replace by what is used)" for n in names),
    }
    for relative, template in {
        "pyproject.toml": PYPROJECT,
        "README.md": README,
        f"src/lilims/{name}/__init__.py": INIT,
        f"src/lilims/{name}/py.typed": "",
        f"tests/test_{name}.py": TEST,
    }.items():
        path = root / folder / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(template.format(**values), "utf-8")

    if (root / "LICENSE").is_file():
        shutil.copy(root / "LICENSE", root / folder / "LICENSE")
    enter(root, folder, name, names)
    if layout.get(repo.settings, "project.dependencies", []):  # the umbrella brings every package
        pin = f'    "lilims-{name}=={values["version"]}",'
        insert_after_last(root / "pyproject.toml", '    "lilims-', pin, "dependencies = [")
    return root / folder


def enter(root: Path, folder: str, name: str, needs: list[str]) -> None:
    """Adds the workstream to uv's sources, mypy's path, both lists of hatch.toml and the diagram."""
    source = f"lilims-{name} = {{ workspace = true }}"
    insert_after_last(root / "pyproject.toml", "lilims-", source, "[tool.uv.sources]")
    insert_after_last(root / "pyproject.toml", r'    ".*/src"', f'    "{folder}/src",', "mypy_path")
    for env in ("[envs.default]", "[envs.hatch-test]"):
        insert_after_last(root / "hatch.toml", r'    "(shared|workstreams/.*)"', f'    "{folder}",', env)
    for need in needs:
        insert_after_last(root / "README.md", r".*-->", f"    {name} --> {need.removeprefix('lilims-')}",
                          "<!-- layout: arrows")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("number", type=int)
    parser.add_argument("name")
    parser.add_argument("--needs", nargs="+", required=True, help="other members, as in the diagram: core runtime")
    parser.add_argument("--about", required=True, help="one sentence, in double quotes nowhere")
    arguments = parser.parse_args()
    root = Path(__file__).resolve().parent.parent
    print(create(root, arguments.number, arguments.name, arguments.needs, arguments.about).relative_to(root))


if __name__ == "__main__":
    main()
