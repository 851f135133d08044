"""Checks that the repository is laid out as it says: `python tools/check_layout.py [ROOT]`.

    parts    every member has pyproject.toml, README.md, LICENSE, tests, py.typed, and no src/lilims/__init__.py
    arrows   dependencies between members are acyclic and are the arrows of the diagram in README.md
    imports  what a member imports is what its pyproject.toml declares; its entry points exist
    lists    uv sources, hatch.toml, mypy_path and each workstream's members name what they have to name
    paths    paths that the documents name exist
    length   no Python file over 450 lines without a comment `# layout: long because ...`

Prints one line per finding, `path:line: rule: message`, and exits 1 if there is any.
Knows the files' form. Must not know any member by name, nor import what it checks.
"""

from __future__ import annotations

import ast
import posixpath
import re
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatch
from itertools import pairwise
from pathlib import Path
from typing import Any

MAX_LINES = 450
SKIPPED_FOLDERS = {"__pycache__", "build", "dist", "node_modules", "venv"}  # and every name that starts with a dot
DISTRIBUTIONS = {
    "PIL": "pillow",
    "google": "protobuf",
    "llama_cpp": "llama-cpp-python",
    "markdown_it": "markdown-it-py",
    "profanity_check": "alt-profanity-check",
    "yaml": "pyyaml",
}  # import names that are not the distribution's name


@dataclass(frozen=True, order=True)
class Finding:
    path: str
    line: int
    rule: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.rule}: {self.message}"


@dataclass(frozen=True)
class Member:
    """One distribution of the workspace: `lilims-<name>` in `folder` (relative to the root, with slashes)."""

    folder: str
    root: Path
    config: dict[str, Any] = field(hash=False)

    @property
    def path(self) -> Path:
        return self.root / self.folder

    @property
    def name(self) -> str:
        return str(self.config["project"]["name"])

    @property
    def package(self) -> Path:
        return self.path / "src/lilims" / self.name.removeprefix("lilims-").replace("-", "_")

    def requirements(self, *, extras: bool = False) -> set[str]:
        """Normalised names of the distributions that this one requires (with those of its extras)."""
        project = self.config["project"]
        lines = [*project.get("dependencies", [])]
        if extras:
            lines += [line for extra in project.get("optional-dependencies", {}).values() for line in extra]
        return {re.split(r"[^\w.-]", line, maxsplit=1)[0].lower().replace("_", "-") for line in lines}


class Repository:
    """The members of the workspace and the root's settings, read once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.settings = read_toml(root / "pyproject.toml")
        self.hatch = read_toml(root / "hatch.toml")
        globs = get(self.settings, "tool.uv.workspace.members", [])
        folders = sorted({p for g in globs for p in root.glob(g) if p.is_dir() and not p.name.startswith(".")})
        self.folders = [p.relative_to(root).as_posix() for p in folders if any(walk(p))]
        self.members = {
            m.name: m
            for m in (Member(f, root, read_toml(root / f / "pyproject.toml")) for f in self.folders)
            if get(m.config, "project.name", "")
        }

    def arrows(self) -> dict[str, set[str]]:
        """Member → the members that it declares as dependencies."""
        return {name: m.requirements() & self.members.keys() for name, m in self.members.items()}


def read_toml(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text("utf-8")) if path.is_file() else {}


def get(table: dict[str, Any], dotted: str, default: Any) -> Any:
    for key in dotted.split("."):
        if not isinstance(table, dict) or key not in table:
            return default
        table = table[key]
    return table


def walk(folder: Path) -> Iterator[Path]:
    """Every file below `folder` that is not a tool's or a build's, sorted."""
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if path.is_symlink() or path.name.startswith(".") or path.name in SKIPPED_FOLDERS:
            continue
        if path.is_dir():
            yield from walk(path)
        else:
            yield path


def text_of(path: Path) -> str:
    return path.read_text("utf-8") if path.is_file() else ""


def line_of(path: Path, text: str) -> int:
    """The first line of a file that holds `text`; 1 if none does."""
    lines = path.read_text("utf-8").splitlines() if path.is_file() else []
    return next((number for number, line in enumerate(lines, 1) if text in line), 1)


def closure(arrows: dict[str, set[str]], start: str) -> set[str]:
    """Everything that `start` reaches by the arrows, without itself unless it stands on a cycle."""
    seen: set[str] = set()
    waiting = [*arrows.get(start, ())]
    while waiting:
        if (name := waiting.pop()) not in seen:
            seen.add(name)
            waiting += arrows.get(name, ())
    return seen


# ---------------------------------------------------------------------------------------------------------------------


def check_parts(repo: Repository) -> Iterator[Finding]:
    licence = text_of(repo.root / "LICENSE")
    for folder in repo.folders:
        path = repo.root / folder
        for part in ("pyproject.toml", "README.md"):
            if not (path / part).is_file():
                yield Finding(folder, 1, "parts", f"has no {part}")
        if licence and text_of(path / "LICENSE") != licence:
            yield Finding(folder, 1, "parts", "has not the root's LICENSE: each distribution carries its own copy")
        if not any(path.glob("tests/**/test_*.py")):
            yield Finding(folder, 1, "parts", "has no tests/test_*.py")
        if (path / "src/lilims/__init__.py").exists():
            yield Finding(f"{folder}/src/lilims/__init__.py", 1, "parts", "lilims is a namespace package: remove it")
    for member in repo.members.values():
        package = member.package.relative_to(repo.root).as_posix()
        for part in ("__init__.py", "py.typed"):
            if not (member.package / part).is_file():
                yield Finding(member.folder, 1, "parts", f"{member.name} has no {package}/{part}")


def drawn_arrows(readme: Path) -> dict[tuple[str, str], int]:
    """The arrows `a --> b` of the mermaid diagram after the comment `layout: arrows`, with their lines."""
    found: dict[tuple[str, str], int] = {}
    inside = False
    for number, line in enumerate(readme.read_text("utf-8").splitlines() if readme.is_file() else [], 1):
        if "<!-- layout: arrows" in line:
            inside = True
        elif inside and line.strip() == "```":
            break
        elif inside and "-->" in line:
            sides = [[n.strip() for n in re.sub(r"\[.*?\]", "", side).split("&")] for side in line.split("-->")]
            for left, right in pairwise(sides):
                found.update({(a, b): number for a in left for b in right})
    return found


def check_arrows(repo: Repository) -> Iterator[Finding]:
    declared = repo.arrows()
    for name, member in sorted(repo.members.items()):
        if name in closure(declared, name):
            file = member.path / "pyproject.toml"
            direct = min(n for n in declared[name] if n == name or name in closure(declared, n))
            yield Finding(f"{member.folder}/pyproject.toml", line_of(file, f'"{direct}'), "arrows",
                          f"{name} depends on itself, through {direct}")  # fmt: skip
            return
    readme = repo.root / "README.md"
    drawing = drawn_arrows(readme)
    if not drawing:
        yield Finding("README.md", 1, "arrows", "has no diagram after a comment <!-- layout: arrows -->")
        return
    picture: dict[str, set[str]] = {}
    for a, b in drawing:
        picture.setdefault(f"lilims-{a}", set()).add(f"lilims-{b}")
    for (a, b), number in drawing.items():
        if f"lilims-{b}" not in closure(declared, f"lilims-{a}"):
            yield Finding("README.md", number, "arrows", f"draws {a} --> {b}, which lilims-{a} does not declare")
    for name, targets in declared.items():
        for target in sorted(targets - closure(picture, name)):
            file = repo.members[name].path / "pyproject.toml"
            yield Finding(f"{repo.members[name].folder}/pyproject.toml", line_of(file, f'"{target}'), "arrows",
                          f"{name} depends on {target}, which the diagram in README.md does not show")  # fmt: skip


def imported(path: Path) -> Iterator[tuple[str, int]]:
    """Absolute imports of a file, as `a.b` for lilims and as the first part for others, with their lines."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"), str(path))):
        modules: list[str] = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            modules = [node.module]
            if node.module == "lilims":
                modules = [f"lilims.{alias.name}" for alias in node.names]
        for module in modules:
            parts = module.split(".")
            yield ".".join(parts[:2]) if parts[0] == "lilims" else parts[0], getattr(node, "lineno", 1)


def check_imports(repo: Repository) -> Iterator[Finding]:
    declared = repo.arrows()
    for member in repo.members.values():
        used: set[str] = set()
        reachable = closure(declared, member.name)
        files = list(walk(member.path))
        # A distribution inside a member is none of its parts.
        apart = [p.parent for p in files if p.name == "pyproject.toml" and p.parent != member.path]
        for path in files:
            if path.suffix != ".py" or any(path.is_relative_to(folder) for folder in apart):
                continue
            where, shipped = path.relative_to(repo.root).as_posix(), path.is_relative_to(member.path / "src")
            for module, number in imported(path):
                name = module.replace(".", "-").replace("_", "-")
                if module.startswith("lilims.") and name != member.name:
                    used.add(name)
                    if name not in (declared[member.name] if shipped else reachable):
                        yield Finding(where, number, "imports", f"{module}, which {member.name} does not depend on")
                elif shipped and module != "lilims" and not module.startswith("lilims."):
                    name = DISTRIBUTIONS.get(module, name).lower()
                    if module not in sys.stdlib_module_names and name not in member.requirements(extras=True):
                        yield Finding(where, number, "imports", f"{module}, which {member.name} does not require")
        file = member.path / "pyproject.toml"
        for name in sorted(declared[member.name] - used):
            yield Finding(f"{member.folder}/pyproject.toml", line_of(file, f'"{name}'), "imports",
                          f"{member.name} declares {name} and never imports it")  # fmt: skip
        yield from check_entry_points(member)


def check_entry_points(member: Member) -> Iterator[Finding]:
    project = member.config["project"]
    groups = [project.get("scripts", {}), *project.get("entry-points", {}).values()]
    for target in (value for group in groups for value in group.values()):
        module, _, attribute = target.partition(":")
        path = member.path / "src" / Path(*module.split(".")).with_suffix(".py")
        text = path.read_text("utf-8") if path.is_file() else ""
        if not re.search(rf"^(async )?(def |class )?{re.escape(attribute)}\b", text, re.MULTILINE):
            file = member.path / "pyproject.toml"
            yield Finding(f"{member.folder}/pyproject.toml", line_of(file, f'"{target}"'), "imports",
                          f"the entry point {target} does not exist")  # fmt: skip


def check_lists(repo: Repository) -> Iterator[Finding]:
    folders = {m.folder for m in repo.members.values()}
    yield from compare(repo, "pyproject.toml", "tool.uv.sources", repo.settings, set(repo.members))
    sources = {f"{f}/src" for f in folders} | {"tools"}  # tools: its programs import each other by name
    yield from compare(repo, "pyproject.toml", "tool.mypy.mypy_path", repo.settings, sources)
    for name, env in get(repo.hatch, "envs", {}).items():
        if name in ("default", "hatch-test") or "workspace" in env:
            yield from compare(repo, "hatch.toml", f"envs.{name}.workspace.members", repo.hatch, folders)
    testpaths = get(repo.settings, "tool.pytest.ini_options.testpaths", [])
    for folder in sorted(f"{f}/tests" for f in folders):
        if not any(fnmatch(folder, pattern) for pattern in testpaths):
            yield Finding("pyproject.toml", line_of(repo.root / "pyproject.toml", "testpaths"), "lists",
                          f"testpaths leaves out {folder}")  # fmt: skip
    arrows = repo.arrows()
    for member in repo.members.values():
        needed = {posixpath.relpath(repo.members[n].folder, member.folder) for n in closure(arrows, member.name)}
        key = "tool.hatch.envs.hatch-test.workspace.members"
        if needed or get(member.config, key, None):
            yield from compare(repo, f"{member.folder}/pyproject.toml", key, member.config, needed)


def compare(repo: Repository, file: str, key: str, table: dict[str, Any], wanted: set[str]) -> Iterator[Finding]:
    """A finding for what the list at `key` lacks and one for what it names beyond `wanted`."""
    listed = set(get(table, key, []))
    head = key.rsplit(".", 1)[-1] if "workspace" not in key else "workspace.members"
    line = line_of(repo.root / file, head)
    if missing := sorted(wanted - listed):
        yield Finding(file, line, "lists", f"{key} leaves out {', '.join(missing)}")
    for extra in sorted(listed - wanted):
        yield Finding(file, line_of(repo.root / file, extra), "lists", f"{key} names {extra}, which does not belong")


def check_paths(repo: Repository) -> Iterator[Finding]:
    for path in walk(repo.root):
        if path.suffix != ".md" or path.name == "CHANGELOG.md":  # a changelog names what was there once
            continue
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
            for named in named_paths(line, repo.root, path.parent):
                if not any(named in ("", ".") or any(base.glob(named)) for base in (repo.root, path.parent)):
                    where = path.relative_to(repo.root).as_posix()
                    yield Finding(where, number, "paths", f"{named} does not exist")


def named_paths(line: str, root: Path, folder: Path) -> Iterator[str]:
    """What a line of Markdown names as a path: relative links, and words with a slash whose first part is a folder."""
    for target in re.findall(r"\]\(([^)\s]+)\)", line):
        if not re.match(r"[a-z]+:|#|/", target):
            yield resolve(target.split("#")[0], root, folder)
    for word in re.findall(r"(?<![\w./:<-])\.?\w[\w.*-]*(?:/[\w.*-]+)+/?(?![\w<{…/])", line):
        first = word.split("/")[0]
        made = first in SKIPPED_FOLDERS  # what a program writes there, a document may name
        if not made and ((root / first).is_dir() or (folder / first).is_dir()):
            yield word.rstrip("/.")


def resolve(target: str, root: Path, folder: Path) -> str:
    """A link relative to `folder` as a path relative to `root`."""
    return posixpath.normpath(posixpath.join(folder.relative_to(root).as_posix(), target))


def check_length(repo: Repository) -> Iterator[Finding]:
    for path in walk(repo.root):
        if path.suffix == ".py":
            text = path.read_text("utf-8")
            count = text.count("\n")
            if count > MAX_LINES and not re.search(r"^# layout: long because \w", text, re.MULTILINE):
                where = path.relative_to(repo.root).as_posix()
                yield Finding(where, MAX_LINES + 1, "length", f"{count} lines: split it, or say why it is long")


CHECKS = (check_parts, check_arrows, check_imports, check_lists, check_paths, check_length)


def check(root: Path) -> list[Finding]:
    """Every finding of every rule, sorted by place."""
    repo = Repository(root)
    return sorted(finding for rule in CHECKS for finding in rule(repo))


def main(arguments: list[str]) -> int:
    root = Path(arguments[0] if arguments else Path(__file__).parent.parent).resolve()
    findings = check(root)
    for finding in findings:
        print(finding)
    if not findings:
        print(f"layout: {len(CHECKS)} rules hold", file=sys.stderr)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
