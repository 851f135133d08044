"""Llama 1, 2, 3 and their kin: RMSNorm, rotary positions, grouped heads, gated MLP.

transformers: `models/llama/modeling_llama.py`.
"""

from __future__ import annotations

from ..spec import DecoderSpec, Layer
from .base import Architecture, Config
from .common import LLAMA_TENSORS, attention, gated_mlp, rms, rotary, with_biases


def _spec(config: Config) -> DecoderSpec:
    norm = rms(config)
    heads = attention(config, biases="qkvo" if config.flag("attention_bias", False) else "")
    mlp = gated_mlp(config, biases=config.flag("mlp_bias", False))
    return DecoderSpec(
        model_type="llama",
        vocab_size=config.size("vocab_size"),
        hidden_size=config.size("hidden_size"),
        max_positions=config.size("max_position_embeddings", 2048),
        layers=(Layer(norm, heads, norm, mlp),) * config.size("num_hidden_layers"),
        final_norm=norm,
        tied=config.flag("tie_word_embeddings", False),
        rotary=rotary(config, heads.head_dim),
    )


ARCHITECTURE = Architecture(
    spec=_spec, tensors=with_biases(LLAMA_TENSORS, "attention.", "mlp."), prefixes=("model.", "")
)
