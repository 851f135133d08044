"""Shows what became of a GGUF file's tensors: from which type to which form, and how far off.

Knows the manifest's words for it. Must not know how forms are chosen.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console as RichConsole

    from lilims.core.manifest import Manifest

__all__ = ["as_list", "draw"]


def as_list(manifest: Manifest) -> list[dict[str, Any]]:
    """One entry for each pair of type and form: how many tensors, and the most that a value is off by, in steps.

    `error_steps` is None where codes were not to be kept.
    """
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for tensor in manifest.quantization.tensors.values():
        key = (tensor.source or "", tensor.scheme)
        entry = found.setdefault(key, {"source": key[0], "scheme": key[1], "tensors": 0, "error_steps": None})
        entry["tensors"] += 1
        entry["error_steps"] = max(
            (e for e in (entry["error_steps"], tensor.error_steps) if e is not None), default=None
        )
    return list(found.values())


def draw(out: RichConsole, manifest: Manifest) -> None:
    """A line for each pair."""
    for entry in as_list(manifest):
        error = entry["error_steps"]
        words = "" if error is None else ", exact" if error == 0 else f", at most {error:.2g} steps off"
        out.print(f"  {entry['tensors']} × {entry['source']} → {entry['scheme']}{words}", highlight=False)
