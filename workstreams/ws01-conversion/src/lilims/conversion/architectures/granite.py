"""Granite: Llama with multipliers on the embedding, attention scores, residual sums and logits.

transformers: `models/granite/modeling_granite.py`.
"""

from __future__ import annotations

from ..spec import DecoderSpec, Layer
from .base import Architecture, Config
from .common import LLAMA_TENSORS, attention, gated_mlp, rms, rotary, with_biases


def _spec(config: Config) -> DecoderSpec:
    norm = rms(config)
    heads = attention(
        config,
        biases="qkvo" if config.flag("attention_bias", False) else "",
        scale=config.number("attention_multiplier", 1.0),
    )
    mlp = gated_mlp(config, biases=config.flag("mlp_bias", False))
    layer = Layer(norm, heads, norm, mlp, residual_scale=config.number("residual_multiplier", 1.0))
    return DecoderSpec(
        model_type="granite",
        vocab_size=config.size("vocab_size"),
        hidden_size=config.size("hidden_size"),
        max_positions=config.size("max_position_embeddings", 2048),
        layers=(layer,) * config.size("num_hidden_layers"),
        final_norm=norm,
        tied=config.flag("tie_word_embeddings", False),
        rotary=rotary(config, heads.head_dim),
        embedding_scale=config.number("embedding_multiplier", 1.0),
        logit_scale=1 / config.number("logits_scaling", 1.0),
    )


ARCHITECTURE = Architecture(
    spec=_spec, tensors=with_biases(LLAMA_TENSORS, "attention.", "mlp."), prefixes=("model.", "")
)
