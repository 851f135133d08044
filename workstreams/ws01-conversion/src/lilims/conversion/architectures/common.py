"""What most families share: the sizes of attention, the gated MLP, rotary parameters, Llama's tensor names.

Knows config keys that are spelt alike in many families. Must not know a particular family.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lilims.context import from_config as rotary_from_config
from lilims.core.errors import CheckpointError, UnsupportedModelError

from ..spec import Attention, Mlp, Norm, TensorSource
from .base import ACTIVATIONS, Config

__all__ = [
    "LLAMA_TENSORS",
    "attention",
    "gated_mlp",
    "rms",
    "rotary",
    "sliding_windows",
    "upper_windows",
    "with_biases",
]

_WINDOW = 4096  # transformers' default in every family whose default is a window; null is none

LLAMA_TENSORS: Mapping[str, str | TensorSource] = {
    "embedding": "embed_tokens.weight",
    "attention_norm.weight": "layers.{layer}.input_layernorm.weight",
    "attention.q.weight": "layers.{layer}.self_attn.q_proj.weight",
    "attention.k.weight": "layers.{layer}.self_attn.k_proj.weight",
    "attention.v.weight": "layers.{layer}.self_attn.v_proj.weight",
    "attention.o.weight": "layers.{layer}.self_attn.o_proj.weight",
    "mlp_norm.weight": "layers.{layer}.post_attention_layernorm.weight",
    "mlp.gate.weight": "layers.{layer}.mlp.gate_proj.weight",
    "mlp.up.weight": "layers.{layer}.mlp.up_proj.weight",
    "mlp.down.weight": "layers.{layer}.mlp.down_proj.weight",
    "final_norm.weight": "norm.weight",
    "head": "lm_head.weight",
}


def with_biases(tensors: Mapping[str, str | TensorSource], *roles: str) -> dict[str, str | TensorSource]:
    """The table with a bias beside each weight whose role starts with one of `roles`."""
    names = {r: n for r, n in tensors.items() if isinstance(n, str) and r.endswith(".weight") and r.startswith(roles)}
    return {
        **tensors,
        **{r.removesuffix("weight") + "bias": n.removesuffix("weight") + "bias" for r, n in names.items()},
    }


def rms(config: Config, default: float = 1e-6) -> Norm:
    """RMSNorm with the config's `rms_norm_eps`."""
    return Norm("rms", config.number("rms_norm_eps", default))


def attention(
    config: Config,
    *,
    biases: str = "",
    scale: float | None = None,
    head_dim: int | None = None,
    grouped: bool = True,
    **options: Any,
) -> Attention:
    """Attention of the usual keys: hidden_size, num_attention_heads, num_key_value_heads, head_dim.

    Args:
        biases: letters of the projections that have one.
        scale: default is head_dim ** -0.5.
        head_dim: where the config has none; default is hidden_size over the heads.
        grouped: the family knows num_key_value_heads; where it does not, transformers ignores that key.
        options: other fields of `Attention`; `rotary` is "global" unless given.
    """
    hidden, heads = config.size("hidden_size"), config.size("num_attention_heads")
    given = config.values.get("head_dim") is not None
    if head_dim is None or given:
        head_dim = config.size("head_dim") if given else config.divides("hidden_size", hidden, heads)
    kv_heads = config.size("num_key_value_heads", default=heads) if grouped else heads
    config.divides("num_attention_heads", heads, kv_heads)
    return Attention(
        heads=heads,
        kv_heads=kv_heads,
        head_dim=head_dim,
        scale=head_dim**-0.5 if scale is None else scale,
        biases=frozenset(biases),
        **{"rotary": "global", **options},
    )


def gated_mlp(config: Config, *, activation: str = "hidden_act", default: str = "silu", biases: bool = False) -> Mlp:
    """down(act(gate(x)) · up(x)) of width `intermediate_size`."""
    return Mlp(
        kind="gated",
        width=config.size("intermediate_size"),
        activation=config.choice(activation, ACTIVATIONS, default),
        biases=frozenset({"gate", "up", "down"}) if biases else frozenset(),
    )


def rotary(config: Config, head_dim: int, *, layer_type: str | None = None, **defaults: Any) -> dict[str, Any]:
    """Rotary parameters; `defaults` are those of the family where they differ from theta 10,000 and the whole head."""
    values = {**defaults, **{k: v for k, v in config.values.items() if v is not None}, "head_dim": head_dim}
    return rotary_from_config(values, layer_type=layer_type).to_dict()


def sliding_windows(config: Config, layers: int, *, pattern: int | None = None) -> list[int | None]:
    """Each layer's window, from `layer_types`; without it every `pattern`-th layer is global and the rest are local."""
    width = config.values.get("sliding_window", _WINDOW)
    kinds: Any = config.values.get("layer_types")
    if kinds is None:
        local = width is not None and pattern is not None
        kinds = ["sliding_attention" if local and (i + 1) % pattern else "full_attention" for i in range(layers)]  # type: ignore[operator]
    if not isinstance(kinds, list) or len(kinds) != layers:
        raise CheckpointError(f"'layer_types' does not name {layers} layers", where=config.where)
    if unknown := [k for k in kinds if k not in ("full_attention", "sliding_attention")]:
        raise UnsupportedModelError(
            f"'layer_types' has {unknown[0]!r}, which lilims does not support", where=config.where
        )
    if width is None and "sliding_attention" in kinds:
        raise CheckpointError("'layer_types' has local layers, 'sliding_window' is null", where=config.where)
    return [config.size("sliding_window", _WINDOW) if k == "sliding_attention" else None for k in kinds]


def upper_windows(config: Config, layers: int) -> list[int | None]:
    """Qwen's windows: with `use_sliding_window`, of the layers from `max_window_layers` on, or as `layer_types` say."""
    width = config.size("sliding_window", _WINDOW) if config.flag("use_sliding_window", False) else None
    kinds = config.values.get("layer_types")
    if kinds is None and width is not None:
        first = config.values.get("max_window_layers")
        first = 28 if first is None else first
        if type(first) is not int or first < 0:
            raise CheckpointError(f"'max_window_layers' must be a whole number, not {first!r}", where=config.where)
        kinds = ["sliding_attention" if layer >= first else "full_attention" for layer in range(layers)]
    return sliding_windows(
        Config({**config.values, "sliding_window": width, "layer_types": kinds}, config.where), layers
    )
