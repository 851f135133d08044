"""Convert the built-in model, measure it, and let it tell a story.

Knows the steps of the walk and how they are drawn. Must not know how any of them works.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from lilims.core import cli
from lilims.core.console import bytes_text, console

if TYPE_CHECKING:
    from rich.console import Console as RichConsole
    from rich.table import Table

    from lilims.conversion import Conversion
    from lilims.core.manifest import Manifest

__all__ = ["Measured", "command"]

Scheme = Literal["fp16", "int4"]
_PROMPT = "Once upon a time"
_WINDOW = 512  # tokens of an evaluation window
_SPEED_TOKENS = 100  # tokens over which decoding is timed


@dataclass(frozen=True)
class Measured:
    """What was made and measured for one scheme. Bytes are of the package, seconds of the conversion."""

    scheme: str
    seconds: float
    package_bytes: int
    bits_per_weight: float
    perplexity: float
    scored_tokens: int
    tokens_per_second: float


@cli.command("demo", epilog='Afterwards: lilims run "Once upon a time" --temp 0.8 --stats')
@click.option("--prompt", default=_PROMPT, show_default=True, help="How the story begins.")
@click.option("--seed", type=int, default=1, show_default=True, help="Seed of the story.")
@click.option(
    "--windows",
    type=click.IntRange(min=1),
    default=8,
    show_default=True,
    help="Windows of 512 held-out tokens that perplexity is measured on.",
)
def command(prompt: str, seed: int, windows: int) -> None:
    """A walk through lilims: convert the built-in model to fp16 and int4, measure both packages, stream a story.

    Nothing is downloaded. The int4 model stays installed, where `lilims run` finds it.
    """  # fmt: skip
    from rich.padding import Padding

    from lilims.core.paths import models_dir
    from lilims.runtime import load

    from ..names import INSTALLED, builtin_checkpoint

    source = builtin_checkpoint()
    quiet = console.quiet or console.json
    out = console.stderr() if quiet else console.stdout()
    if not quiet:
        _title(out, "1  Convert", "the checkpoint becomes stateful Core ML packages: no Mac, no torch")
        _given(out, source)
    with tempfile.TemporaryDirectory(prefix="lilims-demo-") as scratch:
        folders: dict[Scheme, Path] = {"fp16": Path(scratch) / "stories-fp16", "int4": models_dir() / INSTALLED}
        measured = []
        for scheme, folder in folders.items():
            done = _convert(source, folder, scheme)
            if not quiet:
                _made(out, done)
            measured.append(_measure(done, windows))
        if not quiet:
            _title(out, "2  Measure", "each package itself is run: perplexity on held-out stories, decoding speed")
            out.print(Padding(_results(measured), (0, 0, 0, 1)))
            _title(out, "3  Tell", f"{INSTALLED} continues “{prompt}”, temperature 0.8, top-k 40, seed {seed}")
        model = load(folders["int4"])
        stream = (token.text for token in model.generate(prompt, temperature=0.8, top_k=40, seed=seed))
        story = _tell(out, prompt, stream, show=not quiet)
    stats = model.stats
    if not quiet:
        out.print(
            f"\n  [dim]{stats.generated_tokens} tokens at {stats.decode_tokens_per_second:.0f} tokens/s, first after "
            f"{stats.time_to_first_token * 1000:.0f} ms, by the {model.executor} executor[/]\n"
        )
        out.print('  next: [bold]lilims run "Once upon a time" --stats[/]   or   [bold]lilims inspect stories[/]')
    value = {"packages": [asdict(m) for m in measured], "story": story, "statistics": stats.as_dict()}
    console.result("demo", value)


def _convert(source: Path, folder: Path, scheme: Scheme) -> Conversion:
    from lilims.conversion import convert
    from lilims.core.events import Event, listening
    from lilims.core.locks import exclusive

    with exclusive(folder.parent / f".{folder.name}.lock"), console.progress(f"converting to {scheme}", 1.0) as advance:

        def show(event: Event) -> None:
            if event.name == "convert.tensor":
                advance(1 / event.fields["total"], f"{event.fields['done']} of {event.fields['total']} tensors")

        with listening(show):
            return convert(source, folder, quantize=scheme, name=folder.name, force=True)


def _measure(done: Conversion, windows: int) -> Measured:
    """Perplexity in exact arithmetic, so that only the weights differ; speed as `lilims run` has it."""
    from lilims.conversion import perplexity
    from lilims.core.events import Event, listening
    from lilims.runtime import load

    from ..names import builtin_checkpoint

    manifest = done.manifest
    exact = load(done.folder, precision="exact")
    window = min(_WINDOW, exact.context)
    text = (builtin_checkpoint() / "heldout.txt").read_text("utf-8")
    ids = exact.tokenizer.encode(text, parse_special=True)[: windows * window]
    with console.progress(f"measuring {manifest.quantization.scheme}", 1.0) as advance:

        def show(event: Event) -> None:
            if event.name == "evaluate.window":
                advance(1 / event.fields["total"], "")

        with listening(show):
            found = perplexity(exact, ids, window=window)
    del exact
    fast = load(done.folder)
    for _ in fast.generate(ids[:8], max_tokens=_SPEED_TOKENS, ignore_eos=True):
        pass
    return Measured(
        scheme=manifest.quantization.scheme,
        seconds=sum(done.seconds.values()),
        package_bytes=_package_bytes(manifest),
        bits_per_weight=manifest.quantization.bits_per_weight,
        perplexity=found.value,
        scored_tokens=found.tokens,
        tokens_per_second=fast.stats.decode_tokens_per_second,
    )


def _package_bytes(manifest: Manifest) -> int:
    return sum(record.bytes for name, record in manifest.files.items() if name.startswith(f"{manifest.package}/"))


# -- drawing ---------------------------------------------------------------------------------------------------------


def _title(out: RichConsole, title: str, words: str) -> None:
    out.print(f"\n[bold cyan]{title}[/]  [dim]{words}[/]\n")


def _given(out: RichConsole, source: Path) -> None:
    """What goes in: the checkpoint's files."""
    names = ("model.safetensors", "tokenizer.json")
    files = [f"{name} {bytes_text((source / name).stat().st_size)}" for name in names if (source / name).is_file()]
    out.print(f"  [dim]from the Hugging Face folder {source.name}:[/] {', '.join(files)}")


def _made(out: RichConsole, done: Conversion) -> None:
    sizes = done.manifest.architecture
    out.print(
        f"  [green]✓[/] [bold]{done.manifest.name}[/]  {sizes.model_type}, {sizes.parameters / 1e6:.2f} M parameters, "
        f"context {done.manifest.context}, {bytes_text(_package_bytes(done.manifest))}  "
        f"[dim]{sum(done.seconds.values()):.1f} s[/]"
    )


def _results(measured: list[Measured]) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    for column in ("package", "bits per weight", "perplexity", "", "tokens/s"):
        table.add_column(column, justify="right", no_wrap=True)
    for one in measured:
        change = one.perplexity / measured[0].perplexity - 1
        table.add_row(
            f"[bold]{one.scheme}[/]",
            bytes_text(one.package_bytes),
            f"{one.bits_per_weight:.2f}",
            f"{one.perplexity:.3f}",
            "" if one is measured[0] else f"[dim]{change:+.1%}[/]",
            f"{one.tokens_per_second:.0f}",
        )
    table.caption = f"perplexity over {measured[0].scored_tokens} held-out tokens, computed in fp32"
    table.caption_justify = "left"
    return table


def _tell(out: RichConsole, prompt: str, stream: Iterator[str], *, show: bool) -> str:
    """Prints the story as it comes, wrapped at words; returns it."""
    text = prompt
    wrap = _Wrapper(out, min(out.width, 88) - 4)
    if show:
        wrap.write(prompt, "bold")
    for piece in stream:
        text += piece
        if show:
            wrap.write(piece)
    if show:
        wrap.end()
    return text


class _Wrapper:
    """Writes text as it comes, indented by two, breaking lines between words. A word appears when it is complete."""

    def __init__(self, out: RichConsole, width: int) -> None:
        self._out, self._width = out, max(width, 20)
        self._column, self._word, self._space = 0, "", False

    def write(self, piece: str, style: str | None = None) -> None:
        for character in piece:
            if character == "\n":
                self._flush(style)
                self._new_line()
            elif character == " ":
                self._flush(style)
                self._space = self._column > 0
            else:
                self._word += character
        if style:  # what follows has another style
            self._flush(style)

    def end(self) -> None:
        self._flush(None)
        self._new_line()

    def _new_line(self) -> None:
        self._out.print()
        self._column, self._space = 0, False

    def _flush(self, style: str | None) -> None:
        if not self._word:
            return
        if self._column + self._space + len(self._word) > self._width:
            self._new_line()
        before = " " if self._space else "  " if self._column == 0 else ""
        self._out.print(before + self._word, style=style, markup=False, end="")
        self._column += len(self._word) + self._space
        self._word, self._space = "", False
