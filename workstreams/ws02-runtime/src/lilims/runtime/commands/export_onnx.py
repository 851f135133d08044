"""An ONNX file of one function, for plain ONNX Runtime.

Knows the command line and what is shown. Must not know how the file is made.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lilims.core import cli
from lilims.core.console import bytes_text, console, one_line
from lilims.core.errors import UnsupportedError

if TYPE_CHECKING:
    from rich.console import Console as RichConsole

    from ..portable.onnx_export import OnnxExport

__all__ = ["command"]


@cli.command("onnx", epilog="Example: lilims export encoder.mlpackage --to onnx -o encoder.onnx")
@click.option(
    "-o", "--output", metavar="FILE", type=click.Path(path_type=Path), help="The file [default: NAME.onnx, here]."
)
@click.option("--function", metavar="NAME", help="The function [default: the package's default function].")
@click.option(
    "--precision",
    type=click.Choice(["exact", "fast"]),
    default="exact",
    show_default=True,
    help="fast rounds activations of quantised products to int8.",
)
@cli.model_argument
def command(model: str, output: Path | None, function: str | None, precision: Any) -> None:
    """Writes a function of MODEL as a self-contained ONNX file. States become inputs and outputs.

    MODEL is any ML Program package, a model folder, or an installed name.
    """
    from lilims.core.locate import locate
    from lilims.core.package_manifest import Manifest, read_any

    from ..portable.onnx_export import export_onnx

    found = locate(model)
    package, name = found, found.stem
    if (found / "manifest.json").is_file():
        manifest = read_any(found)
        if isinstance(manifest, Manifest) and manifest.parts:
            names = ", ".join(part.package for part in manifest.parts)
            raise UnsupportedError("the model is several packages", where=found, hint=f"export each of {names}")
        package, name = found / manifest.package, found.resolve().name
    made = export_onnx(package, output or Path(f"{name}.onnx"), function, precision=precision)
    value = {
        "target": "onnx",
        "package": str(package),
        "files": [str(file) for file in made.files],
        "bytes": made.size,
        "function": made.function,
        "precision": made.precision,
        "opset": made.opset,
        "contrib_ops": made.contrib_ops,
        "inputs": list(made.inputs),
        "optional": list(made.optional),
        "outputs": list(made.outputs),
        "states": made.states,
    }
    console.result("export", value, lambda out: _draw(out, made))


def _draw(out: RichConsole, made: OnnxExport) -> None:
    def line(title: str, text: str) -> None:
        out.print(f"{title:<12} {one_line(text)}", markup=False)

    line("wrote", f"{', '.join(str(file) for file in made.files)}  {bytes_text(made.size)}")
    line("function", f"{made.function}, {made.precision}, opset {made.opset}")
    line("inputs", ", ".join([*made.inputs, *(f"{name} (optional)" for name in made.optional)]))
    line("outputs", ", ".join(made.outputs))
    if made.states:
        line("states", ", ".join(f"{name} → {out}" for name, out in made.states.items()))
    contrib = ", ".join(f"{name} ×{count}" for name, count in made.contrib_ops.items())
    line("contrib ops:", contrib or "none")
