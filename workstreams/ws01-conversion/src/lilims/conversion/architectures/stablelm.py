"""StableLM 2: LayerNorm, partial rotary, gated MLP; perhaps biases on Q, K and V, perhaps parallel blocks.

transformers: `models/stablelm/modeling_stablelm.py`.
"""

from __future__ import annotations

from ..spec import DecoderSpec, Layer, Norm
from .base import Architecture, Config
from .common import LLAMA_TENSORS, attention, gated_mlp, rotary, with_biases


def _spec(config: Config) -> DecoderSpec:
    config.require(qk_layernorm=False)
    norm = Norm("layer", config.number("layer_norm_eps", 1e-5), bias=True)
    heads = attention(config, biases="qkv" if config.flag("use_qkv_bias", False) else "")
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
    tensors=with_biases(
        LLAMA_TENSORS, "attention.q", "attention.k", "attention.v", "attention_norm", "mlp_norm", "final_norm"
    ),
    prefixes=("model.", ""),
)
