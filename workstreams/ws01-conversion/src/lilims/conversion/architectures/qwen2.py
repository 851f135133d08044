"""Qwen2 and Qwen2.5: Llama with biases on Q, K and V; perhaps local layers above the first ones.

transformers: `models/qwen2/modeling_qwen2.py`.
"""

from __future__ import annotations

from dataclasses import replace

from ..spec import DecoderSpec, Layer
from .base import Architecture, Config
from .common import LLAMA_TENSORS, attention, gated_mlp, rms, rotary, upper_windows, with_biases


def _spec(config: Config) -> DecoderSpec:
    norm = rms(config)
    heads = attention(config, biases="qkv")
    mlp = gated_mlp(config)
    windows = upper_windows(config, config.size("num_hidden_layers"))
    return DecoderSpec(
        model_type="qwen2",
        vocab_size=config.size("vocab_size"),
        hidden_size=config.size("hidden_size"),
        max_positions=config.size("max_position_embeddings", 32768),
        layers=tuple(Layer(norm, replace(heads, window=window), norm, mlp) for window in windows),
        final_norm=norm,
        tied=config.flag("tie_word_embeddings", False),
        rotary=rotary(config, heads.head_dim),
    )


ARCHITECTURE = Architecture(
    spec=_spec,
    tensors=with_biases(LLAMA_TENSORS, "attention.q", "attention.k", "attention.v"),
    prefixes=("model.", ""),
)
