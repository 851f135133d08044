"""Convert a checkpoint into a Core ML model folder.

Knows options and how a conversion is shown. Must not know how it is done.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lilims.core import cli
from lilims.core.console import bytes_text, console

if TYPE_CHECKING:
    from rich.console import Console as RichConsole

    from ..pipeline import Conversion

__all__ = ["command"]

_EPILOG = "Example: lilims convert ./TinyStories-1M -o tiny --quantize int8"


@cli.command("convert", epilog=_EPILOG)
@click.argument("source", type=click.Path(path_type=Path))
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="Model folder to make.")
@click.option(
    "--quantize",
    type=click.Choice(["fp16", "int8", "int4"]),
    default="int4",
    show_default=True,
    help="Scheme of the weight matrices.",
)
@click.option(
    "--group-size", type=int, default=32, show_default=True, help="Values that share a scale: 16, 32, 64 or 128."
)
@click.option("--context", type=int, help="Tokens of the KV cache [default: the model's own, at most 8192].")
@click.option("--name", help="Name of the model [default: the source folder's].")
@click.option(
    "--attention",
    type=click.Choice(["sdpa", "decomposed"]),
    default="sdpa",
    show_default=True,
    help="The iOS 18 attention op, or matmul and softmax.",
)
@click.option("--force", is_flag=True, help="Replace the output folder.")
def command(source: Path, output: Path, **options: Any) -> None:
    """Convert SOURCE, a Hugging Face folder (config.json and safetensors), into a Core ML model folder.

    The folder holds model.mlpackage, manifest.json and the tokenizer's files; `lilims run` and `lilims inspect` take
    it. A model_type that is not supported is refused with the list of those that are.
    """
    from lilims.core.events import Event, listening

    from ..pipeline import convert

    with console.progress("converting", total=None) as advance:
        total = {"bytes": 0}
        fallbacks: Counter[str] = Counter()
        notes: list[str] = []

        def show(event: Event) -> None:
            if event.name == "convert.tensor":
                total["bytes"] += event.fields["bytes"]
                advance(0, f"{event.fields['role']}  {bytes_text(total['bytes'])} read")
                if event.fields["fell_back"]:
                    fallbacks[event.fields["scheme"]] += 1
            if event.name == "convert.no_tokenizer":
                notes.append("the checkpoint has no tokenizer: the model will take token ids only")

        with listening(show):
            done = convert(source, output, **options)
    if fallbacks:
        taken = ", ".join(f"{count} × {scheme}" for scheme, count in fallbacks.items())
        notes.append(f"the group size does not divide the width of {fallbacks.total()} tensors; they became {taken}")
    for note in notes:
        console.note(f"note: {note}")
    console.result("conversion", _as_dict(done), lambda out: _draw(out, done))


def _as_dict(done: Conversion) -> dict[str, Any]:
    manifest = done.manifest
    return {
        "folder": str(done.folder),
        "name": manifest.name,
        "architecture": manifest.architecture.model_dump(),
        "quantization": manifest.quantization.model_dump(exclude={"tensors"}),
        "context": manifest.context,
        "bytes": sum(f.bytes for f in manifest.files.values()),
        "seconds": {phase: round(seconds, 3) for phase, seconds in done.seconds.items()},
    }


def _draw(out: RichConsole, done: Conversion) -> None:
    manifest = done.manifest
    size = sum(f.bytes for f in manifest.files.values())
    phases = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in done.seconds.items())
    out.print(f"[bold]{done.folder}[/]", highlight=False)
    out.print(
        f"  {manifest.architecture.model_type}, {manifest.architecture.parameters / 1e6:.2f} M parameters → "
        f"{manifest.quantization.scheme}, {manifest.quantization.bits_per_weight:.2f} bits per weight, "
        f"{bytes_text(size)}, context {manifest.context}"
    )
    out.print(f"  functions: {', '.join(f'{n} ({f.tokens})' for n, f in manifest.functions.items())}")
    out.print(f"  {phases}", style="dim")
    out.print(f'  next: lilims run {done.folder} "Once upon a time"', style="dim")
