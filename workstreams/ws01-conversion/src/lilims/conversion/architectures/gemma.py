"""Gemma: embeddings times sqrt(hidden), norms stored as w − 1, gelu in the gated MLP.

transformers: `models/gemma/modeling_gemma.py`.
"""

from __future__ import annotations

from ..spec import DecoderSpec, Layer, TensorSource
from .base import Architecture, Config
from .common import LLAMA_TENSORS, attention, gated_mlp, rms, rotary, with_biases


def _spec(config: Config) -> DecoderSpec:
    config.require(use_bidirectional_attention=False)
    norm = rms(config)
    heads = attention(config, biases="qkvo" if config.flag("attention_bias", False) else "", head_dim=256)
    # Older configs say "gelu" and mean the tanh form; `hidden_activation` has the last word.
    key = "hidden_activation" if config.values.get("hidden_activation") else "hidden_act"
    values = {**config.values, key: "gelu_pytorch_tanh"} if config.values.get(key) == "gelu" else config.values
    mlp = gated_mlp(Config(values, config.where), activation=key, default="gelu_pytorch_tanh")
    hidden = config.size("hidden_size")
    return DecoderSpec(
        model_type="gemma",
        vocab_size=config.size("vocab_size"),
        hidden_size=hidden,
        max_positions=config.size("max_position_embeddings", 8192),
        layers=(Layer(norm, heads, norm, mlp),) * config.size("num_hidden_layers"),
        final_norm=norm,
        tied=config.flag("tie_word_embeddings", True),
        rotary=rotary(config, heads.head_dim),
        embedding_scale=hidden**0.5,
    )


def plus_one(name: str) -> TensorSource:
    """A norm's weight, stored as w − 1."""
    return TensorSource(name, add=1.0)


ARCHITECTURE = Architecture(
    spec=_spec,
    tensors={
        **with_biases(LLAMA_TENSORS, "attention."),
        "attention_norm.weight": plus_one("layers.{layer}.input_layernorm.weight"),
        "mlp_norm.weight": plus_one("layers.{layer}.post_attention_layernorm.weight"),
        "final_norm.weight": plus_one("norm.weight"),
    },
    prefixes=("model.", ""),
)
