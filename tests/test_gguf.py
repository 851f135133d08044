"""The built-in model by way of GGUF: the same tokens, text and perplexity as from its own checkpoint."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("coremltools")  # there is none for Windows
gguf = pytest.importorskip("gguf")

import gguf_types  # noqa: E402
import peers_gguf  # noqa: E402
from lilims.conversion import convert, perplexity  # noqa: E402
from lilims.runtime import Model, load  # noqa: E402

PROMPT = "Once upon a time"


@pytest.fixture(scope="module")
def checkpoint_model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = tmp_path_factory.mktemp("stories")
    return load(convert(peers_gguf.STORIES, folder / "m", quantize="fp16").folder, precision="exact")


def from_gguf(folder: Path, kind: str) -> Model:
    path = folder / f"stories-{kind}.gguf"
    peers_gguf.write_float(path, kind)
    return load(convert(path, folder / "m").folder, precision="exact")


def test_a_float_file_tells_the_same_story(checkpoint_model: Model, tmp_path: Path) -> None:
    model = from_gguf(tmp_path, "F16")
    heldout = (peers_gguf.STORIES / "heldout.txt").read_text("utf-8")
    assert model.tokenizer is not None and checkpoint_model.tokenizer is not None
    assert model.tokenizer.encode(heldout) == checkpoint_model.tokenizer.encode(heldout)
    told = [m.generate(PROMPT, max_tokens=80, temperature=0).text() for m in (model, checkpoint_model)]
    assert told[0] == told[1] and len(told[0]) > 100


@pytest.mark.parametrize(("kind", "most"), [("Q8_0", 0.002), ("Q5_1", 0.03), ("Q4_0", 0.15)])
def test_quantised_files_lose_what_their_type_loses(
    checkpoint_model: Model, tmp_path: Path, kind: str, most: float
) -> None:
    model = from_gguf(tmp_path, kind)
    assert model.tokenizer is not None
    ids = model.tokenizer.encode((peers_gguf.STORIES / "heldout.txt").read_text("utf-8"))[:2048]
    found, wanted = (perplexity(m, ids, window=256).value for m in (model, checkpoint_model))
    assert found == pytest.approx(wanted, rel=most)


def test_the_command_says_what_became_of_the_codes(tmp_path: Path) -> None:
    peers_gguf.write_float(tmp_path / "stories.gguf", "Q8_0")
    run = "from lilims.core.cli import main; main()"
    command = [sys.executable, "-c", run, "convert", str(tmp_path / "stories.gguf"), "-o", str(tmp_path / "m")]
    done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stderr
    assert "36 × Q8_0 → int8 block 32, exact" in done.stdout


def test_the_documentation_shows_what_the_program_prints() -> None:
    page = (Path(__file__).parents[1] / "docs" / "gguf.md").read_text("utf-8")
    shown = page.split("<!-- gguf types: begin -->")[1].split("<!-- gguf types: end -->")[0]
    assert shown.strip() == gguf_types.table(), "python tools/gguf_types.py"
