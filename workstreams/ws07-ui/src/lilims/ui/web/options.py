"""The controls of a conversation: which there are, and what they may be.

Knows names and ranges. Must not know what a sampler does with them; docs/sampling.md does.
"""

from __future__ import annotations

from typing import Any

from .errors import RequestError

__all__ = ["RANGES", "checked"]

RANGES: dict[str, tuple[type, float, float]] = {
    "temperature": (float, 0.0, 2.0),
    "top_p": (float, 0.01, 1.0),
    "top_k": (int, 0, 1000),
    "min_p": (float, 0.0, 1.0),
    "repetition_penalty": (float, 0.5, 2.0),
    "max_tokens": (int, 1, 1_000_000),
    "seed": (int, 0, 2**53 - 1),
}
"""Each control's type, least and largest value; one that is left out is the model's own."""


def checked(settings: Any) -> dict[str, Any]:
    """The controls of a request, `think` among them; those that are null are left out.

    Raises:
        RequestError: one is unknown, of another type, or outside its range.
    """
    if not isinstance(settings, dict):
        raise RequestError("settings has to be an object")
    found: dict[str, Any] = {}
    for name, value in settings.items():
        if value is None:
            continue
        if name == "think" and isinstance(value, bool):
            found[name] = value
        elif name in RANGES:
            found[name] = _number(name, value)
        else:
            raise RequestError(f"{str(name)[:40]!r} is no control", hint=f"there are {', '.join(RANGES)}, think")
    return found


def _number(name: str, value: Any) -> float | int:
    kind, least, most = RANGES[name]
    whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
    if isinstance(value, bool) or not isinstance(value, int | float) or (kind is int and not whole):
        raise RequestError(f"{name} has to be a {'whole ' if kind is int else ''}number, not {str(value)[:40]!r}")
    if not least <= value <= most:
        raise RequestError(f"{name} has to be from {least:g} to {most:g}, not {str(value)[:40]}")
    return int(value) if kind is int else float(value)
