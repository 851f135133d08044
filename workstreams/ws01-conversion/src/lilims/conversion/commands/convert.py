"""Convert a checkpoint into a Core ML model folder.

Knows options and how a conversion is shown. Must not know how it is done.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lilims.core import cli
from lilims.core.console import bytes_text, console

from . import convert_codes, convert_reading

if TYPE_CHECKING:
    from rich.console import Console as RichConsole

    from lilims.core.manifest import Manifest

    from ..pipeline import Conversion
    from ..shapes import GraphOptions

__all__ = ["command"]

_GRAPH_OPTIONS = ("prefill_chunk", "buckets", "embedding", "max_chunk_mb", "split_functions", "layout")
_EPILOG = "Example: lilims convert ./TinyStories-1M -o tiny --quantize int8"


@cli.command("convert", epilog=_EPILOG)
@click.argument("source", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Model folder to make.")
@click.option(
    "--quantize",
    metavar="SCHEME",
    help="Scheme of matrices: fp16, int8, int4, int4-asym, int4-channel, lut4-r8 … [default: the profile's].",
)
@click.option("--group-size", type=int, help="Values that share a scale: 16, 32, 64 or 128 [default: the profile's].")
@click.option("--recipe", type=click.Path(path_type=Path), help="YAML file of schemes by tensor.")
@click.option(
    "--profile",
    type=click.Choice(["gpu", "ane", "cpu", "balanced"]),
    default="gpu",
    show_default=True,
    help="What the package is for: defaults of scheme, prefill chunk and compute units.",
)
@click.option("--imatrix", type=click.Path(path_type=Path), help="Importance matrix of llama.cpp; scales are searched.")
@click.option(
    "--calibrate",
    metavar="TEXT",
    help="Round in view of a text: builtin, a file, or self, which the model writes.",
)
@click.option("--calibration-tokens", type=int, metavar="N", help="Tokens of it that are taken [default: 8192].")
@click.option(
    "--budget", metavar="GOAL", help='What may be lost on held-out text, "ppl<=3%": schemes are chosen by it.'
)
@click.option("--max-bpw", type=float, metavar="N", help="With --budget: bits per weight of the whole model, at most.")
@click.option("--heldout", metavar="TEXT", help="Where the budget has to hold [default: a quarter of --calibrate].")
@click.option("--dask", metavar="ADDRESS", help="Dask scheduler whose workers measure for --budget (tcp://host:port).")
@click.option(
    "--gguf-forms",
    type=click.Choice(["safe", "compact"]),
    default="safe",
    show_default=True,
    help="How a GGUF file's codes are stored; compact: Q2, Q3, Q5, Q6, IQ4, MXFP4 smaller, unverified on devices.",
)
@click.option("--context", type=int, help="Tokens of the KV cache [default: the model's own, at most 8192].")
@click.option("--adapter", "adapters", type=click.Path(path_type=Path), multiple=True, help="LoRA adapter to merge.")
@click.option("--name", help="Name of the model [default: the source folder's].")
@click.option(
    "--attention",
    type=click.Choice(["sdpa", "decomposed"]),
    default="sdpa",
    show_default=True,
    help="The iOS 18 attention op, or matmul and softmax.",
)
@click.option("--prefill-chunk", type=int, help="Tokens of a prefill call, a multiple of 8 [default: the profile's].")
@click.option("--buckets", metavar="N,N", help="Also decode and prefill that read only the first N rows of the cache.")
@click.option(
    "--embedding",
    type=click.Choice(["package", "host"]),
    default="package",
    show_default=True,
    help="Where the embedding lies; host: in a file beside the package.",
)
@click.option("--max-chunk-mb", type=float, help="Split into packages with at most so many MB of weights each.")
@click.option(
    "--layout",
    type=click.Choice(["linear", "conv"]),
    default="linear",
    show_default=True,
    help="conv: linears as 1×1 convolutions over [1, C, 1, S], for the Neural Engine.",
)
@click.option("--split-functions", is_flag=True, help="One package for each function; their weights are one file.")
@click.option(
    "--fp16-scale",
    metavar="auto|off|FACTOR",
    default="off",
    show_default=True,
    help="Make the residual stream smaller, so that fp16 does not overflow; auto measures.",
)
@click.option(
    "--jobs", type=int, help="Threads that quantise; any number gives the same [default: the cores, up to 8]."
)
@click.option(
    "--resume", is_flag=True, help="Go on behind an interrupted --resume; if interrupted, keep what is written."
)
@click.option("--force", is_flag=True, help="Replace the output folder.")
@click.option("--dry-run", is_flag=True, help="Print plan, sizes and memory, from config.json alone; write nothing.")
def command(source: Path, output: Path | None, dry_run: bool, **options: Any) -> None:
    """Convert SOURCE into a Core ML model folder.

    SOURCE is a Hugging Face folder (config.json with safetensors or PyTorch files), a GGUF file, or hf://org/name, a
    model of the Hugging Face hub, which is then downloaded. Nothing else uses the network.

    A GGUF file's codes are kept as they are unless --quantize or --recipe says otherwise.

    The folder holds model.mlpackage, manifest.json and the tokenizer's files; `lilims run` and `lilims inspect` take
    it. A model_type that is not supported is refused with the list of those that are.
    """
    options["graph"] = _graph(*(options.pop(name) for name in _GRAPH_OPTIONS))
    if cli.owns_process:
        from .._quiet import go_lean

        go_lean()
    if dry_run:
        from .convert_dry_run import show

        show(source, options)
    elif output is None:
        raise click.MissingParameter(param_hint="'-o' / '--output'", param_type="option")
    else:
        _convert(source, output, options)


def _graph(
    prefill_chunk: int | None,
    buckets: str | None,
    embedding: Any,
    max_chunk_mb: float | None,
    split_functions: bool,
    layout: Any,
) -> GraphOptions:
    from lilims.core.errors import UsageError

    from ..shapes import GraphOptions

    try:
        numbers = tuple(int(number) for number in buckets.split(",")) if buckets else ()
    except ValueError as exc:
        raise UsageError(
            f"--buckets wants numbers with commas between them, such as 512,2048, not {buckets!r}"
        ) from exc
    return GraphOptions(prefill_chunk, numbers, embedding, max_chunk_mb, split_functions, layout)


def _convert(source: Path, output: Path, options: Mapping[str, Any]) -> None:
    from lilims.core.events import Event, listening

    from ..pipeline import convert

    fallbacks: Counter[str] = Counter()
    notes: list[str] = []
    with console.progress("converting", total=1.0) as advance:
        whole = 1  # bytes of all tensors as float32

        def show(event: Event) -> None:
            nonlocal whole
            fields = event.fields
            if words := convert_reading.progress(event):
                advance(0.0, words)
            if event.name == "convert.start":
                whole = fields["bytes"]
            if event.name == "convert.tensor":
                label = f"{fields['done']} of {fields['total']} tensors, {bytes_text(fields['written'])} written"
                advance(fields["bytes"] / whole, label)
                if fields["fell_back"]:
                    fallbacks[fields["scheme"]] += 1
            if event.name == "convert.imatrix" and fields["covered"] < fields["matrices"]:
                notes.append(f"the importance matrix covers {fields['covered']} of {fields['matrices']} matrices")
            if event.name == "convert.codes_lost":
                what = f"cannot keep its {fields['source']} codes: it becomes {fields['scheme']}"
                notes.append(f"{fields['role']} {what}")
            if event.name == "convert.fp16_scale":  # what came before was made to be measured
                fallbacks.clear()
                notes[:] = [f"the residual stream is multiplied by {fields['factor']:g}"] * (fields["factor"] != 1)
            if event.name == "convert.no_tokenizer":
                notes.append("the checkpoint has no tokenizer: the model will take token ids only")
            if event.name == "convert.resumed":
                console.note(f"going on behind {fields['done']} of {fields['total']} tensors that are written")
                advance(fields["bytes"] / whole, "")
            if event.name == "convert.kept":
                console.note(f"{fields['done']} tensors are kept: the same command with --resume goes on behind them")

        with listening(show):
            done = convert(source, output, **options)
    for what, tables in (("group size does not divide the width", False), ("rows of a table do not fit", True)):
        found = {scheme: count for scheme, count in fallbacks.items() if scheme.startswith("lut") == tables}
        if found:
            taken = ", ".join(f"{count} × {scheme}" for scheme, count in found.items())
            notes.append(f"the {what} of {sum(found.values())} tensors; they became {taken}")
    for note in notes:
        console.note(f"note: {note}")
    console.result("conversion", _as_dict(done), lambda out: _draw(out, done))


def _bytes(manifest: Manifest) -> int:
    """Bytes of the folder; files of the same content, which may be links to one, count once."""
    return sum({f.sha256: f.bytes for f in manifest.files.values()}.values())


def _as_dict(done: Conversion) -> dict[str, Any]:
    manifest = done.manifest
    return {
        "folder": str(done.folder),
        "name": manifest.name,
        "architecture": manifest.architecture.model_dump(),
        "quantization": manifest.quantization.model_dump(exclude={"tensors"}),
        **({"sources": convert_codes.as_list(manifest)} if manifest.source.kind == "gguf" else {}),
        **convert_reading.as_dict(done),
        "context": manifest.context,
        "bytes": _bytes(manifest),
        "seconds": {phase: round(seconds, 3) for phase, seconds in done.seconds.items()},
    }


def _draw(out: RichConsole, done: Conversion) -> None:
    manifest = done.manifest
    size = _bytes(manifest)
    phases = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in done.seconds.items())
    out.print(f"[bold]{done.folder}[/]", highlight=False)
    out.print(
        f"  {manifest.architecture.model_type}, {manifest.architecture.parameters / 1e6:.2f} M parameters → "
        f"{manifest.quantization.scheme}, {manifest.quantization.bits_per_weight:.2f} bits per weight, "
        f"{bytes_text(size)}, context {manifest.context}"
    )
    out.print(f"  functions: {', '.join(f'{n} ({f.tokens})' for n, f in manifest.functions.items())}")
    if manifest.parts:
        out.print(f"  packages: {len(manifest.parts)}, {manifest.parts[0].package} and so on")
    if manifest.embedding:
        out.print(f"  embedding: {manifest.embedding.file}, {manifest.embedding.codes}")
    if manifest.source.kind == "gguf":
        convert_codes.draw(out, manifest)
    convert_reading.draw(out, done)
    out.print(f"  {phases}", style="dim")
    out.print(f'  next: lilims run {done.folder} "Once upon a time"', style="dim")
