"""Calibrated conversions: better, the same each time, and never begun anew."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lilims.conversion import convert
from lilims.conversion.evaluation.measure import evaluate_ids
from lilims.conversion.evaluation.sources import PackageSpec
from lilims.core.errors import InputError, LilimsError, TokenizerError, UsageError
from lilims.core.events import Event, listening
from lilims.core.paths import cache_dir
from lilims.core.testing import test_data

SCHEMES = ("int4", *(pytest.param(s, marks=pytest.mark.slow) for s in ("int4-asym", "int4-channel", "lut4-r8")))


@pytest.fixture
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Nothing is calibrated already."""
    from lilims.core.settings import settings

    monkeypatch.setenv("LILIMS_HOME", str(tmp_path / "home"))
    settings.cache_clear()
    yield tmp_path / "home"
    settings.cache_clear()


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What stories260K writes: most of it to calibrate on, and a rest."""
    path = tmp_path_factory.mktemp("text") / "story.txt"
    with np.load(Path(__file__).parents[1] / "references" / "stories260K_sampled.npz") as file:
        ids = file["ids"]
    from lilims.tokenizer import Tokenizer

    path.write_text(Tokenizer.load(test_data("models/stories260K")).decode(ids[:8].ravel().tolist()), "utf-8")
    return path


def held_out() -> list[int]:
    with np.load(Path(__file__).parents[1] / "references" / "stories260K_sampled.npz") as file:
        ids: list[int] = file["ids"][20:24].ravel().tolist()
    return ids


def weights(folder: Path) -> str:
    return hashlib.sha256(next(folder.rglob("weight.bin")).read_bytes()).hexdigest()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_divergence_falls(scheme: str, story: Path, tmp_path: Path) -> None:
    source = test_data("models/stories260K")
    convert(source, tmp_path / "fp16", quantize="fp16")
    options: dict[str, Any] = {"calibrate": str(story), "calibration_tokens": 2048, "context": 256}
    found = []
    for name, more in (("plain", {}), ("calibrated", options)):
        made = convert(source, tmp_path / name, quantize=scheme, **more)
        spec = PackageSpec(made.folder)
        measured = evaluate_ids(spec, held_out(), reference=PackageSpec(tmp_path / "fp16"), context=256, jobs=1)
        assert measured.summary.comparison is not None
        found.append(measured.summary.comparison.divergence.value)
    assert found[1] < 0.6 * found[0], found
    about = made.manifest.quantization
    assert about.scheme == f"{scheme}-gptq"
    assert about.calibration is not None
    assert (about.calibration.text, about.calibration.tokens) == ("story.txt", 2048)


class Enough(BaseException):  # no listener's exception gets anywhere, but for those that end a program
    """Work is interrupted."""


def calibrated(source: Path, out: Path, *, stop: str | None = None) -> list[tuple[str, bool]]:
    """The units that were made, and whether they were there."""
    units: list[tuple[str, bool]] = []

    def hear(event: Event) -> None:
        if event.name == "calibrate.unit":
            units.append((event.fields["unit"], event.fields["kept"]))
            if event.fields["unit"] == stop:
                raise Enough

    with listening(hear):
        convert(source, out, calibrate="self", calibration_tokens=64, context=32, force=True)
    return units


def shelf_of(home: Path) -> Path:
    (folder,) = (path for path in (home / "cache" / "calibration").iterdir() if path.name != "texts")
    return folder


def test_an_interrupted_calibration_goes_on(
    checkpoint_of: Callable[[str], Path], tmp_path: Path, own_home: Path
) -> None:
    source = checkpoint_of("llama")
    with pytest.raises(Enough):
        calibrated(source, tmp_path / "m", stop="layer-1")
    assert not (tmp_path / "m").exists()
    units = calibrated(source, tmp_path / "m")
    assert [name for name, _ in units] == ["embedding", "layer-0", "layer-1", "layer-2", "head"]
    assert [kept for _, kept in units] == [True, True, True, False, False]
    assert [kept for _, kept in calibrated(source, tmp_path / "again")] == [True] * 5
    assert not (shelf_of(own_home) / "streams.npz").exists()
    for path in shelf_of(own_home).iterdir():
        path.unlink()
    assert not any(kept for _, kept in calibrated(source, tmp_path / "anew"))
    assert weights(tmp_path / "m") == weights(tmp_path / "again") == weights(tmp_path / "anew")


@pytest.mark.parametrize(
    "damage", ["cut", "streams lost", "a unit lost", pytest.param("flipped", marks=pytest.mark.slow)]
)
def test_damaged_work_is_done_again(
    damage: str, checkpoint_of: Callable[[str], Path], tmp_path: Path, own_home: Path
) -> None:
    source = checkpoint_of("llama")
    calibrated(source, tmp_path / "whole")
    folder = shelf_of(own_home)
    (folder / "head.npz").unlink()
    unit = folder / "layer-1.npz"
    raw = bytearray(unit.read_bytes())
    if damage == "cut":
        unit.write_bytes(raw[: len(raw) // 2])
    if damage == "flipped":
        raw[len(raw) // 2] ^= 255
        unit.write_bytes(raw)
    if damage == "a unit lost":
        unit.unlink()
    made = [name for name, kept in calibrated(source, tmp_path / "m") if not kept]
    assert made == ([] if damage == "streams lost" else ["layer-1"]) + ["head"]
    assert weights(tmp_path / "m") == weights(tmp_path / "whole")


def test_the_models_own_text(checkpoint_of: Callable[[str], Path], tmp_path: Path, own_home: Path) -> None:
    source = checkpoint_of("llama")
    heard = []
    for name in ("one", "two"):
        texts: list[Event] = []
        with listening(lambda event, texts=texts: texts.append(event) if event.name == "calibrate.text" else None):
            made = convert(source, tmp_path / name, calibrate="self", calibration_tokens=150, context=32)
        heard.append(len(texts))
        assert made.manifest.quantization.calibration is not None
        assert made.manifest.quantization.calibration.tokens == 4 * 32
    assert heard == [4, 0]  # kept
    assert weights(tmp_path / "one") == weights(tmp_path / "two")


HEADER = b"\x93NUMPY\1\0\x76\0" + b"{'descr': '<i8', '''".ljust(117) + b"\n"  # as numpy reads it, Python without an end


@pytest.mark.parametrize("content", [b"", HEADER], ids=["empty", "header"])
def test_a_damaged_text_is_written_again(
    content: bytes, checkpoint_of: Callable[[str], Path], tmp_path: Path, own_home: Path
) -> None:
    calibrated(checkpoint_of("llama"), tmp_path / "one")
    (text,) = (own_home / "cache" / "calibration" / "texts").iterdir()
    good = text.read_bytes()
    text.write_bytes(content)
    calibrated(checkpoint_of("llama"), tmp_path / "two")
    assert text.read_bytes() == good


@pytest.mark.parametrize(("place", "value"), [(6, 1), (8, 99)], ids=["encrypted", "method"])
def test_a_unit_in_a_damaged_archive_is_none(place: int, value: int, own_home: Path) -> None:
    from lilims.conversion.calibration.shelf import shelf_for
    from lilims.conversion.stored import Dense

    shelf = shelf_for("a" * 64, 0)
    shelf.write("layer-0", {"x": Dense(np.zeros(10, np.float16))})
    file = shelf.folder / "layer-0.npz"
    raw = bytearray(file.read_bytes())
    raw[place] = raw[raw.index(b"PK\1\2") + place + 2] = value  # in the entry's own header and in the directory
    file.write_bytes(raw)
    assert shelf.read("layer-0") is None


@pytest.mark.parametrize("name", ["gpt2", pytest.param("gemma2", marks=pytest.mark.slow), "qwen3_moe"])
def test_other_families(name: str, checkpoint_of: Callable[[str], Path], tmp_path: Path) -> None:
    plain = convert(checkpoint_of(name), tmp_path / "plain", quantize="int4", context=32)
    made = convert(
        checkpoint_of(name), tmp_path / "m", quantize="int4", calibrate="self", calibration_tokens=64, context=32
    )
    assert {role: t.scheme for role, t in made.manifest.quantization.tensors.items()} == {
        role: t.scheme for role, t in plain.manifest.quantization.tensors.items()
    }
    assert weights(made.folder) != weights(plain.folder)


def refused(tmp_path: Path, error: type[LilimsError], match: str, **options: Any) -> None:
    source = options.pop("source", None) or test_data("models/stories260K")
    with pytest.raises(error, match=match):
        convert(source, tmp_path / "m", **options)
    assert not (tmp_path / "m").exists()


def test_what_does_not_do(tmp_path: Path, checkpoint_of: Callable[[str], Path]) -> None:
    short = tmp_path / "short.txt"
    short.write_text("Once upon a time", "utf-8")
    binary = tmp_path / "binary.txt"
    binary.write_bytes(b"Once \xff upon")
    refused(tmp_path, UsageError, "the text 'short.txt' has 5 tokens, a window 512", calibrate=str(short))
    refused(tmp_path, InputError, r"not UTF-8 \(byte 5\)", calibrate=str(binary))
    refused(tmp_path, InputError, "no text 'nosuch'", calibrate="nosuch")
    refused(tmp_path, UsageError, "windows of 8 tokens says nothing", calibrate=str(short), calibration_tokens=8)
    refused(tmp_path, UsageError, "says how much of a text is taken", calibration_tokens=100)
    refused(tmp_path, UsageError, "-gptq takes a text", quantize="int4-gptq")
    refused(tmp_path, UsageError, "measures what --imatrix says", calibrate="self", imatrix=tmp_path / "x.gguf")
    bare = checkpoint_of("llama")
    refused(tmp_path, TokenizerError, "has no tokenizer", source=bare, calibrate=str(short), calibration_tokens=16)


def test_the_cache_keeps_to_its_limit(own_home: Path) -> None:
    from lilims.conversion.calibration.shelf import shelf_for
    from lilims.conversion.stored import Dense

    for key in ("a" * 64, "b" * 64):
        shelf_for(key, 0).write("layer-0", {"x": Dense(np.zeros(1000, np.float16))})
    shelf = shelf_for("c" * 64, 1000, limit=4000)
    assert sorted(path.name[0] for path in (cache_dir() / "calibration").iterdir()) == ["b"]
    shelf.write("head", {})
    assert shelf.read("head") == {}


def test_a_matrix_that_no_scale_holds_is_named(checkpoint_of: Callable[[str], Path], tmp_path: Path) -> None:
    source = tmp_path / "large"
    shutil.copytree(checkpoint_of("llama"), source)
    file = source / "model.safetensors"
    raw = bytearray(file.read_bytes())
    size = int.from_bytes(raw[:8], "little")
    entry = json.loads(raw[8 : 8 + size])["model.layers.0.mlp.down_proj.weight"]
    at = 8 + size + entry["data_offsets"][0]
    raw[at : at + 4] = np.float32(6e5).tobytes()
    file.write_bytes(raw)
    refused(tmp_path, LilimsError, "a value of 6e\\+05|not finite", source=source, calibrate="self",
            calibration_tokens=32, context=32)  # fmt: skip


def test_what_is_used_again_is_kept_longest(own_home: Path) -> None:
    from lilims.conversion.calibration.shelf import shelf_for
    from lilims.conversion.stored import Dense

    for age, key in ((300, "a" * 64), (200, "b" * 64)):
        shelf = shelf_for(key, 0)
        shelf.write("layer-0", {"x": Dense(np.zeros(1000, np.float16))})
        os.utime(shelf.folder, (time.time() - age,) * 2)
    shelf_for("a" * 64, 0)
    shelf_for("c" * 64, 1000, limit=4000)
    assert [path.name[0] for path in (cache_dir() / "calibration").iterdir()] == ["a"]
