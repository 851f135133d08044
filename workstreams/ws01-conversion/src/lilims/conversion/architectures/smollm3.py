"""SmolLM3: Llama in which every fourth layer has no rotary positions; perhaps those are local.

transformers: `models/smollm3/modeling_smollm3.py`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lilims.core.errors import CheckpointError

from ..spec import DecoderSpec, Layer
from .base import Architecture, Config
from .common import LLAMA_TENSORS, attention, gated_mlp, rms, rotary, sliding_windows, with_biases


def _turns(config: Config, layers: int) -> list[bool]:
    """Which layers have rotary positions: `no_rope_layers` holds 1 for those that do, in spite of its name."""
    interval = config.size("no_rope_layer_interval", 4)
    flags: Any = config.values.get("no_rope_layers")
    flags = [int((i + 1) % interval != 0) for i in range(layers)] if flags is None else flags
    if not isinstance(flags, list) or len(flags) != layers:
        raise CheckpointError(f"'no_rope_layers' does not name {layers} layers", where=config.where)
    return [bool(flag) for flag in flags]


def _windows(config: Config, turns: list[bool]) -> list[int | None]:
    """With `use_sliding_window`, layers without rotary positions are local, or those that `layer_types` name."""
    width = config.values.get("sliding_window") if config.flag("use_sliding_window", False) else None
    kinds = config.values.get("layer_types")
    if kinds is None or width is None:
        kinds = ["full_attention" if turn or width is None else "sliding_attention" for turn in turns]
    return sliding_windows(
        Config({**config.values, "sliding_window": width, "layer_types": kinds}, config.where), len(turns)
    )


def _spec(config: Config) -> DecoderSpec:
    norm = rms(config)
    heads = attention(config, biases="qkvo" if config.flag("attention_bias", False) else "")
    mlp = gated_mlp(config, biases=config.flag("mlp_bias", False))
    turns = _turns(config, config.size("num_hidden_layers"))
    return DecoderSpec(
        model_type="smollm3",
        vocab_size=config.size("vocab_size"),
        hidden_size=config.size("hidden_size"),
        max_positions=config.size("max_position_embeddings", 32768),
        layers=tuple(
            Layer(norm, replace(heads, rotary="global" if turn else None, window=window), norm, mlp)
            for turn, window in zip(turns, _windows(config, turns), strict=True)
        ),
        final_norm=norm,
        tied=config.flag("tie_word_embeddings", True),
        rotary=rotary(config, heads.head_dim, rope_theta=2e6),
    )


ARCHITECTURE = Architecture(
    spec=_spec, tensors=with_biases(LLAMA_TENSORS, "attention.", "mlp."), prefixes=("model.", "")
)
