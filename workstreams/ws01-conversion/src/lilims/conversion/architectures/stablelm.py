"""StableLM 2: LayerNorm, partial rotary, gated MLP; perhaps biases on Q, K and V, perhaps parallel blocks.

The 12B also norms each head of Q and K, with weights of its own.

transformers: `models/stablelm/modeling_stablelm.py`.
"""

from __future__ import annotations

from dataclasses import replace

from ..spec import DecoderSpec, Layer, Norm
from .base import Architecture, Config
from .common import LLAMA_TENSORS, attention, gated_mlp, rotary, with_biases


def _spec(config: Config) -> DecoderSpec:
    norm = Norm("layer", config.number("layer_norm_eps", 1e-5), bias=True)
    heads = attention(
        config,
        biases="qkv" if config.flag("use_qkv_bias", False) else "",
        qk_norm=replace(norm, bias=False) if config.flag("qk_layernorm", False) else None,
        qk_norm_over="each head",
    )
    parallel = config.flag("use_parallel_residual", False)  # then both blocks share one norm
    layer = Layer(norm, heads, None if parallel else norm, gated_mlp(config), parallel=parallel)
    return DecoderSpec(
        model_type="stablelm",
        vocab_size=config.size("vocab_size"),
        hidden_size=config.size("hidden_size"),
        max_positions=config.size("max_position_embeddings", 4096),
        layers=(layer,) * config.size("num_hidden_layers"),
        final_norm=norm,
        tied=config.flag("tie_word_embeddings", False),
        rotary=rotary(config, heads.head_dim, partial_rotary_factor=0.25),
    )


ARCHITECTURE = Architecture(
    spec=_spec,
    tensors={
        **with_biases(
            LLAMA_TENSORS, "attention.q", "attention.k", "attention.v", "attention_norm", "mlp_norm", "final_norm"
        ),
        "attention.q_norm.weight": "layers.{layer}.self_attn.q_layernorm.norms.{head}.weight",
        "attention.k_norm.weight": "layers.{layer}.self_attn.k_layernorm.norms.{head}.weight",
    },
    prefixes=("model.", ""),
)
