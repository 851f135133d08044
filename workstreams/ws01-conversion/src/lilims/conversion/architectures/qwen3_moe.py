"""Qwen3-MoE: Qwen3 with a mixture of experts in place of the MLP, in all layers or some.

transformers: `models/qwen3_moe/modeling_qwen3_moe.py`.
"""

from __future__ import annotations

from lilims.core.errors import CheckpointError

from ..spec import DecoderSpec, Experts, Layer
from .base import ACTIVATIONS, Architecture, Config
from .common import LLAMA_TENSORS, attention, gated_mlp, rms, rotary, with_biases
from .qwen3 import QK_NORM


def _dense(config: Config) -> list[bool]:
    """Which layers have an MLP, no experts: those that are named, and all but every `decoder_sparse_step`-th."""
    named, step = config.values.get("mlp_only_layers") or [], config.size("decoder_sparse_step", 1)
    if not isinstance(named, list) or not all(type(layer) is int for layer in named):
        raise CheckpointError(f"'mlp_only_layers' is not a list of layers but {named!r:.50}", where=config.where)
    return [layer in named or (layer + 1) % step != 0 for layer in range(config.size("num_hidden_layers"))]


def _spec(config: Config) -> DecoderSpec:
    norm = rms(config)
    window = config.size("sliding_window", 4096) if config.flag("use_sliding_window", False) else None
    biases = "qkvo" if config.flag("attention_bias", False) else ""
    heads = attention(config, biases=biases, qk_norm=norm, window=window)
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
        layers=tuple(Layer(norm, heads, norm, gated_mlp(config) if dense else experts) for dense in _dense(config)),
        final_norm=norm,
        tied=config.flag("tie_word_embeddings", False),
        rotary=rotary(config, heads.head_dim),
    )


ARCHITECTURE = Architecture(
    spec=_spec,
    tensors={
        **with_biases(LLAMA_TENSORS, "attention."),
        **QK_NORM,
        "mlp.router.weight": "layers.{layer}.mlp.gate.weight",
        "mlp.experts.gate.weight": "layers.{layer}.mlp.experts.{expert}.gate_proj.weight",
        "mlp.experts.up.weight": "layers.{layer}.mlp.experts.{expert}.up_proj.weight",
        "mlp.experts.down.weight": "layers.{layer}.mlp.experts.{expert}.down_proj.weight",
    },
    prefixes=("model.", ""),
)
