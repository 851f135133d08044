"""The options of `lilims run` and `lilims chat`, and what they mean to the runtime.

Knows click and the runtime's arguments. Must not know what is printed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from lilims.core.errors import UsageError

if TYPE_CHECKING:
    from lilims.runtime import Model
    from lilims.runtime.generation.loop import Drafter
    from lilims.runtime.sampling import Constraint

__all__ = [
    "SAMPLING",
    "answers",
    "check_options",
    "constraint_of",
    "decoded",
    "drafter_of",
    "generation_options",
    "load_model",
    "run_options",
]

F = TypeVar("F", bound=Callable[..., Any])

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_SIZE = click.IntRange(min=1)
_EXCLUSIVE = ("json_schema", "regex", "grammar")

SAMPLING = {
    "--temp": ("temperature", float, "Temperature; 0 always takes the likeliest token."),
    "--top-k": ("top_k", int, "Draw from the K likeliest tokens only; 0 is all."),
    "--top-p": ("top_p", float, "Draw from the likeliest tokens that make up share P."),
    "--min-p": ("min_p", float, "Drop tokens less likely than P times the likeliest."),
    "--typical-p": ("typical_p", float, "Draw from the most typical tokens that make up share P."),
    "--repeat-penalty": ("repetition_penalty", float, "Divide the logits of tokens that stand in the text; 1 is off."),
    "--frequency-penalty": ("frequency_penalty", float, "Lower a token's logit by this for each time it was written."),
    "--presence-penalty": ("presence_penalty", float, "Lower the logit of tokens that were written by this."),
    "--seed": ("seed", int, "Seed of the random numbers: the same seed, the same text."),
    "--logprobs": ("logprobs", click.IntRange(0, 20), "With --json: logprobs of each token and of N likeliest ones."),
}
"""Option → field of `SamplingParameters`, type, help. Left out, generation_config.json says it, else greedy."""

LOADING: dict[str, tuple[str, Any, str]] = {
    "--executor": ("executor", click.Choice(["auto", "coreml", "portable"]), "Who runs the package."),
    "--precision": ("precision", click.Choice(["fast", "exact", "fp16"]), "Of the portable executor."),
    "--compute-units": (
        "compute_units",
        click.Choice(["CPU_ONLY", "CPU_AND_GPU", "CPU_AND_NE", "ALL"]),
        "Of Core ML; default is what the package was made for.",
    ),
    "--context": ("context", _SIZE, "Most tokens of the cache, where less than the package's."),
    "--threads": ("threads", _SIZE, "Threads of the portable executor."),
}
"""Option → argument of `load`, type, help."""

TEXT: list[Callable[[F], F]] = [
    click.option("-n", "--max-tokens", type=_SIZE, metavar="N", help="Most tokens to write [default: until the end]."),
    click.option("--stop", multiple=True, metavar="TEXT", help="End before this text. May be given several times."),
    click.option("--ignore-eos", is_flag=True, help="Go on where the model would end."),
    click.option("--raw", is_flag=True, help="Continue the prompt as it is, without the model's chat template."),
    click.option("--system", metavar="TEXT", help="The system message of a chat model."),
    click.option("--think/--no-think", default=None, help="Ask a reasoning model to reason first, or not to."),
    click.option(
        "--context-policy",
        type=click.Choice(["error", "rolling", "sinks", "shift"]),
        default="error",
        show_default=True,
        help="What happens when the context is full.",
    ),
    click.option("--logit-bias", multiple=True, metavar="ID=X", help="Add X to a token's logit. May be repeated."),
]
"""Options of the text itself."""

CONSTRAINTS: list[Callable[[F], F]] = [
    click.option("--json-schema", type=_FILE, metavar="FILE", help="Write JSON that this schema allows."),
    click.option("--regex", metavar="REGEX", help="Write what this regular expression matches."),
    click.option("--grammar", type=_FILE, metavar="FILE", help="Write what this Lark grammar allows."),
]
"""What the text must be."""

RUNNING: list[Callable[[F], F]] = [
    click.option("--isolate", is_flag=True, help="Run the package in a process of its own, whose end is an error."),
    click.option(
        "--speculate", type=click.IntRange(1, 64), metavar="N", help="Draft up to N tokens from the text itself."
    ),
    click.option("--draft-model", metavar="MODEL", help="Draft with a smaller model of the same vocabulary."),
]
"""How it is run."""


def _options(table: dict[str, tuple[str, Any, str]]) -> list[Callable[[F], F]]:
    """Options of a table, all None where they are not given."""
    return [click.option(flag, name, type=kind, help=text) for flag, (name, kind, text) in table.items()]


def run_options(function: F) -> F:
    """Gives a command all options of this file."""
    for option in reversed([*TEXT, *_options(SAMPLING), *CONSTRAINTS, *_options(LOADING), *RUNNING]):
        function = option(function)
    return function


def check_options(options: Mapping[str, Any]) -> None:
    """Refuses what can be refused before a model is loaded.

    Raises:
        UsageError: two constraints at once, or a logit bias that is none.
    """
    _logit_bias(options["logit_bias"])
    if sum(options[name] is not None for name in _EXCLUSIVE) > 1:
        raise UsageError("--json-schema, --regex and --grammar exclude each other")


def load_model(name: str | None, options: Mapping[str, Any]) -> Model:
    """The model of that name, loaded as the options say; None is the built-in one."""
    from lilims.runtime import load

    from ..names import resolve

    chosen = {field: options[field] for field, *_ in LOADING.values() if options[field] is not None}
    return load(resolve(name), isolate=options["isolate"], **chosen)


def answers(model: Model, options: Mapping[str, Any]) -> bool:
    """Whether the model answers messages: it has a chat template, and --raw does not leave it out.

    Raises:
        UsageError: it does not, and an option asks for what only a chat template can do.
    """
    chats = model.chats and not options["raw"]
    for option in ("system", "think"):
        if options[option] is not None and not chats:
            raise UsageError(f"--{option} is for models with a chat template", hint="leave it out, or leave --raw out")
    return chats


def generation_options(model: Model, options: Mapping[str, Any], drafter: Drafter | None = None) -> dict[str, Any]:
    """Arguments of `Model.generate` for one generation. A constraint is made anew for each; a drafter may be kept."""
    return {
        "max_tokens": options["max_tokens"],
        "stop": options["stop"],
        "ignore_eos": options["ignore_eos"],
        "think": options["think"],
        "constraint": constraint_of(model, options),
        "drafter": drafter or drafter_of(model, options),
        "logit_bias": _logit_bias(options["logit_bias"]),
        **{field: options[field] for field, *_ in SAMPLING.values()},
    }


def drafter_of(model: Model, options: Mapping[str, Any]) -> Drafter | None:
    """Speculative decoding, if it was asked for: from the text itself, or from a smaller model.

    Raises:
        UsageError: the smaller model has another vocabulary.
    """
    most, draft = options["speculate"], options["draft_model"]
    if most is None and draft is None:
        return None
    from lilims.runtime import load
    from lilims.runtime.speculative import ModelDraft, Speculator

    from ..names import resolve

    most = most or max(model.shape.functions.get("score", 1) - 1, 1)
    if draft is None:
        return Speculator(most=most)
    smaller = load(resolve(draft))
    if smaller.vocab_size != model.vocab_size:
        raise UsageError(
            f"the draft model has {smaller.vocab_size} tokens, the model {model.vocab_size}",
            hint="a draft model shares its model's vocabulary, such as a smaller one of the same family",
        )
    return Speculator(ModelDraft(smaller.session()), most=most)


def decoded(content: bytes, name: str) -> str:
    """Bytes of a prompt as text, without the newline that ends it.

    Raises:
        UsageError: they are not UTF-8.
    """
    try:
        return content.decode("utf-8").removesuffix("\n")
    except UnicodeDecodeError as exc:
        raise UsageError(f"{name} is not UTF-8 (byte {exc.start})", hint="convert it to UTF-8") from exc


def _logit_bias(pairs: tuple[str, ...]) -> dict[int, float] | None:
    """`ID=X` pairs as a table, None if there are none."""
    table = {}
    for pair in pairs:
        token, _, value = pair.partition("=")
        try:
            table[int(token)] = float(value)
        except ValueError as exc:
            raise UsageError(f"--logit-bias {pair!r} is not ID=X", hint="such as --logit-bias 50256=-100") from exc
    return table or None


def constraint_of(model: Model, options: Mapping[str, Any]) -> Constraint | None:
    """The constraint that was asked for.

    Raises:
        UsageError: it is not valid.
        MissingDependencyError: llguidance is not installed.
    """
    if all(options[name] is None for name in _EXCLUSIVE):
        return None
    from lilims.runtime import constrained

    ends = sorted(model.stop_ids)
    if options["json_schema"] is not None:
        return constrained.json_schema(_text(options["json_schema"]), model.tokenizer, end_ids=ends)
    if options["regex"] is not None:
        return constrained.regex(options["regex"], model.tokenizer, end_ids=ends)
    return constrained.grammar(_text(options["grammar"]), model.tokenizer, end_ids=ends)


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise UsageError(f"cannot be read: {exc}", hint="give a UTF-8 text file") from exc
