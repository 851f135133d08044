"""GPT-2: LayerNorm, learned positions, one fused QKV projection stored as [in, out].

transformers: `models/gpt2/modeling_gpt2.py`.
"""

from __future__ import annotations

from dataclasses import replace

from ..spec import Attention, DecoderSpec, Layer, Mlp, Norm, TensorSource
from .base import ACTIVATIONS, Architecture, Config


def _spec(config: Config) -> DecoderSpec:
    config.require(add_cross_attention=False)
    hidden, heads = config.size("n_embd"), config.size("n_head")
    head_dim = config.divides("n_embd", hidden, heads)
    norm = Norm("layer", config.number("layer_norm_epsilon", 1e-5), bias=True)
    attention = Attention(
        heads=heads,
        kv_heads=heads,
        head_dim=head_dim,
        scale=head_dim**-0.5 if config.flag("scale_attn_weights", True) else 1.0,
        rotary=None,
        biases=frozenset("qkvo"),
    )
    mlp = Mlp(
        kind="plain",
        width=config.size("n_inner", default=4 * hidden),
        activation=config.choice("activation_function", ACTIVATIONS, "gelu_new"),
        biases=frozenset({"up", "down"}),
    )
    positions = config.size("n_positions", 1024)
    by_index = config.flag("scale_attn_by_inverse_layer_idx", False)
    return DecoderSpec(
        model_type="gpt2",
        vocab_size=config.size("vocab_size"),
        hidden_size=hidden,
        max_positions=positions,
        layers=tuple(
            Layer(norm, replace(attention, scale=attention.scale / (index + 1 if by_index else 1)), norm, mlp)
            for index in range(config.size("n_layer"))
        ),
        final_norm=norm,
        tied=config.flag("tie_word_embeddings", True),
        learned_positions=positions,
    )


def _qkv(kind: str) -> TensorSource:
    return TensorSource(f"h.{{layer}}.attn.c_attn.{kind}", transpose=kind == "weight", stack=("q", "k", "v"))


ARCHITECTURE = Architecture(
    spec=_spec,
    tensors={
        "embedding": "wte.weight",
        "positions": "wpe.weight",
        "attention_norm.weight": "h.{layer}.ln_1.weight",
        "attention_norm.bias": "h.{layer}.ln_1.bias",
        "attention.q.weight": _qkv("weight"),
        "attention.k.weight": _qkv("weight"),
        "attention.v.weight": _qkv("weight"),
        "attention.q.bias": _qkv("bias"),
        "attention.k.bias": _qkv("bias"),
        "attention.v.bias": _qkv("bias"),
        "attention.o.weight": TensorSource("h.{layer}.attn.c_proj.weight", transpose=True),
        "attention.o.bias": "h.{layer}.attn.c_proj.bias",
        "mlp_norm.weight": "h.{layer}.ln_2.weight",
        "mlp_norm.bias": "h.{layer}.ln_2.bias",
        "mlp.up.weight": TensorSource("h.{layer}.mlp.c_fc.weight", transpose=True),
        "mlp.up.bias": "h.{layer}.mlp.c_fc.bias",
        "mlp.down.weight": TensorSource("h.{layer}.mlp.c_proj.weight", transpose=True),
        "mlp.down.bias": "h.{layer}.mlp.c_proj.bias",
        "final_norm.weight": "ln_f.weight",
        "final_norm.bias": "ln_f.bias",
        "head": "lm_head.weight",
    },
    prefixes=("transformer.", ""),
)
