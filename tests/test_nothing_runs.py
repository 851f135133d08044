"""Checkpoints and packages come from strangers: no module of the packages has a way to run what they hold."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .bad_input import checkpoints

ROOT = Path(__file__).parents[1]
SOURCES = sorted(f for src in (ROOT / "shared" / "src", *ROOT.glob("workstreams/*/src")) for f in src.rglob("*.py"))
MODULES = {"pickle", "_pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "code", "codeop"}
CALLS = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "yaml.load", "yaml.unsafe_load"}


def offences(source: str) -> Iterator[str]:
    """What a module does that could run code from a file."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""] if not node.level and not _only_errors(node) else []
        else:
            names = []
        yield from (f"imports {name}" for name in names if name.split(".")[0] in MODULES)
        if isinstance(node, ast.Call):
            yield from _calls(node)


def _only_errors(node: ast.ImportFrom) -> bool:
    """Whether it imports nothing but error classes, which run nothing: torch raises pickle's."""
    return all(alias.name.endswith("Error") for alias in node.names)


def _calls(node: ast.Call) -> Iterator[str]:
    name = ast.unparse(node.func)
    keywords = {k.arg: ast.unparse(k.value) for k in node.keywords}
    if name in CALLS:
        yield f"calls {name}"
    if name.split(".")[0] == "torch" and name.endswith(".load") and keywords.get("weights_only") != "True":
        yield f"calls {name} without weights_only=True"
    if keywords.get("allow_pickle", "False") != "False":
        yield f"calls {name} with allow_pickle"
    if keywords.get("trust_remote_code", "False") != "False":
        yield f"calls {name} with trust_remote_code"
    if keywords.get("shell", "False") != "False":
        yield f"calls {name} with shell"


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: "/".join(p.relative_to(ROOT).parts[-3:]))
def test_no_module_can_run_a_file(path: Path) -> None:
    source = path.read_text("utf-8")
    found = list(offences(source))
    if path.parent.name == "workers":  # what one user's processes tell each other is pickled; no file is
        assert "pickle.load(" not in source and "read_bytes" not in source
        found = [offence for offence in found if offence != "imports pickle"]
    assert found == []


def test_there_are_modules_to_look_at() -> None:
    assert len(SOURCES) > 80
    assert any(path.name == "pipeline.py" for path in SOURCES)


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import pickle", ["imports pickle"]),
        ("def f():\n    from pickle import loads", ["imports pickle"]),
        ("from pickle import UnpicklingError, loads", ["imports pickle"]),
        ("from pickle import UnpicklingError", []),
        ("import numpy as np\nnp.load(p, allow_pickle=True)", ["calls np.load with allow_pickle"]),
        ("np.load(p, allow_pickle=flag)", ["calls np.load with allow_pickle"]),
        ("torch.load(p)", ["calls torch.load without weights_only=True"]),
        ("torch.load(p, weights_only=False)", ["calls torch.load without weights_only=True"]),
        ("torch.load(p, weights_only=True)", []),
        ("eval(text)", ["calls eval"]),
        ("re.compile(text)", []),
        ("subprocess.run(text, shell=True)", ["calls subprocess.run with shell"]),
        ("from .pickle import x", []),
    ],
)
def test_the_search_finds_what_it_looks_for(source: str, found: list[str]) -> None:
    assert list(offences(source)) == found


@pytest.mark.skipif(sys.platform == "win32", reason="coremltools 9 has no Windows build; links need a privilege")
def test_links_of_the_hub_cache_become_files(tmp_path: Path) -> None:
    """The hub keeps files as `blobs/<hash>`, and a revision as links to them."""
    from lilims.conversion import convert

    real = checkpoints.write(tmp_path / "real")
    checkpoints.tokenizer(100)(real)
    (real / "LICENSE").write_text("the text")
    blobs, revision = tmp_path / "models--a--b" / "blobs", tmp_path / "models--a--b" / "snapshots" / "0123"
    blobs.mkdir(parents=True)
    revision.mkdir(parents=True)
    for index, file in enumerate(sorted(real.iterdir())):
        file.rename(blobs / str(index))
        (revision / file.name).symlink_to(Path("..", "..", "blobs", str(index)))
    folder = convert(revision, tmp_path / "out").folder
    assert (folder / "LICENSE").read_text() == "the text"
    assert {"vocab.json", "merges.txt", "LICENSE"} <= {path.name for path in folder.iterdir()}
    assert [path for path in folder.rglob("*") if path.is_symlink()] == []
