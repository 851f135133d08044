"""A smaller residual stream: the same logits, and none of what overflows in fp16."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from lilims.conversion import convert
from lilims.conversion.commands.convert import command
from lilims.conversion.fp16_scale import factors, read_scale, rescaled
from lilims.conversion.lint.measure import measure
from lilims.core.errors import QuantizationError, UsageError
from lilims.core.manifest import read_manifest
from lilims.runtime import load

from .test_architectures import spec_of
from .test_convert import rewrite
from .test_reference import relative_rms

pytestmark = pytest.mark.slow

# For each a tensor that writes the stream, and how much larger it has to be for fp16 to overflow.
INFLATED = {
    "llama": ("model.layers.1.mlp.down_proj.weight", 1.5e5),
    "gemma3_text": ("model.layers.0.post_feedforward_layernorm.weight", 3e4),
}


def overflows(folder: Path) -> dict[str, str]:
    (found,) = measure(folder, read_manifest(folder), decode_only=True).values()
    return found.overflows


@pytest.fixture
def inflated(checkpoint_of: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Path]:
    def make(name: str) -> Path:
        tensor, factor = INFLATED[name]

        def change(tensors: dict[str, np.ndarray]) -> None:
            assert tensor in tensors, sorted(tensors)
            tensors[tensor] = tensors[tensor] * np.float32(factor)

        source = Path(shutil.copytree(checkpoint_of(name), tmp_path / "source"))
        rewrite(source, change)
        return source

    return make


@pytest.mark.parametrize("name", INFLATED)
def test_auto_ends_the_overflow_and_keeps_the_logits(
    inflated: Callable[[str], Path], tmp_path: Path, name: str
) -> None:
    source = inflated(name)
    plain = convert(source, tmp_path / "plain", quantize="fp16").folder
    scaled = convert(source, tmp_path / "scaled", quantize="fp16", fp16_scale="auto").folder
    assert overflows(plain)
    assert overflows(scaled) == {}
    factor = read_manifest(scaled).quantization.fp16_scale
    assert factor in {2.0**-n for n in range(1, 13)}
    assert read_manifest(plain).quantization.fp16_scale == 1.0
    ids = np.random.default_rng(5).integers(0, 90, 40).tolist()
    found, wanted = (load(folder, precision="exact").logits(ids) for folder in (scaled, plain))
    assert relative_rms(found, wanted) < 1e-3
    rounded = load(scaled, precision="fp16").logits(ids)
    assert np.isfinite(rounded).all()
    assert relative_rms(rounded, wanted) < 0.05


@pytest.mark.parametrize("name", ["gemma2", "gpt2", "olmo2", "phi", "mixtral", "granite"])
def test_a_factor_changes_no_logits(
    checkpoint_of: Callable[[str], Path], converted: Callable[..., Path], tmp_path: Path, name: str
) -> None:
    done = convert(checkpoint_of(name), tmp_path / "m", quantize="fp16", fp16_scale=0.25)
    assert done.manifest.quantization.fp16_scale == 0.25
    ids = np.random.default_rng(5).integers(0, 90, 30).tolist()
    found, wanted = (load(folder, precision="exact").logits(ids) for folder in (done.folder, converted(name)))
    assert relative_rms(found, wanted) < 1e-3


def test_auto_leaves_a_sound_model_as_it_is(
    checkpoint_of: Callable[[str], Path], converted: Callable[..., Path], tmp_path: Path
) -> None:
    done = convert(checkpoint_of("llama"), tmp_path / "m", quantize="fp16", fp16_scale="auto", name="llama")
    weights = "model.mlpackage/Data/com.apple.CoreML/weights/weight.bin"
    assert done.manifest.quantization.fp16_scale == 1.0
    assert (done.folder / weights).read_bytes() == (converted("llama") / weights).read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_an_overflow_elsewhere_is_no_matter_of_the_stream(checkpoint_of: Callable[[str], Path], tmp_path: Path) -> None:
    def change(tensors: dict[str, np.ndarray]) -> None:
        tensors["model.layers.1.mlp.up_proj.weight"] *= 1e5

    source = Path(shutil.copytree(checkpoint_of("llama"), tmp_path / "source"))
    rewrite(source, change)
    with pytest.raises(QuantizationError, match="overflows fp16 however small"):
        convert(source, tmp_path / "out", quantize="fp16", fp16_scale="auto")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_what_is_multiplied() -> None:
    """Whatever is added to the stream, and whatever reads it without a norm the other way."""
    found = factors(rescaled(spec_of("olmo2"), 0.5))
    of = {role.removeprefix("layers.0."): factor for role, factor in found.items() if role.startswith("layers.0.")}
    assert of["attention.o.weight"] == of["attention_output_norm.weight"] == of["mlp.down.weight"] == 0.5
    assert of["attention.q.weight"] == of["attention.v.weight"] == of["mlp.gate.weight"] == of["mlp.up.weight"] == 2.0
    assert not any("norm" in role and "output" not in role for role in found)
    assert factors(spec_of("olmo2")) == {}
    assert set(factors(rescaled(spec_of("gpt2"), 0.5)).values()) == {0.5}
    assert "positions" in factors(rescaled(spec_of("gpt2"), 0.5))


@pytest.mark.parametrize("wanted", ["much", "0.3", "2", "0", "-0.5", "nan", 2.0**-13])
def test_a_factor_that_does_not_exist(wanted: str | float) -> None:
    with pytest.raises(UsageError, match="--fp16-scale must be auto, off or a power of two"):
        read_scale(wanted)


@pytest.mark.parametrize(("wanted", "found"), [("auto", "auto"), ("off", "off"), ("0.125", 0.125), (1, 1.0)])
def test_a_factor_as_it_is_written(wanted: str | float, found: object) -> None:
    assert read_scale(wanted) == found


def test_the_command_says_what_it_chose(inflated: Callable[[str], Path], tmp_path: Path) -> None:
    arguments = [str(inflated("llama")), "-o", str(tmp_path / "m"), "--quantize", "fp16", "--fp16-scale", "auto"]
    done = CliRunner().invoke(command, arguments)
    assert done.exit_code == 0, done.output
    factor = read_manifest(tmp_path / "m").quantization.fp16_scale
    assert f"note: the residual stream is multiplied by {factor:g}" in done.output
