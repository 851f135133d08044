"""Qwen3: Llama with a head dimension of its own and an RMSNorm on each head of Q and K.

Perhaps some layers are local.

transformers: `models/qwen3/modeling_qwen3.py`.
"""

from __future__ import annotations

from dataclasses import replace

from ..spec import DecoderSpec, Layer
from .base import Architecture, Config
from .common import LLAMA_TENSORS, attention, gated_mlp, rms, rotary, upper_windows, with_biases

QK_NORM = {
    "attention.q_norm.weight": "layers.{layer}.self_attn.q_norm.weight",
    "attention.k_norm.weight": "layers.{layer}.self_attn.k_norm.weight",
}


def _spec(config: Config) -> DecoderSpec:
    norm = rms(config)
    biases = "qkvo" if config.flag("attention_bias", False) else ""
    heads = attention(config, biases=biases, qk_norm=norm, head_dim=128)
    mlp = gated_mlp(config)
    windows = upper_windows(config, config.size("num_hidden_layers"))
    return DecoderSpec(
        model_type="qwen3",
        vocab_size=config.size("vocab_size"),
        hidden_size=config.size("hidden_size"),
        max_positions=config.size("max_position_embeddings", 32768),
        layers=tuple(Layer(norm, replace(heads, window=window), norm, mlp) for window in windows),
        final_norm=norm,
        tied=config.flag("tie_word_embeddings", False),
        rotary=rotary(config, heads.head_dim),
    )


ARCHITECTURE = Architecture(
    spec=_spec, tensors={**with_biases(LLAMA_TENSORS, "attention."), **QK_NORM}, prefixes=("model.", "")
)
