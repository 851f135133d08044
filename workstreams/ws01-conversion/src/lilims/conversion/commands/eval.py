"""Measure a model's perplexity on a text.

Knows options and how figures are shown. Must not know how they are computed.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from lilims.core import cli
from lilims.core.console import console

__all__ = ["command"]


@cli.command("eval", epilog="Example: lilims eval ./tiny --text story.txt")
@cli.model_argument
@click.option("--text", required=True, type=click.Path(path_type=Path), help="UTF-8 text to predict.")
@click.option("--window", type=int, help="Tokens of a window [default: the context, at most 512].")
@click.option("--parse-special", is_flag=True, help="Read special tokens in the text, such as <|endoftext|>.")
@click.option("--threads", type=int, default=None, help="Threads of the portable executor.")
def command(model: str, text: Path, window: int | None, parse_special: bool, threads: int | None) -> None:
    """Perplexity of MODEL on a text, measured on the package itself in exact arithmetic (fp32).

    The text is cut into windows that do not overlap; the rest that does not fill one is left out, as llama.cpp does.
    """
    from lilims.core.events import Event, listening
    from lilims.core.locate import locate
    from lilims.runtime import load

    from ..evaluate import perplexity

    words = read_text(text)
    loaded = load(locate(model), precision="exact", threads=threads)
    ids = loaded.tokenizer.encode(words, parse_special=parse_special)
    with console.progress("evaluating", total=1.0) as advance:

        def show(event: Event) -> None:
            if event.name == "evaluate.window":
                advance(1 / event.fields["total"], f"{event.fields['done']} of {event.fields['total']} windows")

        with listening(show):
            found = perplexity(loaded, ids, window=window)
    result: dict[str, Any] = {
        "model": loaded.manifest.name,
        "text": str(text),
        "perplexity": found.value,
        "nll": found.nll,
        "nll_error": found.error,
        "tokens": found.tokens,
        "window": found.window,
    }
    console.result(
        "evaluation",
        result,
        lambda out: out.print(
            f"perplexity [bold]{found.value:.4f}[/] ± {found.value * found.error:.4f}   "
            f"({found.tokens} tokens in windows of {found.window})"
        ),
    )


def read_text(path: Path) -> str:
    """A text file as UTF-8.

    Raises:
        InputError: absent, or not UTF-8 (the byte is named).
    """
    from lilims.core.errors import InputError

    try:
        return path.read_text("utf-8")
    except OSError as exc:
        raise InputError(f"cannot be read: {exc.strerror}", where=path, hint="check the path") from exc
    except UnicodeDecodeError as exc:
        raise InputError(f"not UTF-8 (byte {exc.start})", where=path, hint="convert it to UTF-8") from exc
