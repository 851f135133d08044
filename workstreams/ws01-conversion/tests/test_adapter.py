"""LoRA adapters: the sum against numpy and against peft's own merge; what does not fit is refused by name."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lilims.conversion import convert, dry_run
from lilims.conversion.prepare import prepare
from lilims.conversion.sources.checkpoint import Checkpoint
from lilims.core.errors import CheckpointError, LilimsError, UnsupportedModelError, UsageError

from .conftest import write_tensors

Q, DOWN = "model.layers.1.self_attn.q_proj", "model.layers.0.mlp.down_proj"  # of `llama`: 96×64 and 64×112
CONFIG: dict[str, Any] = {
    "peft_type": "LORA",
    "r": 4,
    "lora_alpha": 6,
    "bias": "none",
    "base_model_name_or_path": "a/b",
}


def write_adapter(folder: Path, tensors: dict[str, np.ndarray], **config: Any) -> Path:
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps({**CONFIG, **config}))
    write_tensors(folder / "adapter_model.safetensors", tensors)
    return folder


def pair(module: str, out: int, width: int, rank: int = 4, seed: int = 0) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    return {
        f"base_model.model.{module}.lora_A.weight": random.standard_normal((rank, width), np.float32),
        f"base_model.model.{module}.lora_B.weight": random.standard_normal((out, rank), np.float32),
    }


def product(tensors: dict[str, np.ndarray], module: str) -> np.ndarray:
    """B·A in float64."""
    a, b = (tensors[f"base_model.model.{module}.lora_{letter}.weight"].astype(np.float64) for letter in "AB")
    return np.asarray(b @ a)


def adapted(source: Path, *adapters: Path) -> Checkpoint:
    return prepare(source, adapters=adapters).checkpoint


def assert_tensor(found: Checkpoint, name: str, wanted: np.ndarray) -> None:
    np.testing.assert_allclose(found.tensor(name), wanted, rtol=0, atol=1e-5)
    np.testing.assert_allclose(found.tensor(name, slice(5, 50)), wanted[5:50], rtol=0, atol=1e-5)


SCALES: dict[str, tuple[dict[str, Any], float, int]] = {
    "alpha over r": ({}, 6 / 4, 4),
    "rslora": ({"use_rslora": True}, 6 / math.sqrt(4), 4),
    "alpha of a module": ({"alpha_pattern": {"q_proj": 3}}, 3 / 4, 4),
    "alpha of another": ({"alpha_pattern": {"k_proj": 3, "x_q_proj": 5, "^q_proj": 7}}, 6 / 4, 4),
    "anchored alpha": ({"alpha_pattern": {"^model\\.layers\\.1\\.self_attn\\.q_proj": 2}}, 2 / 4, 4),
    "rank of a module": ({"rank_pattern": {"self_attn.q_proj": 2}}, 6 / 2, 2),
    "both": ({"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"q_proj": 5}, "use_rslora": True}, 5 / math.sqrt(2), 2),
}


@pytest.mark.parametrize("name", SCALES)
def test_scales(tmp_path: Path, checkpoint_of: Callable[[str], Path], name: str) -> None:
    config, scale, rank = SCALES[name]
    tensors = pair(Q, 96, 64, rank)
    found = adapted(checkpoint_of("llama"), write_adapter(tmp_path / "a", tensors, **config))
    base = Checkpoint(checkpoint_of("llama")).tensor(f"{Q}.weight")
    assert_tensor(found, f"{Q}.weight", base + scale * product(tensors, Q))
    np.testing.assert_array_equal(
        found.tensor(f"{DOWN}.weight"), Checkpoint(checkpoint_of("llama")).tensor(f"{DOWN}.weight")
    )


def test_two_adapters_add_up(tmp_path: Path, checkpoint_of: Callable[[str], Path]) -> None:
    first, second = pair(Q, 96, 64), {**pair(Q, 96, 64, seed=1), **pair(DOWN, 64, 112, seed=2)}
    found = adapted(checkpoint_of("llama"), write_adapter(tmp_path / "a", first), write_adapter(tmp_path / "b", second))
    base = Checkpoint(checkpoint_of("llama"))
    assert_tensor(found, f"{Q}.weight", base.tensor(f"{Q}.weight") + 1.5 * (product(first, Q) + product(second, Q)))
    assert_tensor(found, f"{DOWN}.weight", base.tensor(f"{DOWN}.weight") + 1.5 * product(second, DOWN))


def test_weights_that_lie_transposed(tmp_path: Path, checkpoint_of: Callable[[str], Path]) -> None:
    """GPT-2's are [in, out]; its own checkpoint may lack the prefix that the adapter has."""
    module = "transformer.h.0.attn.c_attn"
    tensors = pair(module, 192, 64)
    found = adapted(checkpoint_of("gpt2"), write_adapter(tmp_path / "a", tensors, fan_in_fan_out=True))
    name = next(n for n in found.names if n.endswith("h.0.attn.c_attn.weight"))
    assert_tensor(found, name, Checkpoint(checkpoint_of("gpt2")).tensor(name) + 1.5 * product(tensors, module).T)


def test_an_adapter_of_the_model_without_its_head(tmp_path: Path, checkpoint_of: Callable[[str], Path]) -> None:
    tensors = pair(Q.removeprefix("model."), 96, 64)
    found = adapted(checkpoint_of("llama"), write_adapter(tmp_path / "a", tensors))
    base = Checkpoint(checkpoint_of("llama")).tensor(f"{Q}.weight")
    assert_tensor(found, f"{Q}.weight", base + 1.5 * product(tensors, Q.removeprefix("model.")))


def test_an_embedding_and_modules_to_save(tmp_path: Path, checkpoint_of: Callable[[str], Path]) -> None:
    random = np.random.default_rng(0)
    a, b = random.standard_normal((4, 100), np.float32), random.standard_normal((64, 4), np.float32)
    head = random.standard_normal((100, 64), np.float32)
    tensors = {
        "base_model.model.model.embed_tokens.lora_embedding_A": a,
        "base_model.model.model.embed_tokens.lora_embedding_B": b,
        "base_model.model.lm_head.weight": head,
    }
    found = adapted(checkpoint_of("llama"), write_adapter(tmp_path / "a", tensors, modules_to_save=["lm_head"]))
    embedding = Checkpoint(checkpoint_of("llama")).tensor("model.embed_tokens.weight")
    assert_tensor(found, "model.embed_tokens.weight", embedding + 1.5 * (b @ a).T)
    assert_tensor(found, "lm_head.weight", head)


def test_a_base_weight_that_came_along(tmp_path: Path, checkpoint_of: Callable[[str], Path]) -> None:
    """peft stores the weight beneath LoRA too where the vocabulary may have grown."""
    base = np.random.default_rng(3).standard_normal((96, 64), np.float32)
    tensors = {**pair(Q, 96, 64), f"base_model.model.{Q}.base_layer.weight": base}
    folder = write_adapter(tmp_path / "a", tensors)
    assert_tensor(adapted(checkpoint_of("llama"), folder), f"{Q}.weight", base + 1.5 * product(tensors, Q))
    with pytest.raises(UnsupportedModelError, match="replaces .*q_proj.weight', which another adapter changes"):
        adapted(checkpoint_of("llama"), folder, folder)


K_OF_ANOTHER = pair("model.layers.7.self_attn.q_proj", 96, 64)
HEAD = {"base_model.model.lm_head.weight": np.ones((100, 64))}
ONE = dict(list(pair(Q, 96, 64).items())[:1])
BAD: dict[str, tuple[dict[str, np.ndarray], dict[str, Any], type[LilimsError], str]] = {
    "dora": (pair(Q, 96, 64), {"use_dora": True}, UnsupportedModelError, "uses DoRA"),
    "other kind": (pair(Q, 96, 64), {"peft_type": "IA3"}, UnsupportedModelError, "'peft_type' is 'IA3'"),
    "biases": (pair(Q, 96, 64), {"bias": "all"}, UnsupportedModelError, "'bias' is 'all'"),
    "pissa": (pair(Q, 96, 64), {"init_lora_weights": "pissa"}, UnsupportedModelError, "is 'pissa'"),
    "new option": (pair(Q, 96, 64), {"use_magic": True}, UnsupportedModelError, "'use_magic' is True"),
    "copied layers": (pair(Q, 96, 64), {"layer_replication": [[0, 2]]}, UnsupportedModelError, "'layer_replication'"),
    "expression": (pair(Q, 96, 64), {"alpha_pattern": {"(a+)+": 3}}, UnsupportedModelError, "no expressions"),
    "rank": (pair(Q, 96, 64), {"r": 8}, CheckpointError, "has rank 4, adapter_config.json says 8"),
    "no rank": (pair(Q, 96, 64), {"r": None}, CheckpointError, "'r' must be a positive number"),
    "alpha": (pair(Q, 96, 64), {"lora_alpha": "much"}, CheckpointError, "'lora_alpha' must be a positive number"),
    "scale as text": (pair(Q, 96, 64), {"use_rslora": "no"}, CheckpointError, "'use_rslora' must be true or false"),
    "deeper model": (K_OF_ANOTHER, {}, CheckpointError, "layers.7.self_attn.q_proj', which the model does not have"),
    "wider model": (pair(Q, 128, 64), {}, CheckpointError, r"shape \[96, 64\] by one of \[128, 64\]: .* is for 'a/b'"),
    "nameless": (pair(Q, 9, 9), {"base_model_name_or_path": None}, CheckpointError, "the adapter is for another model"),
    "transposed": (pair(Q, 96, 64), {"fan_in_fan_out": True}, CheckpointError, r"by one of \[64, 96\]"),
    "half": (ONE, {}, CheckpointError, "has one matrix of two"),
    "stranger": (HEAD, {}, UnsupportedModelError, "neither LoRA's nor of 'modules_to_save'"),
    "empty": ({}, {}, CheckpointError, "changes nothing"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_does_not_fit_is_named(tmp_path: Path, checkpoint_of: Callable[[str], Path], name: str) -> None:
    tensors, config, error, message = BAD[name]
    with pytest.raises(error, match=message) as caught:
        adapted(checkpoint_of("llama"), write_adapter(tmp_path / "a", tensors, **config))
    assert str(tmp_path / "a") in str(caught.value.where)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("alpha", "values", "message"),
    [(9e8, 3e38, "an adapter makes values of tensor .*q_proj.weight' infinite"), (1, np.nan, "lora_A.*holds NaN")],
    ids=["huge alpha", "NaN"],
)
def test_values_that_are_no_numbers(
    tmp_path: Path, checkpoint_of: Callable[[str], Path], alpha: float, values: float, message: str
) -> None:
    tensors = pair(Q, 96, 64)
    tensors[f"base_model.model.{Q}.lora_A.weight"][1, 3] = values
    found = adapted(checkpoint_of("llama"), write_adapter(tmp_path / "a", tensors, lora_alpha=alpha))
    with pytest.raises(CheckpointError, match=message):
        found.tensor(f"{Q}.weight")


def test_a_head_that_is_the_embedding(tmp_path: Path, checkpoint_of: Callable[[str], Path]) -> None:
    """peft would change both, or untie them; which, its users do not agree on."""
    folder = write_adapter(tmp_path / "a", pair("transformer.wte", 90, 64), fan_in_fan_out=False)
    with pytest.raises(UnsupportedModelError, match="head and embedding share"):
        adapted(checkpoint_of("gpt2"), folder)


def test_no_folder_and_no_tensors(tmp_path: Path, checkpoint_of: Callable[[str], Path]) -> None:
    with pytest.raises(CheckpointError, match="no such folder") as caught:
        adapted(checkpoint_of("llama"), tmp_path / "nowhere")
    assert "--adapter takes a folder" in str(caught.value.hint)
    (write_adapter(tmp_path / "a", {}) / "adapter_model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="holds neither adapter_model.safetensors"):
        adapted(checkpoint_of("llama"), tmp_path / "a")


def test_gguf_takes_none(tmp_path: Path, checkpoint_of: Callable[[str], Path]) -> None:
    from .gguf_files import packer, write_gguf

    write_gguf(checkpoint_of("llama"), tmp_path / "model.gguf", packer("F32"))
    with pytest.raises(UsageError, match="not with GGUF"):
        prepare(tmp_path / "model.gguf", adapters=[write_adapter(tmp_path / "a", pair(Q, 96, 64))])


def test_the_package_is_that_of_the_merged_model(tmp_path: Path, checkpoint_of: Callable[[str], Path]) -> None:
    """And the manifest says what was merged; the plain package is another one."""
    tensors = {**pair(Q, 96, 64), **pair(DOWN, 64, 112)}
    folder = write_adapter(tmp_path / "stories", tensors)
    found = adapted(checkpoint_of("llama"), folder)
    merged = Path(shutil.copytree(checkpoint_of("llama"), tmp_path / "merged"))
    write_tensors(merged / "model.safetensors", {name: found.tensor(name) for name in found.names})
    first = convert(checkpoint_of("llama"), tmp_path / "first", adapters=[folder]).manifest
    second = convert(merged, tmp_path / "second").manifest
    weights = "model.mlpackage/Data/com.apple.CoreML/weights/weight.bin"
    assert first.files[weights] == second.files[weights]
    assert [a.name for a in first.source.adapters] == ["stories"]
    assert not second.source.adapters
    assert first.source.sha256 == Checkpoint(checkpoint_of("llama")).sha256
    again = write_adapter(tmp_path / "other", {**tensors, **pair(DOWN, 64, 112, seed=1)})
    assert prepare(merged, adapters=[again]).checkpoint.sha256 != prepare(merged, adapters=[folder]).checkpoint.sha256


def test_dry_run_checks_options(tmp_path: Path, checkpoint_of: Callable[[str], Path]) -> None:
    plain = dry_run(checkpoint_of("llama"))
    assert dry_run(checkpoint_of("llama"), adapters=[write_adapter(tmp_path / "a", pair(Q, 96, 64))]) == plain
    with pytest.raises(UnsupportedModelError, match="DoRA"):
        dry_run(checkpoint_of("llama"), adapters=[write_adapter(tmp_path / "b", {}, use_dora=True)])


PEFT: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {"target_modules": ["q_proj", "down_proj"], "use_rslora": True}),
    "patterns": (
        "llama",
        {"target_modules": ["q_proj", "v_proj"], "rank_pattern": {"v_proj": 2}, "alpha_pattern": {"q_proj": 9}},
    ),
    "gpt2": ("gpt2", {"target_modules": ["c_attn", "c_proj"], "fan_in_fan_out": True}),
    "phi3": ("phi3", {"target_modules": ["qkv_proj", "gate_up_proj"]}),
    "embedding and head": ("qwen3", {"target_modules": ["embed_tokens", "q_proj"], "modules_to_save": ["lm_head"]}),
}


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore")  # peft and transformers have opinions about each other
@pytest.mark.parametrize("name", PEFT)
def test_peft_merges_to_the_same_tensors(tmp_path: Path, checkpoint_of: Callable[[str], Path], name: str) -> None:
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model, options = PEFT[name]
    torch.manual_seed(0)
    base = AutoModelForCausalLM.from_pretrained(checkpoint_of(model), dtype=torch.float32)
    tuned = get_peft_model(base, LoraConfig(r=4, lora_alpha=6, init_lora_weights=False, **options))
    with torch.no_grad():
        for key, parameter in tuned.named_parameters():
            if "modules_to_save" in key:
                parameter.add_(torch.randn_like(parameter))
    tuned.save_pretrained(tmp_path / "adapter")
    found = adapted(checkpoint_of(model), tmp_path / "adapter")
    plain = Checkpoint(checkpoint_of(model))
    merged = tuned.merge_and_unload().state_dict()
    changed = 0
    for tensor in found.names:
        wanted = merged[tensor].numpy()
        changed += not np.array_equal(plain.tensor(tensor), wanted)
        np.testing.assert_allclose(found.tensor(tensor), wanted, rtol=0, atol=2e-6, err_msg=tensor)
    assert changed >= 2
