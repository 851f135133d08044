"""Configs into specs: every key that is read, refused or defaulted."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from pathlib import Path
from typing import Any

import pytest

from lilims.conversion.architectures import Config, architecture_for, supported
from lilims.conversion.spec import DecoderSpec, Experts
from lilims.core.errors import CheckpointError, LilimsError, UnsupportedModelError
from lilims.core.testing import test_data

from .conftest import MODELS

WHERE = Path("config.json")


def spec_of(name: str, **changes: Any) -> DecoderSpec:
    config = {**MODELS[name]["config"], **changes}
    return architecture_for(config, WHERE).spec(Config(config, WHERE))


@pytest.mark.parametrize("name", supported())
def test_every_role_has_a_source(name: str) -> None:
    architecture = architecture_for({"model_type": name}, WHERE)
    for model in models_of(name):
        for role, _ in spec_of(model).roles():
            assert "{" not in architecture.source(role).name, role


@pytest.mark.parametrize("name", supported())
def test_every_table_entry_is_a_role_of_some_config(name: str) -> None:
    switches: list[dict[str, Any]] = [{}, {"tie_word_embeddings": False, "attention_bias": True, "mlp_bias": True}]
    if name == "phi3":
        del switches[1]["attention_bias"]  # it refuses it
    specs = [spec_of(model, **switch) for model in models_of(name) for switch in switches]
    roles = {re.sub(r"^layers\.\d+\.", "", role) for spec in specs for role, _ in spec.roles()}
    roles = {re.sub(r"(experts|_norm)\.\d+\.", r"\1.", role) for role in roles}
    assert set(architecture_for({"model_type": name}, WHERE).tensors) == roles


def models_of(model_type: str) -> list[str]:
    """The tiny models of an architecture; a test fails here for an architecture without one."""
    found = [name for name, entry in MODELS.items() if entry["config"]["model_type"] == model_type]
    assert found, f"no model of type {model_type} in models.json"
    return found


def test_llama_reads_its_config() -> None:
    spec = spec_of("llama")
    assert (spec.hidden_size, spec.vocab_size, len(spec.layers), spec.max_positions) == (64, 100, 3, 64)
    attention = spec.layers[0].attention
    assert (attention.heads, attention.kv_heads, attention.head_dim) == (4, 2, 24)
    assert attention.biases == set("qkvo")
    assert spec.rotary is not None
    assert spec.rotary["kind"] == "llama3"


def test_llama_defaults_are_transformers_defaults() -> None:
    spec = spec_of("llama", head_dim=None, num_key_value_heads=None, rms_norm_eps=None, attention_bias=None)
    attention = spec.layers[0].attention
    assert (attention.head_dim, attention.kv_heads, spec.final_norm.eps) == (16, 4, 1e-6)
    assert not attention.biases


def test_gpt_neox_knows_no_groups_of_heads() -> None:
    """transformers' GPT-NeoX has no such key and ignores it."""
    assert spec_of("gpt_neox", num_key_value_heads=3) == spec_of("gpt_neox")


def test_gpt_neo_layers_alternate() -> None:
    windows = [layer.attention.window for layer in spec_of("gpt_neo").layers]
    assert windows == [None, 8, None, 8]
    assert spec_of("gpt_neo").local_window == 8
    assert {layer.attention.scale for layer in spec_of("gpt_neo").layers} == {1.0}


BAD: dict[str, tuple[str, dict[str, Any], type[LilimsError], str]] = {
    "no layers": ("llama", {"num_hidden_layers": None}, CheckpointError, "has no 'num_hidden_layers'"),
    "zero layers": ("llama", {"num_hidden_layers": 0}, CheckpointError, "'num_hidden_layers'"),
    "layers as text": ("llama", {"num_hidden_layers": "3"}, CheckpointError, "'num_hidden_layers'"),
    "absurd size": ("llama", {"hidden_size": 1 << 40}, CheckpointError, "'hidden_size'"),
    "absurd depth": ("llama", {"num_hidden_layers": 5000}, CheckpointError, "more than the 4096"),
    "absurd number": ("llama", {"rms_norm_eps": 10**400}, CheckpointError, "'rms_norm_eps'"),
    "heads that do not divide": ("llama", {"num_key_value_heads": 3}, CheckpointError, "not a multiple of 3"),
    "unknown activation": ("llama", {"hidden_act": "swiglu9"}, UnsupportedModelError, "'hidden_act' is 'swiglu9'"),
    "unknown rope": ("llama", {"rope_scaling": {"rope_type": "new"}}, UnsupportedModelError, "new"),
    "negative eps": ("llama", {"rms_norm_eps": -1.0}, CheckpointError, "'rms_norm_eps'"),
    "flag as text": ("llama", {"attention_bias": "yes"}, CheckpointError, "'attention_bias'"),
    "local layers without a window": (
        "qwen3",
        {"layer_types": ["sliding_attention", "full_attention"], "use_sliding_window": False},
        CheckpointError,
        "'sliding_window' is null",
    ),
    "first local layer as text": (
        "qwen2",
        {"use_sliding_window": True, "max_window_layers": "1"},
        CheckpointError,
        "'max_window_layers'",
    ),
    "unknown kind of layer": ("qwen2", {"layer_types": ["a", "b"]}, UnsupportedModelError, "'layer_types' has 'a'"),
    "too few kinds": ("smollm3-window", {"layer_types": ["full_attention"]}, CheckpointError, "'layer_types'"),
    "dense layers as a number": ("qwen3_moe", {"mlp_only_layers": 3}, CheckpointError, "'mlp_only_layers'"),
    "gemma3 soft-cap": ("gemma3_text", {"attn_logit_softcapping": 50.0}, UnsupportedModelError, "attn_logit_soft"),
    "gemma seeing ahead": ("gemma", {"use_bidirectional_attention": True}, UnsupportedModelError, "bidirectional"),
    "gpt2 with an encoder": ("gpt2", {"add_cross_attention": True}, UnsupportedModelError, "cross_attention"),
    "norms as text": ("cohere", {"use_qk_norm": "yes"}, CheckpointError, "'use_qk_norm'"),
    "gpt2 odd heads": ("gpt2", {"n_head": 5}, CheckpointError, "not a multiple of 5"),
    "neo layer kinds": ("gpt_neo", {"attention_types": [[["global", "odd"], 2]]}, UnsupportedModelError, "'odd'"),
    "neo kinds in lists": ("gpt_neo", {"attention_types": [[[["global"]], 4]]}, UnsupportedModelError, "unknown kind"),
    "neo layer count": ("gpt_neo", {"attention_types": [[["global"], 2]]}, CheckpointError, "names 2 layers of 4"),
    "exaone4 pattern": (
        "exaone4",
        {"sliding_window_pattern": "", "layer_types": None},
        UnsupportedModelError,
        "'sliding_window_pattern' is ''",
    ),
    "neo nonsense": ("gpt_neo", {"attention_types": 7}, CheckpointError, "'attention_types'"),
}


WINDOWS: dict[str, tuple[str, dict[str, Any], list[int | None]]] = {
    "qwen2 from a layer on": ("qwen2-window", {}, [None, 9, 9]),
    "qwen2 off": ("qwen2-window", {"use_sliding_window": False}, [None] * 3),
    "qwen2 beyond its layers": ("qwen2-window", {"max_window_layers": None}, [None] * 3),
    "qwen3 by kinds": ("qwen3-window", {}, [7, None, 7]),
    "qwen3 everywhere": ("qwen3-window", {"layer_types": None, "max_window_layers": 0}, [7] * 3),
    "qwen3_moe": ("qwen3_moe-mixed", {}, [11] * 3),
    "qwen3_moe off": ("qwen3_moe-mixed", {"use_sliding_window": False}, [None] * 3),
    "smollm3 without rotary": ("smollm3-window", {}, [None, 10, None, 10]),
    "smollm3 without a window": ("smollm3-window", {"sliding_window": None}, [None] * 4),
    "mixtral": ("mixtral-window", {}, [9, 9]),
    "mistral null": ("mistral", {"sliding_window": None}, [None] * 2),
}


@pytest.mark.parametrize("name", WINDOWS)
def test_windows_of_layers(name: str) -> None:
    model, changes, wanted = WINDOWS[name]
    assert [layer.attention.window for layer in spec_of(model, **changes).layers] == wanted


@pytest.mark.parametrize("name", ["mistral", "gemma2", "exaone4"])
def test_a_window_that_is_not_given_is_transformers_default(name: str) -> None:
    config = {key: value for key, value in MODELS[name]["config"].items() if key != "sliding_window"}
    spec = architecture_for(config, WHERE).spec(Config(config, WHERE))
    assert spec.layers[0].attention.window == 4096


def test_qwen3_moe_has_experts_in_some_layers() -> None:
    def kinds(**changes: Any) -> list[bool]:
        return [isinstance(layer.mlp, Experts) for layer in spec_of("qwen3_moe-mixed", **changes).layers]

    assert kinds() == [True, False, True]
    assert kinds(mlp_only_layers=[], decoder_sparse_step=2) == [False, True, False]


def test_gpt2_scales_by_layer() -> None:
    assert [layer.attention.scale for layer in spec_of("gpt2-scaled").layers] == [1, 1 / 2, 1 / 3]


# Fields of transformers' configs that no decoder's result depends on, and those that only count beside another one.
NO_MATTER = re.compile(
    r".*drop.*|.*pdrop|.*_token_id|initializer_range|use_cache|summary_.*|output_router_logits|router_aux_loss_coef|"
    r"router_jitter_noise|is_decoder|pretraining_tp|reorder_and_upcast_attn"
)
OTHER_VALUES: tuple[Any, ...] = (True, False, 2, 3, 0.5, "relu", "gelu", None)


@pytest.mark.parity
@pytest.mark.parametrize("name", [name for name in supported() if name != "exaone"])  # not in transformers
def test_every_key_of_a_config_changes_something_or_is_refused(name: str) -> None:
    from transformers import CONFIG_MAPPING

    fields = {f.name for f in dataclasses.fields(CONFIG_MAPPING[name])} & set(CONFIG_MAPPING[name].__annotations__)
    bases: list[tuple[str, dict[str, Any]]] = [(model, {}) for model in models_of(name)]
    bases += [(model, {"layer_types": None}) for model, _ in bases]  # which other keys stand behind

    def matters(key: str) -> bool:
        for model, base in bases:
            spec = spec_of(model, **base)
            for value in OTHER_VALUES:
                try:
                    changed = spec_of(model, **{**base, key: value})
                except LilimsError:
                    return True
                if changed != spec:
                    return True
        return False

    assert len(fields) > 10
    assert [key for key in sorted(fields) if not NO_MATTER.fullmatch(key) and not matters(key)] == []


@pytest.mark.parametrize("name", BAD)
def test_bad_configs_name_the_key(name: str) -> None:
    model, changes, error, message = BAD[name]
    with pytest.raises(error, match=message):
        spec_of(model, **changes)


def test_an_unknown_model_type_lists_the_known_ones() -> None:
    with pytest.raises(UnsupportedModelError, match="'bert'") as caught:
        architecture_for({"model_type": "bert"}, WHERE)
    assert caught.value.hint is not None
    assert all(name in caught.value.hint for name in ("gpt2", "gpt_neo", "llama"))


def test_base_is_no_model_type() -> None:
    with pytest.raises(UnsupportedModelError):
        architecture_for({"model_type": "base"}, WHERE)


@pytest.mark.parametrize("folder", ["TinyLlama-1.1B-Chat-v1.0", "gpt2", "TinyStories-1M"])
def test_configs_of_real_models(folder: str) -> None:
    path = test_data(f"configs/{folder}/config.json")
    config = json.loads(path.read_text())
    spec = architecture_for(config, path).spec(Config(config, path))
    assert dataclasses.is_dataclass(spec)
    parameters = {"TinyLlama-1.1B-Chat-v1.0": 1_100_048_384, "gpt2": 124_439_808, "TinyStories-1M": 3_745_984}
    total = sum(math.prod(shape) for _, shape in spec.roles())
    assert total == parameters[folder]  # as the models' cards and transformers' num_parameters() say
