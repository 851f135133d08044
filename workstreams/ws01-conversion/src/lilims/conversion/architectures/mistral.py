"""Mistral: Llama with a sliding window on every layer, where the config has one.

transformers: `models/mistral/modeling_mistral.py`.
"""

from __future__ import annotations

from ..spec import DecoderSpec, Layer
from .base import Architecture, Config
from .common import LLAMA_TENSORS, attention, gated_mlp, rms, rotary


def _spec(config: Config) -> DecoderSpec:
    norm = rms(config)
    window = config.size("sliding_window", 4096) if config.values.get("sliding_window", 4096) is not None else None
    heads = attention(config, window=window)
    return DecoderSpec(
        model_type="mistral",
        vocab_size=config.size("vocab_size"),
        hidden_size=config.size("hidden_size"),
        max_positions=config.size("max_position_embeddings", 4096 * 32),
        layers=(Layer(norm, heads, norm, gated_mlp(config)),) * config.size("num_hidden_layers"),
        final_norm=norm,
        tied=config.flag("tie_word_embeddings", False),
        rotary=rotary(config, heads.head_dim),
    )


ARCHITECTURE = Architecture(spec=_spec, tensors=LLAMA_TENSORS, prefixes=("model.", ""))
