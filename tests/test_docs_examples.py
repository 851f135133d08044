"""Every example of the documentation runs: here, in the test that `ELSEWHERE` names, or the page says why it cannot.

The pieces of a page run in their order, Python in one namespace, on a desk with the names that pages use: a
small checkpoint with random weights as `TinyStories-1M` and `base`, of which `tiny` and `tiny-fp16` are models.
"""

from __future__ import annotations

import ast
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lilims.core import cli
from lilims.core.console import console
from lilims.core.settings import settings
from lilims.core.testing import test_data
from lilims.docs import Page

from .docs_examples import desk as made

ROOT = Path(__file__).parents[1]
PAGES = {path.name: Page(path) for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]}
READMES = [ROOT / "CONTRIBUTING.md", ROOT / "shared" / "README.md", *sorted(ROOT.glob("workstreams/*/README.md"))]
PAGES |= {path.relative_to(ROOT).as_posix(): Page(path) for path in READMES}  # their names repeat
PROGRAMS = ("python", "sh")
READ = ("swift",)  # no compiler where the tests run: a parser reads them
DATA = ("text", "yaml", "mermaid", "")  # looked at, not run; recipes and registries are read below
# Page and language → the test that runs those pieces.
ELSEWHERE = {
    ("bench.md", "python"): "workstreams/ws06-bench/tests/test_guide.py::test_examples_run",
    ("bench.md", "sh"): "workstreams/ws06-bench/tests/test_guide.py::test_examples_run",
    ("chat.md", "sh"): "workstreams/ws07-ui/tests/terminal/test_guide.py::test_the_examples_run",
    ("ci.md", "sh"): "workstreams/ws10-ci/tests/test_guide.py::test_a_command_of_a_page",
    ("generation.md", "python"): "tests/test_generation_guides.py::test_examples_run",
    ("long-context.md", "python"): "tests/test_generation_guides.py::test_examples_run",
    ("macos-ci.md", "sh"): "workstreams/ws10-ci/tests/macos/test_guide.py::test_examples_run",
    ("models.md", "python"): "tests/test_generation_guides.py::test_examples_run",
    ("quality.md", "python"): "tests/test_generation_guides.py::test_examples_run",
    ("releasing.md", "sh"): "workstreams/ws10-ci/tests/test_guide.py::test_a_command_of_a_page",
    ("running-packages.md", "python"): "tests/test_generation_guides.py::test_examples_run",
    ("server.md", "python"): "workstreams/ws07-ui/tests/test_guide.py::test_python_examples",
    ("server.md", "sh"): "workstreams/ws07-ui/tests/test_guide.py::test_curl_examples",
    ("sessions.md", "python"): "tests/test_generation_guides.py::test_examples_run",
    ("swift.md", "swift"): "workstreams/ws07-ui/tests/swift/test_syntax.py::test_the_examples_of_the_guide_are_swift",
    ("telemetry.md", "python"): "tests/test_telemetry.py::test_the_guides_examples_run",
    ("telemetry.md", "sh"): "tests/test_telemetry.py::test_the_guides_examples_run",
    ("web-chat.md", "python"): "workstreams/ws07-ui/tests/web/test_guide.py::test_the_example_runs",
}
# Lines of pieces that otherwise run, and who has them instead.
NOT_RUN = {
    "open StoryApp/Lilims.xcodeproj": "Xcode; .github/workflows/swift.yml builds it",
    "lilims pull https://example.org/tiny/": "a server; workstreams/ws05-model-manager/tests has one",
    "lilims pull https://example.org/tiny/ --key 8f3a…": "a server; workstreams/ws05-model-manager/tests has one",
    "lilims serve": "serves until it is stopped; workstreams/ws07-ui/tests",
    "lilims bench tiny": "a minute of measuring; docs/bench.md's own run",
    "lilims eval tiny --text story.txt --reference ./TinyStories-1M": "transformers; hatch run parity:test",
    "lilims data wikitext2 && lilims eval tiny --text wikitext2": "a download; the texts' tests have a server",
    "lilims predict silero-vad.mlmodelc --input audio_input=window.npy --output-dir out": "Core ML's compiler made it",
    "lilims predict classifier.mlpackage --input picture=cat.jpg --json": "workstreams/ws02-runtime/tests has images",
    'lilims convert ./TinyStories-1M -o tiny --budget "ppl<=3%"': "a search; workstreams/ws01-conversion/tests/budget",
    'lilims convert ./TinyStories-1M -o tiny --budget "ppl<=3%" --max-bpw 4.6 --calibrate story.txt '
    "--heldout other.txt": "a search; workstreams/ws01-conversion/tests/budget",
    'lilims convert ./TinyStories-1M -o tinyb --budget "ppl<=3%"': "a search; workstreams/ws01-conversion/tests/budget",
    "lilims convert hf://org/name -o name": "a download; workstreams/ws01-conversion/tests/test_hub.py",
    "lilims eval tiny --tasks arc_easy,hellaswag": "a download; lm-eval's tests have tasks of their own",
    "lilims convert model-00001-of-00003.gguf -o model": "split files; workstreams/ws01-conversion/tests",
}  # fmt: skip
# Options that are added, so that examples take seconds: the last of an option counts.
LESS = {
    "lilims convert": ("--force",),
    "--calibrate": ("--calibration-tokens", "64"),
    "lilims eval": ("--windows", "1"),
    "--by-layer": ("--by-layer", "1"),
}
HERE = sorted({
    page for page, read in PAGES.items() for f in read.fences
    if f.language in PROGRAMS and f.not_run is None and (page, f.language) not in ELSEWHERE
})  # fmt: skip

needs_converter = pytest.mark.skipif(sys.platform == "win32", reason="coremltools 9 has no Windows build")


@pytest.mark.parametrize("page", PAGES)
def test_every_piece_is_run_or_says_why_not(page: str) -> None:
    kinds = {fence.language for fence in PAGES[page].fences if fence.not_run is None}
    assert kinds <= {*PROGRAMS, *READ, *DATA}, "a comment `<!-- not run: why -->` before it says who cannot run it"
    assert all((page, kind) in ELSEWHERE for kind in kinds & {*READ})
    for fence in PAGES[page].fences:
        assert fence.not_run is None or fence.language not in DATA, f"line {fence.line}: nobody would run it"


@pytest.mark.parametrize(("page", "language"), ELSEWHERE)
def test_who_runs_it_elsewhere_reads_the_page(page: str, language: str) -> None:
    file, _, function = ELSEWHERE[page, language].partition("::")
    source = (ROOT / file).read_text("utf-8")
    assert page in source, f"{file} does not name {page}"
    assert function in {n.name for n in ast.walk(ast.parse(source)) if isinstance(n, ast.FunctionDef)}
    assert any(f.language == language and f.not_run is None for f in PAGES[page].fences), "nothing to run any more"


def test_lines_that_are_not_run_are_there() -> None:
    lines = {bare(line) for page in HERE for f in PAGES[page].fences for line in f.code.splitlines()}
    assert NOT_RUN.keys() <= lines


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("desk"))


@pytest.fixture
def desk(good: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A desk of one's own, as the working folder; `lilims` and `python` are found, nothing is on stdin."""
    folder = Path(shutil.copytree(good, tmp_path / "desk", copy_function=os.link))
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "lilims").write_text(f"#!{sys.executable}\nfrom lilims.core.cli import main\nmain()\n")
    (programs / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    for program in programs.iterdir():
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("LILIMS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LILIMS_EXECUTOR", "portable")
    monkeypatch.chdir(folder)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO()))
    settings.cache_clear()
    yield folder
    settings.cache_clear()
    console.json = console.quiet = False


@needs_converter
@pytest.mark.parametrize("page", HERE)
def test_the_examples_run(page: str, desk: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = given(page)
    ran = 0
    for fence in PAGES[page].fences:
        if fence.language not in PROGRAMS or fence.not_run is not None or (page, fence.language) in ELSEWHERE:
            continue
        if fence.language == "python":
            exec(compile(fence.code, f"{page}:{fence.line}", "exec", dont_inherit=True), names)
            ran += 1
        else:
            ran += sum(shell(line, capsys) for line in fence.code.replace("\\\n", "").splitlines() if bare(line))
    assert ran


def given(page: str) -> dict[str, Any]:
    """What a page takes for granted: the short ones begin in the middle of a program."""
    if page not in ("sampling.md", "speculation.md"):
        return {}
    from lilims.runtime import load

    return {"model": load("tiny"), "smaller": load("tiny"), "prompt": "Once upon a time there was a fox. " * 3}


def bare(line: str) -> str:
    """A line without its comment."""
    return re.sub(r"\s+#.*$", "", line).strip()


def shell(line: str, capsys: pytest.CaptureFixture[str]) -> bool:
    """Runs a line: commands of lilims in this process, what needs a shell in one. False if it is one of NOT_RUN."""
    if bare(line) in NOT_RUN:
        return False
    words = shlex.split(line, comments=True)
    if words[0] == "lilims" and not re.search(r"[|><&$]", bare(line).replace("<=", "")):
        code = cli.run([*words[1:], *(option for key, more in LESS.items() if key in line for option in more)])
        console.json = console.quiet = False
        assert code == 0, f"{line}: {capsys.readouterr().err}"
    else:
        done = subprocess.run(line, shell=True, capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL)
        assert done.returncode == 0, f"{line}: {done.stderr}"
    return True


@needs_converter
def test_the_recipe_is_one(desk: Path) -> None:
    (recipe,) = (f.code for f in PAGES["quantisation.md"].fences if f.language == "yaml")
    Path("other.yaml").write_text(recipe, "utf-8")
    assert cli.run(["convert", "base", "-o", "out", "--recipe", "other.yaml", "-q"]) == 0


def test_the_registry_is_one(tmp_path: Path) -> None:
    from lilims.models.registry import read_registry

    (registry,) = (f.code for f in PAGES["models.md"].fences if f.language == "yaml")
    (tmp_path / "registry.yaml").write_text(registry, "utf-8")
    assert len(read_registry(tmp_path / "registry.yaml")) == 2


@needs_converter
def test_silero_is_called_as_readme_calls_a_package(tmp_path: Path) -> None:
    """README's package is ours; a published one of that shape is called the same way."""
    from lilims.runtime.portable import MLModel

    model = MLModel(test_data("coreml/silero-vad/silero-vad-stft-v6.0.0.mlpackage"))
    (name,) = model.input_description
    assert model.predict({name: np.zeros((1, 576), np.float32)})
