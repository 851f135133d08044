"""Gemma 3, text: norms on both sides of each block and on each head of Q and K; five local layers to a global one.

Local layers have rotary tables of their own. transformers: `models/gemma3/modeling_gemma3.py`.
"""

from __future__ import annotations

from dataclasses import replace

from ..spec import DecoderSpec, Layer
from .base import Architecture, Config
from .common import attention, gated_mlp, rms, rotary, sliding_windows
from .gemma import plus_one
from .gemma2 import SANDWICH, cap


def _spec(config: Config) -> DecoderSpec:
    config.require(use_bidirectional_attention=False)
    config.require(attn_logit_softcapping=None)  # transformers reads it and does nothing with it
    norm = rms(config)
    heads = attention(
        config,
        biases="qkvo" if config.flag("attention_bias", False) else "",
        head_dim=256,
        scale=config.number("query_pre_attn_scalar", 256.0) ** -0.5,
        qk_norm=norm,
    )
    mlp = gated_mlp(config, activation="hidden_activation", default="gelu_pytorch_tanh")
    hidden = config.size("hidden_size")
    windows = sliding_windows(
        config, config.size("num_hidden_layers"), pattern=config.size("sliding_window_pattern", 6)
    )

    def layer(window: int | None) -> Layer:
        turned = replace(heads, window=window, rotary="local" if window else "global")
        return Layer(norm, turned, norm, mlp, norm, norm)

    return DecoderSpec(
        model_type="gemma3_text",
        vocab_size=config.size("vocab_size"),
        hidden_size=hidden,
        max_positions=config.size("max_position_embeddings", 131_072),
        layers=tuple(layer(window) for window in windows),
        final_norm=norm,
        tied=config.flag("tie_word_embeddings", True),
        rotary=_rotary(config, heads.head_dim, "full_attention", 1e6),
        local_rotary=_rotary(config, heads.head_dim, "sliding_attention", 1e4),
        embedding_scale=hidden**0.5,
        logit_softcap=cap(config, "final_logit_softcapping", None),
    )


def _rotary(config: Config, head_dim: int, layer_type: str, theta: float) -> dict[str, object]:
    """One kind's tables: `rope_parameters` by kind of layer, or rope_theta, rope_scaling and rope_local_base_freq."""
    if config.values.get("rope_parameters"):
        return rotary(config, head_dim, layer_type=layer_type)
    if layer_type == "full_attention":
        return rotary(config, head_dim, rope_theta=theta)
    local = {"rope_theta": config.number("rope_local_base_freq", theta), "rope_scaling": None}
    return rotary(Config({**config.values, **local}, config.where), head_dim)


ARCHITECTURE = Architecture(
    spec=_spec,
    tensors={
        **SANDWICH,
        "attention.q_norm.weight": plus_one("layers.{layer}.self_attn.q_norm.weight"),
        "attention.k_norm.weight": plus_one("layers.{layer}.self_attn.k_norm.weight"),
    },
    prefixes=("model.", ""),
)
