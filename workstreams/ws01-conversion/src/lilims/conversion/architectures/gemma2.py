"""Gemma 2: norms on both sides of each block, soft-capped scores and logits, every other layer local.

transformers: `models/gemma2/modeling_gemma2.py`.
"""

from __future__ import annotations

from dataclasses import replace

from ..spec import DecoderSpec, Layer
from .base import Architecture, Config
from .common import LLAMA_TENSORS, attention, gated_mlp, rms, rotary, sliding_windows, with_biases
from .gemma import plus_one


def cap(config: Config, key: str, default: float | None) -> float | None:
    """A soft-cap; a null in the config means none."""
    value = config.values.get(key, default)
    return None if value is None else config.number(key, value)


def _spec(config: Config) -> DecoderSpec:
    config.require(use_bidirectional_attention=False)
    norm = rms(config)
    heads = attention(
        config,
        biases="qkvo" if config.flag("attention_bias", False) else "",
        head_dim=256,
        scale=config.number("query_pre_attn_scalar", 256.0) ** -0.5,
        softcap=cap(config, "attn_logit_softcapping", 50.0),
    )
    mlp = gated_mlp(config, activation="hidden_activation", default="gelu_pytorch_tanh")
    hidden = config.size("hidden_size")
    windows = sliding_windows(config, config.size("num_hidden_layers"), pattern=2)
    return DecoderSpec(
        model_type="gemma2",
        vocab_size=config.size("vocab_size"),
        hidden_size=hidden,
        max_positions=config.size("max_position_embeddings", 8192),
        layers=tuple(Layer(norm, replace(heads, window=w), norm, mlp, norm, norm) for w in windows),
        final_norm=norm,
        tied=config.flag("tie_word_embeddings", True),
        rotary=rotary(config, heads.head_dim),
        embedding_scale=hidden**0.5,
        logit_softcap=cap(config, "final_logit_softcapping", 30.0),
    )


SANDWICH = {
    **with_biases(LLAMA_TENSORS, "attention."),
    "attention_norm.weight": plus_one("layers.{layer}.input_layernorm.weight"),
    "attention_output_norm.weight": plus_one("layers.{layer}.post_attention_layernorm.weight"),
    "mlp_norm.weight": plus_one("layers.{layer}.pre_feedforward_layernorm.weight"),
    "mlp_output_norm.weight": plus_one("layers.{layer}.post_feedforward_layernorm.weight"),
    "final_norm.weight": plus_one("norm.weight"),
}
ARCHITECTURE = Architecture(spec=_spec, tensors=SANDWICH, prefixes=("model.", ""))
