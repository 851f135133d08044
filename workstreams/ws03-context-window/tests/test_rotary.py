"""Rotary tables: the definition, recorded values of every rule, and (parity) transformers itself."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lilims.context import RotaryParameters, RotaryTables, from_config, inverse_frequencies, rotary_tables
from lilims.core.errors import UnsupportedModelError

RECORDED = json.loads((Path(__file__).parent / "data" / "rope.json").read_text())
LENGTHS = (None, 512, 8192)


def test_the_definition() -> None:
    cos, sin = rotary_tables(RotaryParameters(rotary_dim=8, theta=100.0), [0, 3, 70000])
    assert cos.shape == sin.shape == (1, 1, 3, 8) and cos.dtype == sin.dtype == np.float32
    for row, position in enumerate([0, 3, 70000]):
        for i in range(8):
            angle = position * 100.0 ** (-2 * (i % 4) / 8)
            assert cos[0, 0, row, i] == np.float32(math.cos(angle)), (position, i)
            assert sin[0, 0, row, i] == np.float32(math.sin(angle)), (position, i)


def test_every_rule_against_recorded_values(scaling: tuple[str, dict[str, Any]]) -> None:
    name, config = scaling
    parameters = from_config(config)
    for length in LENGTHS:
        recorded = RECORDED["rules"][name][str(length)]
        frequencies = inverse_frequencies(parameters, length=length)
        np.testing.assert_allclose(frequencies, recorded["frequencies"], rtol=2e-6, err_msg=f"{name}, length {length}")
        assert parameters.attention_factor == pytest.approx(recorded["attention_factor"], rel=1e-12)


@pytest.mark.parity
def test_every_rule_against_transformers(scaling: tuple[str, dict[str, Any]]) -> None:
    from transformers import LlamaConfig
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    name, config = scaling
    for length in LENGTHS:
        theirs = LlamaConfig(**copy.deepcopy(config))
        kind = theirs.rope_parameters["rope_type"]
        compute = ROPE_INIT_FUNCTIONS.get(kind, LlamaRotaryEmbedding.compute_default_rope_parameters)
        frequencies, factor = compute(theirs, seq_len=length)
        ours = from_config(config)
        np.testing.assert_allclose(
            inverse_frequencies(ours, length=length), frequencies.numpy(), rtol=2e-6, err_msg=f"{name}, length {length}"
        )
        assert ours.attention_factor == pytest.approx(factor, rel=1e-12)


@pytest.mark.parity
def test_tables_against_transformers(scaling: tuple[str, dict[str, Any]]) -> None:
    import torch
    from transformers import LlamaConfig
    from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

    _, config = scaling
    positions = np.array([0, 1, 17, 4095])  # the longest is what dynamic and longrope take their length from
    embedding = LlamaRotaryEmbedding(LlamaConfig(**copy.deepcopy(config)))
    cos, sin = embedding(torch.zeros(1, 1, dtype=torch.float32), torch.from_numpy(positions)[None])
    ours = rotary_tables(from_config(config), positions, length=4096)
    np.testing.assert_allclose(ours[0][0], cos.numpy(), atol=2e-3)  # transformers' angles are float32: 4095 radians
    np.testing.assert_allclose(ours[1][0], sin.numpy(), atol=2e-3)
    np.testing.assert_allclose(ours[0][0, 0, :3], cos.numpy()[0, :3], atol=2e-6)


def test_single_positions_equal_the_table(scaling: tuple[str, dict[str, Any]]) -> None:
    tables = RotaryTables(from_config(scaling[1]), length=4096)
    for position in [0, 1, 2, 63, 64, 65, 3000, 2999, 128, 5]:
        for one, many in zip(tables.at_one(position), tables.at([position]), strict=True):
            np.testing.assert_array_equal(one, many, err_msg=f"position {position}")


def test_parameters_survive_json(scaling: tuple[str, dict[str, Any]]) -> None:
    parameters = from_config(scaling[1])
    assert RotaryParameters.from_dict(json.loads(json.dumps(parameters.to_dict()))) == parameters


def test_transformers_5_spells_the_same_rules(scaling: tuple[str, dict[str, Any]]) -> None:
    _, old = scaling
    rule = {"rope_type": "default", **(old["rope_scaling"] or {}), "rope_theta": old["rope_theta"]}
    new = {key: value for key, value in old.items() if not key.startswith("rope")} | {"rope_parameters": rule}
    assert from_config(new) == from_config(old)
    by_layer = {**new, "rope_parameters": {"full_attention": rule, "sliding_attention": {"rope_theta": 5.0}}}
    assert from_config(by_layer, layer_type="full_attention") == from_config(old)
    assert from_config(by_layer, layer_type="sliding_attention").theta == 5.0


def test_part_of_the_head_is_turned() -> None:
    phi2 = {"hidden_size": 2560, "num_attention_heads": 32, "partial_rotary_factor": 0.4, "rope_theta": 10000.0}
    assert from_config(phi2).rotary_dim == 32
    neox = {"hidden_size": 512, "num_attention_heads": 8, "rotary_pct": 0.25, "rotary_emb_base": 50000}
    assert (from_config(neox).rotary_dim, from_config(neox).theta) == (16, 50000)


def test_local_layers_of_gemma3_have_a_base_of_their_own() -> None:
    config = {
        "head_dim": 256,
        "rope_theta": 1e6,
        "rope_local_base_freq": 1e4,
        "rope_scaling": {"type": "linear", "factor": 8},
    }
    assert from_config(config, layer_type="sliding_attention") == RotaryParameters(rotary_dim=256, theta=1e4)
    assert from_config(config) == RotaryParameters(rotary_dim=256, theta=1e6, kind="linear", factor=8)


def test_phi3_keeps_its_original_context_outside() -> None:
    factors = {"short_factor": [1.0] * 16, "long_factor": [2.0] * 16}
    config = {
        "head_dim": 32,
        "max_position_embeddings": 131072,
        "original_max_position_embeddings": 4096,
        "rope_scaling": {"type": "su", **factors},
    }
    parameters = from_config(config)
    assert (parameters.kind, parameters.original_context, parameters.factor) == ("longrope", 4096, 32.0)
    assert parameters.attention_factor == pytest.approx(math.sqrt(1 + math.log(32) / math.log(4096)))


YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1024}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"rope_scaling": {"rope_type": "proportional"}}, "rope_scaling.rope_type"),
        ({"rope_scaling": {"type": "mrope", "mrope_section": [1, 2]}}, "rope_scaling.rope_type"),
        ({"rope_scaling": {"rope_type": "default", "mrope_section": [1, 2]}}, "rope_scaling.mrope_section"),
        ({"rope_parameters": {"rope_type": "linear"}}, "rope_parameters.factor"),
        ({"rope_scaling": {"rope_type": "linear", "factor": "8"}}, "rope_scaling.factor"),
        ({"rope_scaling": {**YARN, "attn_scale": 3}}, "rope_scaling.attn_scale"),
        ({"rope_scaling": {**YARN, "original_max_position_embeddings": "x"}}, "original_max_position_embeddings"),
        ({"rope_scaling": {**YARN, "mscale": "x", "mscale_all_dim": 1}}, "rope_scaling.mscale"),
        ({"rope_scaling": {"rope_type": "linear", "factor": 0}}, "factor"),
        ({"rope_scaling": [1]}, "rope_scaling"),
        ({"rope_parameters": {"full_attention": {}, "sliding_attention": {}}}, "rope_parameters"),
        ({"rope_theta": float("nan")}, "theta"),
        ({"rope_theta": 10**400}, "theta"),
        ({"rope_theta": True}, "theta"),
        ({"head_dim": 33}, "rotary_dim"),
        ({"head_dim": "64"}, "head_dim"),
        ({"num_attention_heads": 0}, "head_dim"),
        ({"hidden_size": None}, "head_dim"),
    ],
    ids=str,
)
def test_what_cannot_be_honoured_is_named(changes: dict[str, Any], named: str) -> None:
    with pytest.raises(UnsupportedModelError) as caught:
        from_config({"hidden_size": 256, "num_attention_heads": 4, "max_position_embeddings": 4096, **changes})
    assert caught.value.where is not None and named in caught.value.where


@pytest.mark.parametrize(
    ("values", "named"),
    [
        ({}, "rotary_dim"),
        ({"rotary_dim": 64, "flavour": 1}, "flavour"),
        ({"rotary_dim": 64, "kind": "llama3", "original_context": 8}, "low_freq_factor"),
        ({"rotary_dim": 2, "kind": "dynamic", "original_context": 8}, "rotary_dim"),
        ({"rotary_dim": 8, "short_factor": 7}, "short_factor"),
        (
            {
                "rotary_dim": 8,
                "kind": "longrope",
                "original_context": 8,
                "short_factor": [1] * 4,
                "long_factor": [1] * 3,
            },
            "long_factor",
        ),
    ],
    ids=str,
)
def test_a_damaged_manifest_is_named(values: dict[str, Any], named: str) -> None:
    with pytest.raises(UnsupportedModelError) as caught:
        RotaryParameters.from_dict(values)
    assert caught.value.where == f"rotary parameter {named}"
