"""Rotary parameters as Hugging Face configs spell them.

Knows the keys of config.json, old (`rope_theta`, `rope_scaling`) and since transformers 5 (`rope_parameters`). Must not
know the formulas. Rules as in transformers' `modeling_rope_utils.py`; a key that they would ignore is an error here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from lilims.core.errors import UnsupportedModelError

from .rotary import RotaryParameters

__all__ = ["from_config"]

_ALIASES = {"su": "longrope"}  # Phi-3's first name for it
_COMMON = frozenset({"type", "rope_type", "rope_theta", "partial_rotary_factor", "finetuned"})
_KEYS: dict[str, frozenset[str]] = {  # what each kind reads; any other key is one that lilims cannot honour
    "default": frozenset(),
    "linear": frozenset({"factor"}),
    "dynamic": frozenset({"factor"}),
    "llama3": frozenset({"factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"}),
    "yarn": frozenset(
        {"factor", "attention_factor", "beta_fast", "beta_slow", "truncate", "mscale", "mscale_all_dim"}
        | {"original_max_position_embeddings"}
    ),
    "longrope": frozenset(
        {"factor", "attention_factor", "short_factor", "long_factor", "original_max_position_embeddings"}
    ),
}


def from_config(config: Mapping[str, Any], *, layer_type: str | None = None) -> RotaryParameters:
    """Reads the rotary parameters of a model from its config.json.

    Args:
        config: the parsed config; for a model whose defaults differ from 10,000 and 1.0 merge them under it first
            (`{"partial_rotary_factor": 0.5, **config}` for Phi).
        layer_type: the kind of layer, as in `layer_types`, where kinds differ ("full_attention", "sliding_attention").

    Raises:
        UnsupportedModelError: a key is missing, unknown to lilims, or has a value that gives no tables; it is named.
    """
    scaling, section = _section(config, layer_type)
    kind = str(scaling.get("rope_type") or scaling.get("type") or "default")
    kind = _ALIASES.get(kind, kind)
    if kind not in _KEYS:
        raise _unsupported(f"{section}.rope_type", f"{kind!r} is not one of {', '.join(_KEYS)}")
    for key, value in scaling.items():
        if value is not None and key not in _KEYS[kind] | _COMMON:
            raise _unsupported(f"{section}.{key}", f"not known for rope_type {kind!r}")
    values: dict[str, Any] = {
        "rotary_dim": _rotary_dim(config, scaling),
        "theta": _first(scaling.get("rope_theta"), config.get("rope_theta"), config.get("rotary_emb_base"), 10000.0),
        "kind": kind,
    }
    if kind != "default":
        values |= _scaled(config, scaling, kind, section)
    return RotaryParameters.from_dict(values)


def _section(config: Mapping[str, Any], layer_type: str | None) -> tuple[Mapping[str, Any], str]:
    """The part of the config that holds the rule for this kind of layer, and its name."""
    for section in ("rope_parameters", "rope_scaling"):
        scaling = config.get(section)
        if scaling is None or scaling == {}:
            continue
        if not isinstance(scaling, Mapping):
            raise _unsupported(section, f"is not an object but {type(scaling).__name__}")
        nested = {key for key, value in scaling.items() if isinstance(value, Mapping)}
        if nested:
            if layer_type not in nested:
                raise _unsupported(section, f"differs by layer type ({', '.join(sorted(nested))}), not {layer_type!r}")
            return scaling[layer_type], f"{section}.{layer_type}"
        if layer_type == "sliding_attention" and config.get("rope_local_base_freq") is not None:
            break  # Gemma 3 before transformers 5: the rule is for the global layers
        return scaling, section
    if layer_type == "sliding_attention" and (local := config.get("rope_local_base_freq")) is not None:
        return {"rope_theta": local}, "rope_local_base_freq"
    return {}, "rope_scaling"


def _rotary_dim(config: Mapping[str, Any], scaling: Mapping[str, Any]) -> int:
    try:
        head_dim = config.get("head_dim") or int(config["hidden_size"]) // int(config["num_attention_heads"])
        part = _first(
            scaling.get("partial_rotary_factor"), config.get("partial_rotary_factor"), config.get("rotary_pct"), 1.0
        )
        return int(head_dim * part)
    except KeyError as exc:
        raise _unsupported(str(exc.args[0]), "missing, and there is no head_dim either") from exc
    except (TypeError, ValueError, ZeroDivisionError, OverflowError) as exc:
        raise _unsupported("head_dim", f"the rotary dimension cannot be worked out: {exc}") from exc


def _scaled(config: Mapping[str, Any], scaling: Mapping[str, Any], kind: str, section: str) -> dict[str, Any]:
    values = {key: scaling[key] for key in _KEYS[kind] if scaling.get(key) is not None}
    original = values.pop("original_max_position_embeddings", None)
    context = config.get("max_position_embeddings")
    if kind in ("llama3", "yarn", "longrope"):
        # Phi-3 keeps the original context outside the section, and that one wins
        original = _first(config.get("original_max_position_embeddings"), original, context)
    elif kind == "dynamic":
        original = context
    if kind != "linear":
        if not isinstance(original, int) or original < 2:
            raise _unsupported(f"{section}.original_max_position_embeddings", f"{original!r} is not a context length")
        values["original_context"] = original
    if "factor" not in values and kind in ("yarn", "longrope") and isinstance(context, int):
        values["factor"] = context / values["original_context"]
    if "factor" not in values:
        raise _unsupported(f"{section}.factor", "missing")
    if not isinstance(values["factor"], (int, float)):
        raise _unsupported(f"{section}.factor", f"{values['factor']!r} is not a number")
    _attention_factor(values, kind, section)
    return values


def _attention_factor(values: dict[str, Any], kind: str, section: str) -> None:
    """Fills in `attention_factor`: yarn's (arXiv:2309.00071, 3.4; mscale as DeepSeek), longrope's (2402.13753)."""

    def mscale(weight: float) -> float:
        return 1.0 if factor <= 1 else 0.1 * weight * math.log(factor) + 1.0

    factor = values["factor"]
    above, below = values.pop("mscale", None), values.pop("mscale_all_dim", None)
    if "attention_factor" in values or kind not in ("yarn", "longrope"):
        return
    if kind == "longrope":
        ratio = math.log(factor) / math.log(values["original_context"]) if factor > 1 else 0.0
        values["attention_factor"] = math.sqrt(1 + ratio)
    elif above and below:
        if not (isinstance(above, (int, float)) and isinstance(below, (int, float))):
            raise _unsupported(f"{section}.mscale", f"{above!r} over {below!r} are not numbers")
        values["attention_factor"] = mscale(above) / mscale(below)
    else:
        values["attention_factor"] = mscale(1.0)


def _first(*values: Any) -> Any:
    return next((value for value in values if value is not None), None)


def _unsupported(key: str, message: str) -> UnsupportedModelError:
    hint = "lilims cannot compute this model's positions"
    return UnsupportedModelError(message, where=f"config.json: {key}", hint=hint)
