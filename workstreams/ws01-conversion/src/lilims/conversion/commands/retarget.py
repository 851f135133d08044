"""Give a model another context length without converting it again.

Knows options and what is printed. Must not know how it is done.
"""

from __future__ import annotations

from pathlib import Path

import click

from lilims.core import cli
from lilims.core.console import bytes_text, console

__all__ = ["command"]


@cli.command("retarget", epilog="Example: lilims retarget ./tiny --context 1024 -o tiny-1024")
@cli.model_argument
@click.option("--context", type=int, required=True, help="Tokens that the KV cache is to hold.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Model folder to make [default: MODEL itself].")
@click.option("--force", is_flag=True, help="Replace the output folder, or MODEL itself.")
def command(model: str, context: int, output: Path | None, force: bool) -> None:
    """Give MODEL another context length, reusing its weights.

    Only shapes change: the result is what `lilims convert --context N` gives with the same prefill chunk. Weights are
    hard links where the file system has them.
    """
    from lilims.core.locate import is_package, locate

    from .._quiet import go_lean
    from ..reshape.folder import retarget

    if cli.owns_process:
        go_lean()
    found = locate(model)
    folder = found.parent if is_package(found) else found
    done = retarget(folder, context, output, force=force)
    state = 2 * _product(done.manifest.state.shape)
    value = {
        "folder": str(done.folder),
        "name": done.manifest.name,
        "context_before": done.before,
        "context": done.manifest.context,
        "state_bytes": state,
    }
    console.result(
        "retarget",
        value,
        lambda out: out.print(
            f"[bold]{done.folder}[/]  context {done.before} → {done.manifest.context}, state {bytes_text(state)}"
        ),
    )


def _product(shape: list[int]) -> int:
    from math import prod

    return prod(shape)
