"""GPT-NeoX and Pythia: parallel attention and MLP, each with a LayerNorm, partial rotary, QKV fused head by head.

transformers: `models/gpt_neox/modeling_gpt_neox.py`.
"""

from __future__ import annotations

from ..spec import DecoderSpec, Layer, Mlp, Norm, TensorSource
from .base import ACTIVATIONS, Architecture, Config
from .common import attention, rotary, with_biases


def _spec(config: Config) -> DecoderSpec:
    norm = Norm("layer", config.number("layer_norm_eps", 1e-5), bias=True)
    heads = attention(config, biases="qkvo" if config.flag("attention_bias", True) else "", grouped=False)
    mlp = Mlp(
        kind="plain",
        width=config.size("intermediate_size", 24576),
        activation=config.choice("hidden_act", ACTIVATIONS, "gelu"),
        biases=frozenset({"up", "down"}),
    )
    layer = Layer(norm, heads, norm, mlp, parallel=config.flag("use_parallel_residual", True))
    share = config.number("rotary_pct", 0.25)
    return DecoderSpec(
        model_type="gpt_neox",
        vocab_size=config.size("vocab_size"),
        hidden_size=config.size("hidden_size"),
        max_positions=config.size("max_position_embeddings", 2048),
        layers=(layer,) * config.size("num_hidden_layers"),
        final_norm=norm,
        tied=config.flag("tie_word_embeddings", False),
        rotary=rotary(config, heads.head_dim, partial_rotary_factor=share),
    )


def _qkv(kind: str) -> TensorSource:
    return TensorSource(f"layers.{{layer}}.attention.query_key_value.{kind}", stack=("q", "k", "v"), by_head=True)


_TENSORS = {
    "embedding": "embed_in.weight",
    "attention_norm.weight": "layers.{layer}.input_layernorm.weight",
    "attention.o.weight": "layers.{layer}.attention.dense.weight",
    "mlp_norm.weight": "layers.{layer}.post_attention_layernorm.weight",
    "mlp.up.weight": "layers.{layer}.mlp.dense_h_to_4h.weight",
    "mlp.down.weight": "layers.{layer}.mlp.dense_4h_to_h.weight",
    "final_norm.weight": "final_layer_norm.weight",
    "head": "embed_out.weight",
}
ARCHITECTURE = Architecture(
    spec=_spec,
    tensors={
        **with_biases(_TENSORS, "attention", "mlp", "final_norm"),
        **{f"attention.{p}.{kind}": _qkv(kind) for p in "qkv" for kind in ("weight", "bias")},
    },
    prefixes=("gpt_neox.", ""),
)
