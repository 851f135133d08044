"""Mixtral: Mistral with a mixture of experts in place of the MLP.

transformers: `models/mixtral/modeling_mixtral.py`.
"""

from __future__ import annotations

from ..spec import DecoderSpec, Experts, Layer
from .base import ACTIVATIONS, Architecture, Config
from .common import LLAMA_TENSORS, attention, rms, rotary


def _spec(config: Config) -> DecoderSpec:
    norm = rms(config, 1e-5)
    window = None if config.values.get("sliding_window") is None else config.size("sliding_window")
    heads = attention(config, window=window)
    experts = Experts(
        count=config.size("num_local_experts", 8),
        active=config.size("num_experts_per_tok", 2),
        width=config.size("intermediate_size"),
        activation=config.choice("hidden_act", ACTIVATIONS, "silu"),
        normalized=True,
    )
    return DecoderSpec(
        model_type="mixtral",
        vocab_size=config.size("vocab_size"),
        hidden_size=config.size("hidden_size"),
        max_positions=config.size("max_position_embeddings", 4096 * 32),
        layers=(Layer(norm, heads, norm, experts),) * config.size("num_hidden_layers"),
        final_norm=norm,
        tied=config.flag("tie_word_embeddings", False),
        rotary=rotary(config, heads.head_dim, rope_theta=1e6),
    )


_DENSE = {role: name for role, name in LLAMA_TENSORS.items() if not role.startswith("mlp.")}
ARCHITECTURE = Architecture(
    spec=_spec,
    tensors={
        **_DENSE,
        "mlp.router.weight": "layers.{layer}.block_sparse_moe.gate.weight",
        "mlp.experts.gate.weight": "layers.{layer}.block_sparse_moe.experts.{expert}.w1.weight",
        "mlp.experts.up.weight": "layers.{layer}.block_sparse_moe.experts.{expert}.w3.weight",
        "mlp.experts.down.weight": "layers.{layer}.block_sparse_moe.experts.{expert}.w2.weight",
    },
    prefixes=("model.", ""),
)
