"""The roofline: its arithmetic by hand, its constants from the figures that set them, and figures that did not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lilims.bench.devices import DEVICES, device_named
from lilims.bench.estimating import REACHED, estimate, sizes_of
from lilims.core.errors import ContextOverflowError, UsageError

from .conftest import CONFIG, Run

LLAMA_8B: dict[str, Any] = {
    "model_type": "llama", "vocab_size": 128256, "hidden_size": 4096, "intermediate_size": 14336,
    "num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "max_position_embeddings": 131072,
    "rms_norm_eps": 1e-5, "rope_theta": 500000.0, "hidden_act": "silu", "tie_word_embeddings": False,
    "bos_token_id": 128000, "eos_token_id": 128001,
}  # fmt: skip
LLAMA_7B = LLAMA_8B | {
    "vocab_size": 32000, "intermediate_size": 11008, "num_key_value_heads": 32, "max_position_embeddings": 2048,
    "rope_theta": 10000.0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip


def bound(tmp_path: Path, config: dict[str, Any], scheme: str, device: str, *contexts: int) -> list[float]:
    """The most tokens/s at each context."""
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config))
    sizes = sizes_of(str(path), quantize=scheme, context=max(contexts))
    found = [estimate(sizes, device_named(device), context=context) for context in contexts]
    return [float(one["decode"]["tokens_per_second"]) for one in found]


def test_the_constants_are_what_these_published_figures_say(tmp_path: Path) -> None:
    """LLaMA 7B Q4_0 (4.5 bits, as int4 in blocks of 32) in 27 ms, M2 Max; Llama 3.1 8B fp16, 16.26 tokens/s, M1 Max."""
    (early,) = bound(tmp_path, LLAMA_7B, "int4", "m2-max", 64)
    (full,) = bound(tmp_path, LLAMA_8B, "fp16", "m1-max", 2048)
    assert (1 / 0.027) / early == pytest.approx(REACHED[0], abs=0.01)
    assert 16.26 / full == pytest.approx(REACHED[1], abs=0.01)


def test_published_figures_that_set_no_constant(tmp_path: Path) -> None:
    """Apple's Llama 3.1 8B int4 on an M1 Max: within the range at 2k; at 8k below it, by less than a fifth."""
    for published, most in zip((33.67, 21.46), bound(tmp_path, LLAMA_8B, "int4", "m1-max", 2048, 8192), strict=True):
        assert published < most, "a bound that is broken is none"
        low, high = (share * most for share in REACHED)
        assert (low if published > 30 else 0.8 * low) < published < high


def test_another_program_s_published_figure(tmp_path: Path) -> None:
    """llama.cpp, LLaMA 7B Q4_0 in 22.5 ms, 128 tokens behind nothing, M1 Max: ggml-org/llama.cpp pull request 2188."""
    (most,) = bound(tmp_path, LLAMA_7B, "int4", "m1-max", 64)
    assert REACHED[0] * most < 1 / 0.0225 < REACHED[1] * most


def test_the_arithmetic_by_hand(tiny: Path) -> None:
    sizes = sizes_of(str(tiny))
    weights = sum(path.stat().st_size for path in tiny.rglob("weight.bin"))
    device = DEVICES["m1"]
    found = estimate(sizes, device, context=32, prompt=16)
    assert found["decode"]["weight_bytes"] == weights, "the embedding is the head too: all of it is read"
    assert found["decode"]["cache_bytes"] == 32 * 2 * 2 * 1 * 32 * 2, "tokens, K and V, layers, heads, width, fp16"
    assert found["decode"]["tokens_per_second"] == device.bandwidth / (weights + 32 * 256)
    hidden, inner, kv = 64, 96, 32
    matrices = 128 * hidden + 2 * (2 * hidden * hidden + 2 * hidden * kv + 3 * hidden * inner)
    assert sizes.multiplied == matrices, "the head has its rows padded to 128"
    assert found["prefill"]["operations"] == 2 * 16 * matrices + 4 * 2 * 2 * 32 * 16**2 / 2
    assert found["prefill"]["seconds"] == pytest.approx(
        max(found["prefill"]["operations"] / 2.6e12, weights / device.bandwidth)
    )
    assert found["memory"]["total"] == sum(found["memory"][part] for part in ("weights", "state", "working"))
    assert found["memory"]["fits"]


def test_a_config_and_its_package_are_estimated_alike(tiny: Path, checkpoint: Path) -> None:
    made, planned = sizes_of(str(tiny)), sizes_of(str(checkpoint), quantize="int8")
    assert (planned.read, planned.multiplied, planned.cache) == (made.read, made.multiplied, made.cache)
    assert planned.decoder == made.decoder


def test_an_embedding_that_is_not_the_head_is_read_by_rows(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(CONFIG))
    tied = sizes_of(str(path), quantize="fp16")
    path.write_text(json.dumps({**CONFIG, "tie_word_embeddings": False}))
    untied = sizes_of(str(path), quantize="fp16")
    assert untied.decoder.weights > tied.decoder.weights
    assert untied.multiplied == tied.multiplied
    assert abs(untied.read - tied.read) < 256, "but for padding"


def test_the_command(lilims: Run, tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert lilims("bench", "estimate", tiny, "--device", "m1-max", "--json") == 0
    seen = json.loads(capsys.readouterr().out)
    assert seen["kind"] == "estimate" and seen["decode"]["tokens_per_second"] > 0
    assert lilims("bench", "estimate", tiny, "--device", "a14", "--device", "m1", "--json") == 0
    assert [one["device"]["name"] for one in json.loads(capsys.readouterr().out)["all"]] == ["a14", "m1"]
    assert lilims("bench", "estimate", tiny, "--device", "a14") == 0
    shown = capsys.readouterr().out
    assert "at most" in shown and "no published arithmetic" in shown and "fits into 1.5 GB" in shown


def test_refusals(lilims: Run, tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match="z80"):
        device_named("z80")
    with pytest.raises(UsageError, match="scheme already"):
        sizes_of(str(tiny), quantize="int4")
    with pytest.raises(ContextOverflowError):
        estimate(sizes_of(str(tiny)), DEVICES["m1"], context=65)
    assert lilims("bench", "estimate", tiny, "--device", "z80") == 2
    assert "a17-pro" in capsys.readouterr().err
    assert lilims("bench", "estimate", tiny / "nowhere", "--device", "m1") == 1


@pytest.mark.parametrize("device", DEVICES.values(), ids=DEVICES)
def test_every_device_names_its_source(device: Any) -> None:
    assert device.source and 20e9 < device.bandwidth < 1e12 and 0 < device.app_limit < device.memory
    assert device.arithmetic is None or 1e12 < device.arithmetic < 20e12
