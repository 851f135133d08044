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
from lilims.conversion.spec import DecoderSpec
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
    if name.startswith(("gemma", "phi3")):
        del switches[1]["attention_bias"]  # they refuse it
    specs = [spec_of(model, **switch) for model in models_of(name) for switch in switches]
    roles = {re.sub(r"^layers\.\d+\.", "", role) for spec in specs for role, _ in spec.roles()}
    roles = {re.sub(r"experts\.\d+\.", "experts.", role) for role in roles}
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
    "tensor parallel": ("llama", {"pretraining_tp": 2}, UnsupportedModelError, "'pretraining_tp' is 2"),
    "gpt2 by layer index": ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, UnsupportedModelError, "inverse_layer"),
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
