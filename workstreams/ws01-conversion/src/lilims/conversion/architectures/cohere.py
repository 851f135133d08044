"""Cohere Command-R: parallel blocks on one LayerNorm without bias, interleaved rotary pairs, scaled logits.

Command-R+ also norms each head of Q and K, with weights of its own.

transformers: `models/cohere/modeling_cohere.py`.
"""

from __future__ import annotations

from ..spec import DecoderSpec, Layer, Norm, TensorSource
from .base import Architecture, Config
from .common import LLAMA_TENSORS, attention, gated_mlp, rotary, with_biases


def _spec(config: Config) -> DecoderSpec:
    norm = Norm("layer", config.number("layer_norm_eps", 1e-5))
    heads = attention(
        config,
        biases="qkvo" if config.flag("attention_bias", False) else "",
        qk_norm=norm if config.flag("use_qk_norm", False) else None,
        qk_norm_over="each head",
    )
    layer = Layer(norm, heads, None, gated_mlp(config), parallel=True)
    return DecoderSpec(
        model_type="cohere",
        vocab_size=config.size("vocab_size"),
        hidden_size=config.size("hidden_size"),
        max_positions=config.size("max_position_embeddings", 8192),
        layers=(layer,) * config.size("num_hidden_layers"),
        final_norm=norm,
        tied=config.flag("tie_word_embeddings", True),
        rotary=rotary(config, heads.head_dim, rope_theta=500_000.0),
        logit_scale=config.number("logit_scale", 0.0625),
    )


_TENSORS = {role: name for role, name in LLAMA_TENSORS.items() if role != "mlp_norm.weight"}
ARCHITECTURE = Architecture(
    spec=_spec,
    tensors={
        **with_biases(_TENSORS, "attention."),
        **{
            f"attention.{p}.{kind}": TensorSource(f"layers.{{layer}}.self_attn.{p}_proj.{kind}", interleaved=True)
            for p in "qk"
            for kind in ("weight", "bias")
        },
        **{
            f"attention.{p}_norm.weight": TensorSource(
                f"layers.{{layer}}.self_attn.{p}_norm.weight", interleaved=True, row=0
            )
            for p in "qk"
        },
    },
    prefixes=("model.", ""),
)
