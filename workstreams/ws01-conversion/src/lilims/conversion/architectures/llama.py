"""Llama 1, 2, 3 and their kin: RMSNorm, rotary positions, grouped heads, gated MLP.

transformers: `models/llama/modeling_llama.py`.
"""

from __future__ import annotations

from lilims.context import from_config as rotary_from_config

from ..spec import Attention, DecoderSpec, Layer, Mlp, Norm
from .base import ACTIVATIONS, Architecture, Config


def _spec(config: Config) -> DecoderSpec:
    config.require(pretraining_tp=1)
    hidden, heads = config.size("hidden_size"), config.size("num_attention_heads")
    head_dim = config.size("head_dim", default=None) if config.values.get("head_dim") else config.divides(
        "hidden_size", hidden, heads
    )  # fmt: skip
    kv_heads = config.size("num_key_value_heads", default=heads)
    config.divides("num_attention_heads", heads, kv_heads)
    norm = Norm("rms", config.number("rms_norm_eps", 1e-6))
    attention = Attention(
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        scale=head_dim**-0.5,
        rotary=True,
        biases=frozenset("qkvo") if config.flag("attention_bias", False) else frozenset(),
    )
    mlp = Mlp(
        kind="gated",
        width=config.size("intermediate_size"),
        activation=config.choice("hidden_act", ACTIVATIONS, "silu"),
        biases=frozenset({"gate", "up", "down"}) if config.flag("mlp_bias", False) else frozenset(),
    )
    return DecoderSpec(
        model_type="llama",
        vocab_size=config.size("vocab_size"),
        hidden_size=hidden,
        max_positions=config.size("max_position_embeddings", 2048),
        layers=(Layer(norm, attention, norm, mlp),) * config.size("num_hidden_layers"),
        final_norm=norm,
        tied=config.flag("tie_word_embeddings", False),
        rotary=rotary_from_config({**config.values, "head_dim": head_dim}).to_dict(),
    )


ARCHITECTURE = Architecture(
    spec=_spec,
    tensors={
        "embedding": "embed_tokens.weight",
        "attention_norm.weight": "layers.{layer}.input_layernorm.weight",
        "attention.q.weight": "layers.{layer}.self_attn.q_proj.weight",
        "attention.k.weight": "layers.{layer}.self_attn.k_proj.weight",
        "attention.v.weight": "layers.{layer}.self_attn.v_proj.weight",
        "attention.o.weight": "layers.{layer}.self_attn.o_proj.weight",
        "attention.q.bias": "layers.{layer}.self_attn.q_proj.bias",
        "attention.k.bias": "layers.{layer}.self_attn.k_proj.bias",
        "attention.v.bias": "layers.{layer}.self_attn.v_proj.bias",
        "attention.o.bias": "layers.{layer}.self_attn.o_proj.bias",
        "mlp_norm.weight": "layers.{layer}.post_attention_layernorm.weight",
        "mlp.gate.weight": "layers.{layer}.mlp.gate_proj.weight",
        "mlp.up.weight": "layers.{layer}.mlp.up_proj.weight",
        "mlp.down.weight": "layers.{layer}.mlp.down_proj.weight",
        "mlp.gate.bias": "layers.{layer}.mlp.gate_proj.bias",
        "mlp.up.bias": "layers.{layer}.mlp.up_proj.bias",
        "mlp.down.bias": "layers.{layer}.mlp.down_proj.bias",
        "final_norm.weight": "norm.weight",
        "head": "lm_head.weight",
    },
    prefixes=("model.", ""),
)
