"""Writes the classes of errors into docs/troubleshooting.md: `python tools/error_messages.py [--check]`.

For each class of lilims.core.errors that is raised somewhere: an example, what it means, what to do. An example is
what a command prints: each is run on a model or a checkpoint that was damaged for it, in a folder of its own. Meaning
and advice are the class's own words. With --check nothing is written: exit code 1 if the page is not what it would be.
"""

from __future__ import annotations

import ast
import contextlib
import inspect
import io
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from lilims.core import errors

ROOT = Path(__file__).parents[1]
Damage = Callable[[Path], object]


@dataclass(frozen=True)
class Example:
    """A command that fails, and what was done before to the folder `stories` (a checkpoint) or `tiny` (a model)."""

    command: str
    damage: Damage = lambda folder: None


def _write(name: str, text: str) -> Damage:
    return lambda folder: (folder / name).write_text(text, "utf-8")


def _cut(name: str) -> Damage:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:4000])


def _without(name: str) -> Damage:
    return lambda folder: (folder / name).unlink()


def _manifest(folder: Path) -> None:
    """A manifest that names a function the package has not."""
    import json

    path = folder / "tiny" / "manifest.json"
    raw = json.loads(path.read_text("utf-8"))
    raw.pop("digest", None)
    raw["functions"]["prefill_64"] = raw["functions"]["prefill"]
    path.write_text(json.dumps(raw), "utf-8")


WEIGHTS = "tiny/model.mlpackage/Data/com.apple.CoreML/weights/weight.bin"
EXAMPLES: dict[str, Example] = {
    "UsageError": Example("eval tiny --text short.txt", _write("short.txt", "Once.")),
    "CheckpointError": Example("convert stories -o out", _cut("stories/model.safetensors")),
    "TokenizerError": Example("convert stories -o out", _write("stories/tokenizer.json", "{")),
    "ManifestError": Example("run tiny Once", _write("tiny/manifest.json", "{")),
    "PackageError": Example("inspect tiny/model.mlpackage", _without("tiny/model.mlpackage/Manifest.json")),
    "IntegrityError": Example("run tiny Once", _cut(WEIGHTS)),
    "UnsupportedModelError": Example("convert stories -o out", _write("stories/config.json", '{"model_type": "bert"}')),
    "ContractError": Example("run tiny Once", _manifest),
    "ContextOverflowError": Example("run tiny -f long.txt", _write("long.txt", "Once upon a time " * 900)),
    "OutputExistsError": Example("convert stories -o tiny"),
    "StorageError": Example("docs check nowhere"),
    "ModelNotFoundError": Example("run nowhere Once"),
    "InputError": Example("eval tiny --text latin1.txt", lambda folder: (folder / "latin1.txt").write_bytes(b"\xe9")),
}
# Raised where no command on a small model comes to it: the page has no example.
NO_EXAMPLE = {
    "UnsupportedError": "something that only other forms of a model or a machine can do; the line names it",
    "UnsupportedOpError": "a package with an operator that the portable executor lacks, see conformance.md",
    "QuantizationError": "a tensor that the scheme asked for cannot hold",
    "ExecutionError": "Core ML or ONNX Runtime refuses to load or to run",
    "TokensGoneError": "a session under a context policy is asked for tokens that it has dropped",
    "OutOfMemoryError": "a model that is larger than the memory that is free",
    "MissingDependencyError": "an optional package is not installed",
}


@lru_cache(maxsize=1)
def raised() -> list[str]:
    """The classes of lilims.core.errors that code of this repository raises, in the order of that file."""
    named: set[str] = set()
    for folder in [ROOT / "shared" / "src", *sorted((ROOT / "workstreams").glob("*/src"))]:
        for path in folder.rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.Call) and isinstance(node.func, (ast.Name, ast.Attribute)):
                    named.add(node.func.id if isinstance(node.func, ast.Name) else node.func.attr)
    classes = [n for n, c in vars(errors).items() if inspect.isclass(c) and issubclass(c, errors.LilimsError)]
    return [name for name in classes if name in named and name != "LilimsError"]


@contextlib.contextmanager
def desk() -> Iterator[Path]:
    """A folder with the built-in checkpoint in `stories` and its model in `tiny`; lilims has a home of its own."""
    from lilims.conversion import convert
    from lilims.core.settings import settings
    from lilims.models import builtin_checkpoint

    before, environment = Path.cwd(), dict(os.environ)
    with tempfile.TemporaryDirectory() as name:
        good = Path(name) / "good"
        shutil.copytree(builtin_checkpoint(), good / "stories")
        convert(good / "stories", good / "tiny")
        os.environ |= {"LILIMS_HOME": str(Path(name) / "home"), "LILIMS_EXECUTOR": "portable", "NO_COLOR": "1"}
        settings.cache_clear()
        try:
            yield good
        finally:
            os.chdir(before)
            os.environ.clear()
            os.environ |= environment
            settings.cache_clear()


def printed(example: Example, good: Path) -> str:
    """What the command writes to stderr, with its exit code."""
    from lilims.core import cli

    folder = good.parent / "work"
    shutil.copytree(good, folder)
    try:
        example.damage(folder)
        os.chdir(folder)
        text = io.StringIO()
        with contextlib.redirect_stderr(text), contextlib.redirect_stdout(io.StringIO()):
            code = cli.run(example.command.split())
        said = text.getvalue().replace(f"{folder.resolve()}{os.sep}", "").replace("\\", "/")
        lines = [line.rstrip() for line in said.splitlines()]
        return "\n".join([f"$ lilims {example.command}", *lines, f"$ echo $?\n{code}"])
    finally:
        os.chdir(good)
        shutil.rmtree(folder)


def section() -> str:
    """The section of the page: a heading for each class."""
    with desk() as good:
        return "\n".join(_entry(name, good) for name in raised())


def _entry(name: str, good: Path) -> str:
    kind = getattr(errors, name)
    lines = [f"### {name}\n", inspect.cleandoc(kind.__doc__ or "") + "\n"]
    if name in EXAMPLES:
        lines.append(f"```text\n{printed(EXAMPLES[name], good)}\n```\n")
    else:
        lines.append(f"Seen with: {NO_EXAMPLE[name]}.\n")
    if kind.next_step:
        lines.append(f"If no hint is printed: {kind.next_step}.\n")
    return "\n".join(lines)


if __name__ == "__main__":
    import generated_pages

    sys.exit(generated_pages.main([*sys.argv[1:], "errors"]))
