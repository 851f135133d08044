"""SmolLM3: Llama in which every fourth layer has no rotary positions.

transformers: `models/smollm3/modeling_smollm3.py`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lilims.core.errors import CheckpointError

from ..spec import DecoderSpec, Layer
from .base import Architecture, Config
from .common import LLAMA_TENSORS, attention, gated_mlp, rms, rotary, with_biases


def _turns(config: Config, layers: int) -> list[bool]:
    """Which layers have rotary positions: `no_rope_layers` holds 1 for those that do, in spite of its name."""
    interval = config.size("no_rope_layer_interval", 4)
    flags: Any = config.values.get("no_rope_layers")
    flags = [int((i + 1) % interval != 0) for i in range(layers)] if flags is None else flags
    if not isinstance(flags, list) or len(flags) != layers:
        raise CheckpointError(f"'no_rope_layers' does not name {layers} layers", where=config.where)
    return [bool(flag) for flag in flags]


def _spec(config: Config) -> DecoderSpec:
    config.require(use_sliding_window=False)
    norm = rms(config)
    heads = attention(config, biases="qkvo" if config.flag("attention_bias", False) else "")
    mlp = gated_mlp(config, biases=config.flag("mlp_bias", False))
    turns = _turns(config, config.size("num_hidden_layers"))
    return DecoderSpec(
        model_type="smollm3",
        vocab_size=config.size("vocab_size"),
        hidden_size=config.size("hidden_size"),
        max_positions=config.size("max_position_embeddings", 32768),
        layers=tuple(Layer(norm, heads if turn else replace(heads, rotary=None), norm, mlp) for turn in turns),
        final_norm=norm,
        tied=config.flag("tie_word_embeddings", True),
        rotary=rotary(config, heads.head_dim, rope_theta=2e6),
    )


ARCHITECTURE = Architecture(
    spec=_spec, tensors=with_biases(LLAMA_TENSORS, "attention.", "mlp."), prefixes=("model.", "")
)
