"""EXAONE 4.0: norms behind the blocks and on each head of Q and K; in the hybrid form rotary on local layers only.

transformers: `models/exaone4/modeling_exaone4.py`.
"""

from __future__ import annotations

import re
from dataclasses import replace

from lilims.core.errors import UnsupportedModelError

from ..spec import DecoderSpec, Layer
from .base import Architecture, Config
from .common import attention, gated_mlp, rms, rotary, sliding_windows
from .olmo2 import POST_NORMS, UNNORMED
from .qwen3 import QK_NORM


def _pattern(config: Config) -> int | None:
    """Every how-manieth layer is global: a number, or the length of a pattern such as LLLG; null is no pattern."""
    pattern = config.values.get("sliding_window_pattern", 4)
    if isinstance(pattern, str) and re.fullmatch("L*G", pattern):
        return len(pattern)
    if pattern is None or (type(pattern) is int and pattern > 0):
        return pattern
    raise UnsupportedModelError(
        f"'sliding_window_pattern' is {pattern!r}, which lilims does not support",
        where=config.where,
        hint="supported: a number above 0, or local layers and one global, such as LLLG",
    )


def _spec(config: Config) -> DecoderSpec:
    norm = rms(config, 1e-5)
    heads = attention(config, qk_norm=norm)
    windows = sliding_windows(config, config.size("num_hidden_layers"), pattern=_pattern(config))
    hybrid = config.values.get("sliding_window", 4096) is not None

    def layer(window: int | None) -> Layer:
        turned = replace(heads, window=window, rotary="global" if window or not hybrid else None)
        return Layer(None, turned, None, gated_mlp(config), attention_output_norm=norm, mlp_output_norm=norm)

    return DecoderSpec(
        model_type="exaone4",
        vocab_size=config.size("vocab_size"),
        hidden_size=config.size("hidden_size"),
        max_positions=config.size("max_position_embeddings", 2048),
        layers=tuple(layer(window) for window in windows),
        final_norm=norm,
        tied=config.flag("tie_word_embeddings", False),
        rotary=rotary(config, heads.head_dim),
    )


ARCHITECTURE = Architecture(spec=_spec, tensors={**UNNORMED, **QK_NORM, **POST_NORMS}, prefixes=("model.", ""))
