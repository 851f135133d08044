"""Shows what `lilims convert` would make.

Knows how an estimate is shown. Must not know how it is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lilims.core.console import bytes_text, console

if TYPE_CHECKING:
    from rich.console import Console as RichConsole

    from ..estimate import Estimate

__all__ = ["show"]

# Options that change nothing of what is planned.
_OF_THE_OUTPUT = ("name", "resume", "force", "fp16_scale", "calibration_tokens", "budget", "max_bpw", "heldout", "dask")


def show(source: Path, options: Mapping[str, Any]) -> None:
    """Prints the estimate for these options of the command."""
    from lilims.core.errors import UsageError

    from ..estimate import dry_run

    if options.get("budget"):
        raise UsageError(
            "--dry-run cannot tell what --budget will choose", hint="--quantize int4 and int8 are the ends of it"
        )
    found = dry_run(source, **{key: value for key, value in options.items() if key not in _OF_THE_OUTPUT})
    console.result("conversion-plan", {"source": str(source), **found.as_dict()}, lambda out: _draw(out, source, found))


def _draw(out: RichConsole, source: Path, found: Estimate) -> None:
    from rich.table import Table

    out.print(f"[bold]{source}[/]", highlight=False)
    out.print(
        f"  {found.model_type}, {found.parameters / 1e6:.2f} M parameters → {found.quantization}, "
        f"{found.bits_per_weight:.2f} bits per weight, context {found.context}"
    )
    out.print(f"  functions: {', '.join(f'{name} ({tokens})' for name, tokens in found.functions.items())}")
    table = Table("part", "scheme", *(_right(t) for t in ("tensors", "parameters", "size")), box=None, padding=(0, 2))
    for group in found.groups:
        table.add_row(
            group.part, group.scheme, str(group.tensors), f"{group.parameters / 1e6:.2f} M", bytes_text(group.bytes)
        )
    out.print(table)
    rest = "coremltools is not installed: the program is not counted"
    if found.program is not None:
        rest = f"weights {bytes_text(found.weights)}, program {bytes_text(found.program)}"
    out.print(
        f"  {'package' if found.packages == 1 else f'{found.packages} packages'}: {bytes_text(found.package)} ({rest})"
    )
    out.print(f"  KV cache at that context: {bytes_text(found.state)}")
    out.print(f"  peak memory of the conversion: about {bytes_text(found.conversion)}")
    out.print(
        f"  memory of weights and cache when it runs: {bytes_text(found.running)}, "
        f"{bytes_text(found.running_portable)} in the portable executor"
    )
    out.print("  nothing was written", style="dim")


def _right(title: str) -> Any:
    from rich.table import Column

    return Column(title, justify="right")
