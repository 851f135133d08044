"""What is public: modules, the names that they export, and whether each is documented.

A module is public if it is a package with an `__all__` of its own names, no part of its path is private, and it holds
no commands (the command line is documented by itself). `lilims.core` is imported from its modules, so those are public
too. Knows the form of modules. Must not know what any of them does.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import zip_longest
from pathlib import Path
from types import ModuleType
from typing import Any

__all__ = ["PublicName", "home_of", "packages", "public_modules", "public_names", "undocumented"]

FLAT = ("lilims.core",)  # packages whose modules are all public
_APART = ("commands", "builtin")


@dataclass(frozen=True)
class PublicName:
    """A name that a module exports.

    Attributes:
        module: that exports it, as `lilims.runtime`.
        kind: "class", "exception", "function" or "data".
        summary: the first sentence of what is said of it; empty if nothing is.
    """

    module: str
    name: str
    kind: str
    summary: str

    @property
    def dotted(self) -> str:
        """Module and name, as they are imported."""
        return f"{self.module}.{self.name}"


def packages() -> list[str]:
    """Every package of lilims that is installed, in the order of the alphabet: `lilims.agents`, …"""
    import lilims

    found = {p.parent.name for folder in lilims.__path__ for p in Path(folder).glob("*/__init__.py")}
    return [f"lilims.{name}" for name in sorted(found)]


def public_modules(package: str) -> list[str]:
    """The public modules of a package, itself first. Nothing of them is imported but the package."""
    root = Path(str(importlib.import_module(package).__file__)).parent
    pattern = "*.py" if package in FLAT else "__init__.py"
    found = []
    for path in sorted(root.rglob(pattern)):
        parts = path.relative_to(root).with_suffix("").parts
        parts = parts[:-1] if parts[-1] == "__init__" else parts
        if not any(part.startswith("_") or part in _APART for part in parts) and _exports(path):
            found.append(".".join((package, *parts)))
    return found


def _exports(path: Path) -> bool:
    """Whether a file has an `__all__` that names more than the modules beside it."""
    for node in _tree(path).body:
        if isinstance(node, (ast.Assign, ast.AnnAssign)) and "__all__" in ast.unparse(node).split("=")[0]:
            names = ast.literal_eval(node.value) if node.value is not None else []
            beside = {p.stem for p in path.parent.iterdir()} if path.name == "__init__.py" else set()
            return bool(set(names) - beside)
    return False


@cache
def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text("utf-8"))


def public_names(module: str) -> list[PublicName]:
    """What a module exports, in the order of its `__all__`; modules among it are left out."""
    home = importlib.import_module(module)
    found = []
    for name in home.__all__:
        value = getattr(home, name)
        if not inspect.ismodule(value):
            found.append(PublicName(module, name, _kind(value), summary_of(_documentation(module, name, value))))
    return found


def _kind(value: Any) -> str:
    if inspect.isclass(value):
        return "exception" if issubclass(value, BaseException) else "class"
    return "function" if inspect.isroutine(value) else "data"


def _documentation(module: str, name: str, value: Any) -> str:
    if _kind(value) == "data":
        return constant_documentation(module, name)
    return inspect.getdoc(value) or ""


def summary_of(documentation: str) -> str:
    """The first sentence, in one line."""
    text = " ".join(documentation.strip().split("\n\n")[0].split())
    return re.split(r"(?<=[.!?])\s", text)[0] if text else ""


@cache
def home_of(module: str, name: str) -> str:
    """The module that defines what `module` exports as `name`, by the imports in its source."""
    source = _tree(Path(str(importlib.import_module(module).__file__)))
    for node in ast.walk(source):
        if isinstance(node, ast.ImportFrom) and any((a.asname or a.name) == name for a in node.names):
            inside = str(getattr(importlib.import_module(module), "__package__", module))
            base = "." * node.level + (node.module or "")
            found = importlib.util.resolve_name(base, inside) if node.level else base
            original = next(a.name for a in node.names if (a.asname or a.name) == name)
            return home_of(found, original) if found.startswith("lilims.") else found
    return module


@cache
def main_entry(name: PublicName) -> str:
    """Of the modules of its package that export the same thing, the one with the shortest name, and the name there."""
    package = ".".join(name.module.split(".")[:2])
    home = home_of(name.module, name.name)
    for module in sorted(public_modules(package), key=len):
        for other in public_names(module):
            if other.name == name.name and home_of(module, other.name) == home:
                return other.dotted
    return name.dotted


def constant_documentation(module: str, name: str) -> str:
    """What the text behind a constant's assignment says of it, or the docstring of a function that became an object."""
    body = _tree(Path(str(importlib.import_module(home_of(module, name)).__file__))).body
    for node, behind in zip_longest(body, body[1:]):
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return ast.get_docstring(node) or ""
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        assigned = any(isinstance(target, ast.Name) and target.id == name for target in targets)
        if assigned and isinstance(behind, ast.Expr) and isinstance(behind.value, ast.Constant):
            return inspect.cleandoc(str(behind.value.value))
    return ""


def undocumented(module: str) -> list[str]:
    """Public names of a module, and public members of its classes, of which nothing is said: `lilims.x.Name.member`."""
    home = importlib.import_module(module)
    missing = [name.dotted for name in public_names(module) if not name.summary]
    for name in public_names(module):
        value = getattr(home, name.name)
        if inspect.isclass(value):
            missing += [f"{name.dotted}.{member}" for member in _silent_members(value)]
    return missing


def _silent_members(kind: type) -> Iterator[str]:
    fields = getattr(kind, "__dataclass_fields__", {})
    for name, member in list(vars(kind).items()):
        cached = isinstance(member, cached_property)  # has its own class' docstring, and from Python 3.12 on none
        plain = member.fget if isinstance(member, property) else member.func if cached else _unwrapped(member)
        own = inspect.isroutine(plain) and str(getattr(plain, "__module__", "")).startswith("lilims.")
        public = own and not name.startswith("_") and name not in fields
        if public and not inspect.getdoc(plain if cached else getattr(kind, name)):
            yield name


def _unwrapped(member: Any) -> Any:
    return inspect.unwrap(getattr(member, "__func__", member))


def resolve(dotted: str) -> bool:
    """Whether `lilims.a.b.C.d` is a module, or a name or attribute in one."""
    parts = dotted.split(".")
    found: ModuleType | Any = None
    for count, part in enumerate(parts, 1):
        try:
            found = importlib.import_module(".".join(parts[:count]))
            continue
        except ModuleNotFoundError:
            pass
        fields = getattr(found, "__dataclass_fields__", {}) | getattr(found, "model_fields", {})
        if not hasattr(found, part):
            return part in fields and count == len(parts)
        found = getattr(found, part)
    return True
