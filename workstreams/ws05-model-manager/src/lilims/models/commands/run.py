"""Continue a prompt; text streams to stdout.

Knows options and what goes to which stream. Must not know how text is generated.

stdout carries what the model writes and nothing else, so that it can be piped. On a terminal the prompt is shown before
it, dimmed, on stderr: a story reads as a whole, and `lilims run … > file` holds the continuation alone.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from lilims.core import cli
from lilims.core.console import bytes_text, console
from lilims.core.errors import UsageError

if TYPE_CHECKING:
    from lilims.runtime import Model

__all__ = ["command"]

_EPILOG = 'Examples: lilims run "Once upon a time"   ·   lilims run ./tiny "def main" -n 50 --temp 0.8 --seed 1'


@cli.command("run", epilog=_EPILOG)
@click.argument("words", nargs=-1, metavar="[MODEL] PROMPT")
@click.option("-m", "--model", metavar="MODEL", help="The same as MODEL.")
@click.option(
    "-n",
    "--max-tokens",
    type=click.IntRange(min=1),
    metavar="N",
    help="Most tokens to write [default: until the text ends or the context is full].",
)
@click.option(
    "--temp",
    "temperature",
    type=float,
    default=0.0,
    show_default=True,
    help="Temperature; 0 always takes the likeliest token.",
)
@click.option("--top-k", type=int, default=0, metavar="K", help="Draw from the K likeliest tokens only.")
@click.option("--top-p", type=float, default=1.0, metavar="P", help="Draw from the likeliest that make up share P.")
@click.option("--seed", type=int, help="Seed of the random numbers: the same seed, the same text.")
@click.option("--threads", type=click.IntRange(min=1), help="Threads of the portable executor.")
@click.option("--stats", is_flag=True, help="Print token counts, speed and memory to stderr.")
def command(words: tuple[str, ...], model: str | None, threads: int | None, stats: bool, **options: Any) -> None:
    """Continue PROMPT with MODEL: a model folder, an installed name or, left out, the built-in story model.

    PROMPT "-" is read from stdin. The continuation goes to stdout as it is written.
    """  # fmt: skip
    from lilims.runtime import load

    from ..names import resolve

    name, prompt = _model_and_prompt(words, model)
    if prompt == "-":
        prompt = _read_stdin()
    loaded = load(resolve(name), threads=threads)
    stream = loaded.generate(prompt, **options)
    if console.json:
        value = {"model": loaded.manifest.name, "executor": loaded.executor, "prompt": prompt, "text": "".join(stream)}
        console.result("generation", {**value, "statistics": loaded.stats.as_dict()})
        return
    try:
        if sys.stdout.isatty() and not console.quiet:
            console.stderr().print(prompt, style="dim", markup=False, end="")
        for text in stream:
            console.data(text, end="")
    finally:  # also after Ctrl-C: what was written ends with a line, and its figures are known
        console.data("")
        if stats:
            _print_stats(loaded)


def _model_and_prompt(words: tuple[str, ...], model: str | None) -> tuple[str | None, str]:
    """One word is the prompt; two are model and prompt.

    Raises:
        UsageError: anything else, or a model where the prompt should be.
    """
    from lilims.core.locate import installed, is_model

    usage = 'lilims run [MODEL] "PROMPT"'
    if len(words) > 2 or (len(words) == 2 and model is not None):
        extra = "the model is named twice" if len(words) == 2 else f"{len(words)} words where one or two are taken"
        raise UsageError(extra, hint=f"put the prompt in quotes: {usage}")
    if not words:
        raise UsageError("there is no prompt", hint=usage)
    if len(words) == 2:
        return words[0], words[1]
    from pathlib import Path

    if model is None and (words[0] in installed() or is_model(Path(words[0]))):
        raise UsageError(f"{words[0]!r} is a model; there is no prompt", hint=f'lilims run {words[0]} "PROMPT"')
    return model, words[0]


def _read_stdin() -> str:
    try:
        return sys.stdin.buffer.read().decode("utf-8").removesuffix("\n")
    except UnicodeDecodeError as exc:
        raise UsageError(f"stdin is not UTF-8 (byte {exc.start})", hint="convert it to UTF-8") from exc


def _print_stats(model: Model) -> None:
    figures = model.stats.as_dict()
    peak = figures["peak_rss"]
    lines = [
        f"prompt      {figures['prompt_tokens']} tokens, {figures['prefill_tokens_per_second']:.0f} tokens/s",
        f"first token {figures['time_to_first_token'] * 1000:.0f} ms",
        f"generated   {figures['generated_tokens']} tokens, {figures['decode_tokens_per_second']:.0f} tokens/s, "
        f"finished by {figures['finish_reason'] or 'interrupt'}",
        f"peak memory {bytes_text(peak) if peak else 'unknown'}",
        f"executor    {model.executor}" + ("" if figures["seed"] is None else f", seed {figures['seed']}"),
    ]
    err = console.stderr()
    for line in lines:
        err.print(line, style="dim", markup=False)
