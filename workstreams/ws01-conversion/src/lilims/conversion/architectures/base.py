"""What every architecture file shares: the table's type, and a config reader that names the key it fails on.

Knows how configs are read. Must not know a particular family.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from lilims.core.errors import CheckpointError, UnsupportedModelError

from ..spec import Activation, DecoderSpec, TensorSource

__all__ = ["ACTIVATIONS", "Architecture", "Config"]

T = TypeVar("T")
_COUNTS = ("num_hidden_layers", "num_layers", "n_layer", "num_experts", "num_local_experts")  # each costs memory

# transformers' names (ACT2FN) -> ours.
ACTIVATIONS: dict[str, Activation] = {
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "relu": "relu",
}


class Config:
    """config.json, read key by key; every complaint names the file and the key."""

    def __init__(self, values: Mapping[str, Any], where: Path) -> None:
        self.values = values
        self.where = where

    def _error(self, message: str) -> CheckpointError:
        hint = "config.json is damaged, or of a model that lilims does not know: fetch it again"
        return CheckpointError(message, where=self.where, hint=hint)

    def size(self, key: str, default: int | None = None) -> int:
        """A positive whole number of at most 2**24, of layers and experts at most 4096; null counts as absent."""
        value = self.values.get(key)
        value = default if value is None else value
        most = 4096 if key in _COUNTS else 1 << 24
        if value is None:
            raise self._error(f"has no {key!r}")
        if type(value) is not int or value <= 0:
            raise self._error(f"{key!r} must be a positive whole number, not {value!r}")
        if value > most:
            raise self._error(f"{key!r} is {value}, more than the {most} that are taken")
        return value

    def number(self, key: str, default: float) -> float:
        """A positive number below 1e30."""
        value = self.values.get(key)
        value = default if value is None else value
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1e30:
            raise self._error(f"{key!r} must be a positive number, not {value!r}")
        return float(value)

    def flag(self, key: str, default: bool) -> bool:
        """A truth value."""
        value = self.values.get(key)
        value = default if value is None else value
        if not isinstance(value, bool):
            raise self._error(f"{key!r} must be true or false, not {value!r}")
        return value

    def choice(self, key: str, options: Mapping[str, T], default: str) -> T:
        """What `options` gives for the key's value."""
        value = self.values.get(key)
        value = default if value is None else value
        if not isinstance(value, str) or value not in options:
            raise UnsupportedModelError(
                f"{key!r} is {value!r}, which lilims does not support",
                where=self.where,
                hint=f"supported: {', '.join(options)}",
            )
        return options[value]

    def require(self, **wanted: Any) -> None:
        """Refuses a config in which one of these keys is present with another value."""
        for key, value in wanted.items():
            found = self.values.get(key)
            if found is not None and found != value:
                raise UnsupportedModelError(
                    f"{key!r} is {found!r}; lilims supports {value!r} only",
                    where=self.where,
                    hint="no option changes that; please report it with the model's name",
                )

    def divides(self, whole: str, value: int, part: int) -> int:
        """`value // part`, which must have no remainder."""
        if value % part:
            raise self._error(f"{whole} {value} is not a multiple of {part}")
        return value // part


@dataclass(frozen=True)
class Architecture:
    """A family of models.

    Attributes:
        spec: config → spec.
        tensors: role → where its tensor lies. Roles are written without `layers.<l>.` and an expert's or head's number.
        prefixes: what may stand before every name; checkpoints saved from the bare model lack the usual prefix.
    """

    spec: Callable[[Config], DecoderSpec]
    tensors: Mapping[str, str | TensorSource]
    prefixes: tuple[str, ...] = ("",)

    def source(self, role: str) -> TensorSource:
        """Where a role's tensor lies, its indices filled in and the prefix left open."""
        layer = expert = head = ""
        if role.startswith("layers."):
            _, layer, role = role.split(".", 2)
        if role.startswith("mlp.experts."):
            _, _, expert, part = role.split(".", 3)
            role = f"mlp.experts.{part}"
        if found := re.fullmatch(r"(attention\.[qk]_norm)\.(\d+)\.(\w+)", role):
            head, role = found[2], f"{found[1]}.{found[3]}"
        entry = self.tensors[role]
        source = TensorSource(entry) if isinstance(entry, str) else entry
        name = source.name.format(layer=layer, expert=expert, head=head)
        return replace(source, name=name, row=int(head) if head and source.row is not None else None)
