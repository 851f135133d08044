"""`lilims inspect MODEL --memory`: what a context length takes, before anything is loaded.

Knows how a plan of memory is drawn. Must not know its formulas (`lilims.context.memory`).
"""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from lilims.core.console import bytes_text, console
from lilims.core.errors import UsageError

if TYPE_CHECKING:
    from lilims.context import MemoryPlan
    from lilims.core.manifest import Manifest

__all__ = ["report_memory", "size_in_bytes"]

_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}


def size_in_bytes(text: str) -> int:
    """Bytes of `800MB` or `1.5 GB`; units are decimal, as disks and App Store limits are given.

    Raises:
        UsageError: it is no size.
    """
    found = re.fullmatch(r"\s*(\d{1,15}(?:\.\d{1,6})?)\s*([kmgt]?b?)\s*", text, re.IGNORECASE)
    if not found or found[2].lower() not in _UNITS:
        raise UsageError(f"{text!r} is not a size", hint="write it as 800MB or 1.5GB")
    return int(float(found[1]) * _UNITS[found[2].lower()])


def report_memory(manifest: Manifest, context: int | None, limit: str | None) -> None:
    """Prints the plan on a device and in the portable executor.

    Raises:
        OutOfMemoryError: a limit is given, and the plan on a device is over it.
        UsageError: context or limit make no sense.
    """
    from lilims.context import DEVICE, PORTABLE, DecoderSizes, check_memory, longest_context, plan_memory

    if context is not None and not 1 <= context <= 1 << 32:
        raise UsageError(f"a context of {context} tokens cannot be planned")
    sizes = DecoderSizes.of(manifest)
    allowed = None if limit is None else size_in_bytes(limit)
    if allowed is not None:
        check_memory(sizes, allowed, context=context)
    plans = {"device": plan_memory(sizes, context, DEVICE), "portable": plan_memory(sizes, context, PORTABLE)}
    value = _as_dict(plans["device"]) | {"portable": _as_dict(plans["portable"])}
    if allowed is not None:
        value |= {"limit": allowed, "longest_context": longest_context(sizes, allowed)}
    console.result("memory", {"name": manifest.name, "memory": value}, lambda out: _draw(out, plans, value))


def _as_dict(plan: MemoryPlan) -> dict[str, Any]:
    values = {
        name if name == "context" else f"{name.removesuffix('s')}_bytes": count for name, count in asdict(plan).items()
    }
    return {**values, "total_bytes": plan.total}


def _draw(out: Any, plans: dict[str, MemoryPlan], value: dict[str, Any]) -> None:
    from rich import box
    from rich.table import Table

    title = f"Memory at context {plans['device'].context}"
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("", "on a device", "portable executor"):
        table.add_column(column, justify="right" if column else "left", no_wrap=True)
    for name in ("weights", "state", "scratch", "total"):
        if name == "total":
            table.add_section()
        table.add_row(name, *(bytes_text(getattr(plan, name)) for plan in plans.values()))
    out.print(table)
    if "limit" in value:
        out.print(f"{bytes_text(value['limit'])} allow a context of {value['longest_context']} on a device")
