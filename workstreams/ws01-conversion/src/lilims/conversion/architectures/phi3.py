"""Phi-3, Phi-3.5 and Phi-4-mini: Llama with QKV and gate/up as one tensor each, partial rotary, longrope.

transformers: `models/phi3/modeling_phi3.py`.
"""

from __future__ import annotations

from ..spec import DecoderSpec, Layer, TensorSource
from .base import Architecture, Config
from .common import LLAMA_TENSORS, attention, gated_mlp, rms, rotary

_QKV = TensorSource("layers.{layer}.self_attn.qkv_proj.weight", stack=("q", "k", "v"))
_GATE_UP = TensorSource("layers.{layer}.mlp.gate_up_proj.weight", stack=("gate", "up"))


def _spec(config: Config) -> DecoderSpec:
    config.require(attention_bias=False)
    norm = rms(config, 1e-5)
    window = None if config.values.get("sliding_window") is None else config.size("sliding_window")
    heads = attention(config, window=window)
    return DecoderSpec(
        model_type="phi3",
        vocab_size=config.size("vocab_size"),
        hidden_size=config.size("hidden_size"),
        max_positions=config.size("max_position_embeddings", 4096),
        layers=(Layer(norm, heads, norm, gated_mlp(config)),) * config.size("num_hidden_layers"),
        final_norm=norm,
        tied=config.flag("tie_word_embeddings", False),
        rotary=rotary(config, heads.head_dim),
    )


ARCHITECTURE = Architecture(
    spec=_spec,
    tensors={
        **LLAMA_TENSORS,
        "attention.q.weight": _QKV,
        "attention.k.weight": _QKV,
        "attention.v.weight": _QKV,
        "mlp.gate.weight": _GATE_UP,
        "mlp.up.weight": _GATE_UP,
    },
    prefixes=("model.", ""),
)
