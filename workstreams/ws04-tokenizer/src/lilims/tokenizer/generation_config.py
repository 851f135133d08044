"""generation_config.json: where a text ends, and how its makers sample.

Knows the file as transformers writes it (`GenerationConfig`). Must not know samplers or vocabularies.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lilims.core.errors import TokenizerError
from lilims.core.files import read_json

__all__ = ["generation_defaults", "generation_eos_ids"]

_FILE = "generation_config.json"
_MOST_ENDS = 256
_LARGEST_ID = 1 << 24


@dataclass(frozen=True)
class _Range:
    low: float
    high: float
    open_low: bool = False
    whole: bool = False

    def holds(self, value: Any) -> bool:
        kind = int if self.whole else (int, float)
        if isinstance(value, bool) or not isinstance(value, kind):
            return False
        return self.low <= value <= self.high and not (self.open_low and value == self.low)

    def __str__(self) -> str:
        kind = "whole number" if self.whole else "number"
        above = f"more than {self.low}" if self.open_low else f"{self.low} or more"
        return f"a {kind}, {above}, {self.high} or less"


_RANGES = {
    "temperature": _Range(0.0, 100.0),
    "top_k": _Range(0, 1 << 24, whole=True),  # 0 is off
    "top_p": _Range(0.0, 1.0),
    "min_p": _Range(0.0, 1.0),
    "typical_p": _Range(0.0, 1.0, open_low=True),
    "repetition_penalty": _Range(0.0, 100.0, open_low=True),
}


def generation_defaults(folder: Path | str) -> dict[str, Any]:
    """How the makers of a model sample from it, for what nobody asked for otherwise.

    Args:
        folder: of a model or a checkpoint.

    Returns:
        Those of `temperature`, `top_k`, `top_p`, `min_p`, `typical_p`, `repetition_penalty` (numbers) and `do_sample`
        that generation_config.json has; null is as absent. Empty where there is no such file. Where `do_sample` is
        false or absent, transformers decodes greedily and looks at none but `repetition_penalty`.

    Raises:
        TokenizerError: the file is damaged, or a value is none that can be meant (key and value are named).
    """
    path = Path(folder) / _FILE
    raw = _read(path)
    found: dict[str, Any] = {}
    for key, allowed in _RANGES.items():
        value = raw.get(key)
        if value is None:
            continue
        if not allowed.holds(value):
            raise TokenizerError(f"{key!r} is {value!r}, not {allowed}", where=path, hint="mend or remove that key")
        found[key] = value if allowed.whole else float(value)
    sample = raw.get("do_sample")
    if sample is not None:
        if not isinstance(sample, bool):
            raise TokenizerError(f"'do_sample' is {sample!r}, not true or false", where=path, hint="mend that key")
        found["do_sample"] = sample
    return found


def generation_eos_ids(folder: Path) -> list[int]:
    """`eos_token_id` of generation_config.json: an id or several; empty where there is no such file or key.

    Raises:
        TokenizerError: the file is damaged, or these are no ids.
    """
    path = folder / _FILE
    value = _read(path).get("eos_token_id")
    ids = value if isinstance(value, list) else [] if value is None else [value]
    if len(ids) > _MOST_ENDS or not all(type(i) is int and -1 <= i < _LARGEST_ID for i in ids):
        message = f"'eos_token_id' is {value!r}, neither an id nor a short list of them"
        raise TokenizerError(message, where=path, hint="fetch the file again")
    return [i for i in ids if i >= 0]  # -1 stands for none in some


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    raw = read_json(path, limit=1 << 20, error=TokenizerError)
    if not isinstance(raw, dict):
        raise TokenizerError("not a JSON object", where=path, hint="fetch the file again, or remove it")
    return raw
