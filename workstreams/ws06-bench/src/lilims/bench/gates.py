"""The targets that a model for a phone has to meet: measured where that can be, estimated where not, and marked so.

Knows the targets. Must not know how anything is measured or estimated.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

from .devices import device_named
from .estimating import REACHED, Sizes, estimate, sizes_of

__all__ = ["PHONE", "Gate", "gates"]

PHONE = "a17-pro"
CONTEXT = 8192
PROMPT = 512
MINUTES = 5.0
_GB, _MB = 10**9, 10**6

How = Literal["measured", "estimated", "not measured"]


@dataclass(frozen=True)
class Gate:
    """One target.

    Attributes:
        value: in `unit`; None where it was not measured.
        passes: None where nothing is known.
        required: whether a failure fails them all.
        note: what the value stands on.
    """

    name: str
    target: float
    value: float | None
    unit: Literal["tokens/s", "seconds", "bytes", "share"]
    how: How
    passes: bool | None
    required: bool
    note: str

    def as_dict(self) -> dict[str, Any]:
        """The fields, for JSON."""
        return asdict(self)


def gates(
    model: str | None,
    *,
    minutes: float = 0.0,
    embedded: bool = False,
    progress: Callable[[str], None] = lambda _: None,
) -> list[Gate]:
    """Every target for a model.

    Args:
        minutes: how long to decode here for throttling; 0 leaves it unmeasured.
        embedded: whether the model is to lie inside an app: its size then counts.

    Raises:
        LilimsError: what finding, loading or running the model raises.
    """
    sizes = sizes_of(model)
    return [*_on_phone(sizes), _throttling(model, minutes, progress), *_sizes(sizes, embedded)]


def _on_phone(sizes: Sizes) -> list[Gate]:
    """Decoding at the lower of the reached shares, the first token at the same share of the arithmetic."""
    context = min(CONTEXT, sizes.decoder.context)
    found = estimate(sizes, device_named(PHONE), context=context, prompt=min(PROMPT, context))
    low = REACHED[0]
    rate, least = found["decode"]["expected"][0], found["prefill"]["seconds"]
    first = least / low
    memory = found["memory"]["total"]
    tokens = found["prefill"]["tokens"]
    stands = f"{low:.0%} of what {PHONE} allows"
    return [
        Gate(f"decode on {PHONE}", 10, rate, "tokens/s", "estimated", rate > 10, True,
             f"{stands}, at {context} tokens"),
        Gate(f"first token on {PHONE}", 3, first, "seconds", "estimated", first < 3, True,
             f"{stands}, prompt of {tokens}, loading left out"),
        Gate("memory", _GB, memory, "bytes", "estimated", memory < _GB, True, f"at {context} tokens of context"),
    ]  # fmt: skip


def _throttling(model: str | None, minutes: float, progress: Callable[[str], None]) -> Gate:
    """Speed in the last fifth against the first, on this machine: a phone has to be measured itself."""
    name, most = f"{MINUTES:g} minutes without throttling", 0.1
    if not minutes:
        return Gate(name, most, None, "share", "not measured", None, True, "--minutes 5 measures this machine")
    from .soak import soak

    seen = soak(model, minutes=minutes, progress=progress)
    fall = seen["throughput_fall"]
    held = fall < most
    enough = minutes >= MINUTES
    note = f"on this machine, {seen['minutes']:.1f} minutes" + ("" if enough or not held else ": too short to pass")
    return Gate(name, most, fall, "share", "measured", None if held and not enough else held, True, note)


def _sizes(sizes: Sizes, embedded: bool) -> list[Gate]:
    size = sizes.stored
    return [
        Gate("size of the model", _GB, size, "bytes", "measured", size < _GB, True, "all files of the model folder"),
        Gate("size inside an app", 200 * _MB, size, "bytes", "measured", size < 200 * _MB, embedded,
             "counts with --embedded only" if not embedded else "all files of the model folder"),
    ]  # fmt: skip
