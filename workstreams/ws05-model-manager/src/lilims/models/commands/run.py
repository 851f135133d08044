"""Continue a prompt, or answer it; text streams to stdout.

Knows what goes to which stream. Must not know how text is generated.

stdout carries what the model writes and nothing else, so that it can be piped. On a terminal the prompt is shown before
it, dimmed, on stderr: a story reads as a whole, and `lilims run … > file` holds the continuation alone. So is the
reasoning of a reasoning model.
"""

from __future__ import annotations

import sys
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lilims.core import cli
from lilims.core.console import bytes_text, console
from lilims.core.errors import UsageError

from .run_options import answers, check_options, decoded, generation_options, load_model, run_options

if TYPE_CHECKING:
    from lilims.runtime import Generation, Model, Token

__all__ = ["command"]

_EPILOG = 'Examples: lilims run "Once upon a time"   ·   lilims run ./tiny "def main" -n 50 --temp 0.8 --seed 1'


@cli.command("run", epilog=_EPILOG)
@click.argument("words", nargs=-1, metavar="[MODEL] PROMPT")
@click.option("-m", "--model", metavar="MODEL", help="The same as MODEL.")
@click.option(
    "-f", "--file", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Read the prompt from a file."
)
@run_options
@click.option("--stats", is_flag=True, help="Print token counts, speed and memory to stderr.")
@click.option(
    "--trace", type=click.Path(path_type=Path), metavar="FILE", help="Write a Chrome trace of every operator."
)
def command(words: tuple[str, ...], model: str | None, file: Path | None, stats: bool, **options: Any) -> None:
    """Continue PROMPT with MODEL: a model folder, an installed name or, left out, the built-in story model.

    Models with a chat template answer PROMPT. PROMPT "-", or none where stdin is no terminal, is read from stdin. Text
    goes to stdout as it is written.
    """  # fmt: skip
    name, prompt = _model_and_prompt(words, model, file)
    check_options(options)
    loaded = load_model(name, options)
    with nullcontext() if options["trace"] is None else loaded.trace(options["trace"]):
        generation = _generate(loaded, prompt, options)
        if console.json:
            console.result("generation", _as_json(loaded, prompt, generation, options["logprobs"] is not None))
            return
        try:
            _show(generation, prompt)
        finally:  # also after Ctrl-C: what was written ends with a line, and its figures are known
            console.data("")
            if stats:
                _print_stats(loaded)


def _show(generation: Generation, prompt: str) -> None:
    """Text to stdout as it comes; on a terminal the prompt before it, and reasoning, to stderr."""
    if sys.stdout.isatty() and not console.quiet:
        console.stderr().print(prompt, style="dim", markup=False, end="")
    for token in generation:
        if token.reasoning and not console.quiet:
            console.stderr().print(token.reasoning, style="dim italic", markup=False, end="")
        if token.text:
            console.data(token.text, end="")


def _generate(model: Model, prompt: str, options: dict[str, Any]) -> Generation:
    messages: list[dict[str, Any]] = [{"role": "user", "content": prompt}]
    if options["system"] is not None:
        messages.insert(0, {"role": "system", "content": options["system"]})
    chats = answers(model, options)
    session = model.session(options["context_policy"])
    return model.generate(messages if chats else prompt, session=session, **generation_options(model, options))


def _model_and_prompt(words: tuple[str, ...], model: str | None, file: Path | None) -> tuple[str | None, str]:
    """One word is the prompt; two are model and prompt. With a file it is the model alone, and so it is with a pipe.

    Raises:
        UsageError: anything else, or a model where the prompt should be.
    """
    from lilims.core.locate import is_installed, is_model

    usage = 'lilims run [MODEL] "PROMPT"'
    if file is not None:
        words = (*words, decoded(file.read_bytes(), str(file)))
    if len(words) > 2 or (len(words) == 2 and model is not None):
        extra = "the model is named twice" if len(words) == 2 else f"{len(words)} words where one or two are taken"
        raise UsageError(extra, hint=f"put the prompt in quotes: {usage}")
    alone = len(words) == 1 and model is None and file is None and (is_installed(words[0]) or is_model(Path(words[0])))
    if not words or alone:
        words = (
            *words,
            _piped(f"{words[0]!r} is a model; there is no prompt" if words else "there is no prompt", usage),
        )
    prompt = decoded(sys.stdin.buffer.read(), "stdin") if words[-1] == "-" and file is None else words[-1]
    return (words[0], prompt) if len(words) == 2 else (model, prompt)


def _piped(otherwise: str, usage: str) -> str:
    """What another program writes into this one.

    Raises:
        UsageError: there is none, or nothing comes.
    """
    text = ""
    if sys.stdin is not None and not sys.stdin.isatty():
        with suppress(OSError):  # closed
            text = decoded(sys.stdin.buffer.read(), "stdin")
    if not text:
        raise UsageError(otherwise, hint=usage)
    return text


def _as_json(model: Model, prompt: str, generation: Generation, logprobs: bool) -> dict[str, Any]:
    tokens = list(generation)
    value: dict[str, Any] = {
        "model": model.manifest.name,
        "executor": model.executor,
        "prompt": prompt,
        "text": "".join(token.text for token in tokens),
        "reasoning": "".join(token.reasoning for token in tokens),
        "statistics": model.stats.as_dict(),
    }
    return value | {"tokens": [_token(token) for token in tokens]} if logprobs else value


def _token(token: Token) -> dict[str, Any]:
    top = [{"id": other, "logprob": logprob} for other, logprob in token.top_logprobs]
    return {"id": token.id, "text": token.text, "logprob": token.logprob, "top_logprobs": top}


def _print_stats(model: Model) -> None:
    figures = model.stats.as_dict()
    peak = figures["peak_rss"]
    reused = f", {figures['reused_tokens']} of them from the cache" if figures["reused_tokens"] else ""
    drafts = f", {figures['accepted_tokens']} of {figures['drafted_tokens']} drafted ones accepted"
    lines = [
        f"prompt      {figures['prompt_tokens']} tokens, {figures['prefill_tokens_per_second']:.0f} tokens/s{reused}",
        f"first token {figures['time_to_first_token'] * 1000:.0f} ms",
        f"generated   {figures['generated_tokens']} tokens, {figures['decode_tokens_per_second']:.0f} tokens/s, "
        f"finished by {figures['finish_reason'] or 'interrupt'}" + (drafts if figures["drafted_tokens"] else ""),
        f"peak memory {bytes_text(peak) if peak else 'unknown'}",
        f"executor    {model.executor}" + ("" if figures["seed"] is None else f", seed {figures['seed']}"),
    ]
    err = console.stderr()
    for line in lines:
        err.print(line, style="dim", markup=False)
