"""Phi-1, Phi-1.5 and Phi-2: parallel attention and MLP on one LayerNorm, partial rotary, biases everywhere.

transformers: `models/phi/modeling_phi.py`.
"""

from __future__ import annotations

from ..spec import DecoderSpec, Layer, Mlp, Norm
from .base import ACTIVATIONS, Architecture, Config
from .common import attention, rotary, with_biases


def _spec(config: Config) -> DecoderSpec:
    norm = Norm("layer", config.number("layer_norm_eps", 1e-5), bias=True)
    heads = attention(config, biases="qkvo", qk_norm=norm if config.flag("qk_layernorm", False) else None)
    mlp = Mlp(
        kind="plain",
        width=config.size("intermediate_size", 8192),
        activation=config.choice("hidden_act", ACTIVATIONS, "gelu_new"),
        biases=frozenset({"up", "down"}),
    )
    return DecoderSpec(
        model_type="phi",
        vocab_size=config.size("vocab_size"),
        hidden_size=config.size("hidden_size"),
        max_positions=config.size("max_position_embeddings", 2048),
        layers=(Layer(norm, heads, None, mlp, parallel=True),) * config.size("num_hidden_layers"),
        final_norm=norm,
        tied=config.flag("tie_word_embeddings", False),
        rotary=rotary(config, heads.head_dim, partial_rotary_factor=0.5),
        head_bias=True,
    )


_TENSORS = {
    "embedding": "embed_tokens.weight",
    "attention_norm.weight": "layers.{layer}.input_layernorm.weight",
    "attention.q.weight": "layers.{layer}.self_attn.q_proj.weight",
    "attention.k.weight": "layers.{layer}.self_attn.k_proj.weight",
    "attention.v.weight": "layers.{layer}.self_attn.v_proj.weight",
    "attention.o.weight": "layers.{layer}.self_attn.dense.weight",
    "mlp.up.weight": "layers.{layer}.mlp.fc1.weight",
    "mlp.down.weight": "layers.{layer}.mlp.fc2.weight",
    "attention.q_norm.weight": "layers.{layer}.self_attn.q_layernorm.weight",
    "attention.k_norm.weight": "layers.{layer}.self_attn.k_layernorm.weight",
    "final_norm.weight": "final_layernorm.weight",
    "head": "lm_head.weight",
    "head.bias": "lm_head.bias",
}
ARCHITECTURE = Architecture(
    spec=_spec, tensors=with_biases(_TENSORS, "attention", "mlp", "final_norm"), prefixes=("model.", "")
)
