"""Qwen3-MoE: Qwen3 with a mixture of experts in place of the MLP.

transformers: `models/qwen3_moe/modeling_qwen3_moe.py`.
"""

from __future__ import annotations

from lilims.core.errors import UnsupportedModelError

from ..spec import DecoderSpec, Experts, Layer
from .base import ACTIVATIONS, Architecture, Config
from .common import LLAMA_TENSORS, attention, rms, rotary, with_biases
from .qwen3 import QK_NORM


def _spec(config: Config) -> DecoderSpec:
    config.require(use_sliding_window=False, decoder_sparse_step=1)
    if config.values.get("mlp_only_layers"):
        raise UnsupportedModelError(
            "'mlp_only_layers' is not empty: dense layers are not supported", where=config.where
        )
    norm = rms(config)
    heads = attention(config, biases="qkvo" if config.flag("attention_bias", False) else "", qk_norm=norm)
    experts = Experts(
        count=config.size("num_experts"),
        active=config.size("num_experts_per_tok"),
        width=config.size("moe_intermediate_size"),
        activation=config.choice("hidden_act", ACTIVATIONS, "silu"),
        normalized=config.flag("norm_topk_prob", False),
    )
    return DecoderSpec(
        model_type="qwen3_moe",
        vocab_size=config.size("vocab_size"),
        hidden_size=config.size("hidden_size"),
        max_positions=config.size("max_position_embeddings", 32768),
        layers=(Layer(norm, heads, norm, experts),) * config.size("num_hidden_layers"),
        final_norm=norm,
        tied=config.flag("tie_word_embeddings", False),
        rotary=rotary(config, heads.head_dim),
    )


_DENSE = {role: name for role, name in LLAMA_TENSORS.items() if not role.startswith("mlp.")}
ARCHITECTURE = Architecture(
    spec=_spec,
    tensors={
        **with_biases(_DENSE, "attention."),
        **QK_NORM,
        "mlp.router.weight": "layers.{layer}.mlp.gate.weight",
        "mlp.experts.gate.weight": "layers.{layer}.mlp.experts.{expert}.gate_proj.weight",
        "mlp.experts.up.weight": "layers.{layer}.mlp.experts.{expert}.up_proj.weight",
        "mlp.experts.down.weight": "layers.{layer}.mlp.experts.{expert}.down_proj.weight",
    },
    prefixes=("model.", ""),
)
