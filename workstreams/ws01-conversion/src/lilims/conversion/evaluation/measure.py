"""A model measured on a text: everything that `lilims eval` does but printing.

Knows the order of the work. Must not know formulas, files or processes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lilims.core.errors import TokenizerError, UsageError

from ..workers import crew
from . import cache
from .metrics import Bin, Scores, Summary, by_position, summarise
from .runner import Work, run, score_window, usual_jobs
from .sources import Logits, PackageSpec, Spec, find, ids_sha256, key, model_folder
from .texts import Text, read_text, spelled_bytes
from .windows import USUAL, Kind, Window, Windowing, plan

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lilims.tokenizer import Tokenizer

__all__ = ["Evaluation", "Perplexity", "Scorer", "evaluate", "evaluate_ids", "perplexity"]


@dataclass(frozen=True)
class Evaluation:
    """What was measured, on what, against what.

    Attributes:
        model: the model that was measured.
        reference: what it was compared with, or None.
        text: the text; None where token ids were given.
        windowing: how it was cut.
        windows: the windows.
        scores: figures of every token that counts, in the text's order.
        summary: their summary.
        curve: means over positions in a window.
        shelf: where the reference's logits are kept.
    """

    model: PackageSpec
    reference: Spec | None
    text: Text | None
    windowing: Windowing
    windows: list[Window] = field(repr=False)
    scores: Scores = field(repr=False)
    summary: Summary
    curve: list[Bin] = field(repr=False)
    shelf: cache.Shelf | None = field(default=None, repr=False)

    @property
    def ids_sha256(self) -> str:
        """The hash of the windows: what every model sees that is measured on the same."""
        flat = [n for window in self.windows for n in (window.start, window.first, len(window.ids), *window.ids)]
        return ids_sha256(flat)


def evaluate(
    model: str | Path,
    text: str | Text,
    *,
    reference: str | Path | Spec | None = None,
    context: int | None = None,
    stride: int | None = None,
    windows: int | None = None,
    parse_special: bool = False,
    jobs: int | None = None,
    dask: str | None = None,
    threads: int = 1,
    cache_bytes: int = cache.LIMIT,
) -> Evaluation:
    """Measures a model on a text, in float32 arithmetic, through the package's own `score` function.

    Args:
        model: a model folder, the package in it, or an installed model's name.
        text: `builtin`, `wikitext2`, `tinystories`, a file, or a `Text`.
        reference: what to compare with: a package, or a Hugging Face folder, which transformers runs.
        context: tokens of a window; None is the model's context, at most 512.
        stride: windows as Hugging Face's guide has them; None is llama.cpp's way.
        windows: at most so many; None is all.
        parse_special: special tokens that the text spells out are read as such.
        jobs: processes; None is as many as cores and memory allow. The result does not depend on it.
        dask: the address of a Dask scheduler whose workers do it instead, `tcp://host:port`.
        threads: of each process.
        cache_bytes: what references' logits may take on disk, all together; 0 keeps none.

    Raises:
        ModelNotFoundError: there is no such model or reference.
        InputError: the text cannot be read, or is not UTF-8.
        UsageError: the text is shorter than a window, or the windows do not fit.
        TokenizerError: the model has no tokenizer, or the reference's reads the text otherwise.
        ExecutionError: logits are not finite; the window is named. Or the cluster fails.
        MissingDependencyError: the reference takes transformers, which is not installed.
    """
    spec = PackageSpec(model_folder(str(model)), threads)
    other = _reference(reference, threads)
    words = read_text(text) if isinstance(text, str) else text
    tokenizer = spec.tokenizer()
    if tokenizer is None:
        raise TokenizerError("the model has no tokenizer", where=spec.folder, hint="evaluate_ids takes token ids")
    special = parse_special or words.special
    ids = tokenizer.encode(words.content, parse_special=special)
    if other is not None:
        _check_tokenizers(other, words, special, ids)
    return evaluate_ids(
        spec, ids, reference=other, context=context, stride=stride, windows=windows, bos=_bos(tokenizer), jobs=jobs,
        dask=dask, cache_bytes=cache_bytes, text=words, tokenizer=tokenizer,
    )  # fmt: skip


def evaluate_ids(
    model: PackageSpec,
    ids: Sequence[int],
    *,
    reference: Spec | None = None,
    context: int | None = None,
    stride: int | None = None,
    windows: int | None = None,
    kind: Kind | None = None,
    bos: int | None = None,
    jobs: int | None = None,
    dask: str | None = None,
    cache_bytes: int = cache.LIMIT,
    text: Text | None = None,
    tokenizer: Tokenizer | None = None,
) -> Evaluation:
    """`evaluate` on token ids; `bos` is the id that begins each window (llama.cpp's way), `kind` another way to cut."""
    manifest = model.manifest
    if reference is not None and reference.vocab_size != manifest.architecture.vocab_size:
        raise UsageError(
            f"the reference's vocabulary is {reference.vocab_size}, the model's {manifest.architecture.vocab_size}",
            hint="a reference is the same model in another form",
        )
    size = _fitting(manifest.context, context)
    chosen: Kind = kind or ("strided" if stride else "llama.cpp")
    windowing = Windowing(size, chosen, stride, bos if chosen == "llama.cpp" else None)
    planned = plan(ids, windowing, limit=windows)
    work = Work(model, reference, _shelf(reference, planned, cache_bytes))
    if jobs is None and dask is None:
        jobs = usual_jobs(len(planned), _process_bytes(model, reference), _available())
    with crew(jobs=min(jobs or 1, len(planned)), dask=dask) as workers:
        scores = run(work if dask is None else work.stamped(), planned, workers=workers)
    return Evaluation(
        model=model,
        reference=reference,
        text=text,
        windowing=windowing,
        windows=planned,
        scores=scores,
        summary=summarise(scores, None if tokenizer is None else _bytes(tokenizer, ids, planned)),
        curve=by_position(scores, positions(planned)),
        shelf=work.shelf,
    )


def positions(windows: Sequence[Window]) -> NDArray[np.int64]:
    """Of every token that counts: its position in its window."""
    return np.concatenate([np.arange(window.first + 1, len(window.ids)) for window in windows])


def _reference(reference: str | Path | Spec | None, threads: int) -> Spec | None:
    if isinstance(reference, (str, Path)):
        return find(str(reference), threads=threads)
    return reference


def _fitting(longest: int, wanted: int | None) -> int:
    if wanted is not None and wanted > longest:
        raise UsageError(
            f"a window of {wanted} tokens does not fit the context of {longest}", hint="a smaller --context"
        )
    return min(longest, USUAL) if wanted is None else wanted


def _bos(tokenizer: Tokenizer) -> int | None:
    """The id that the tokenizer itself puts before a text, if it does."""
    return tokenizer.bos_id if tokenizer.bos_id is not None and tokenizer.encode("")[:1] == [tokenizer.bos_id] else None


def _check_tokenizers(reference: Spec, text: Text, special: bool, ids: Sequence[int]) -> None:
    tokenizer = reference.tokenizer()
    if tokenizer is None:
        return  # only a vocabulary of equal size can be demanded
    theirs = tokenizer.encode(text.content, parse_special=special)
    if theirs == ids:
        return
    at = next((i for i, (a, b) in enumerate(zip(ids, theirs, strict=False)) if a != b), min(len(ids), len(theirs)))
    raise TokenizerError(
        f"the model's tokenizer and the reference's read the text differently from token {at} on",
        where=reference.name,
        hint="a reference is the same model in another form, with the same tokenizer",
    )


def _shelf(reference: Spec | None, windows: Sequence[Window], limit: int) -> cache.Shelf | None:
    if reference is None or limit <= 0:
        return None
    seen = [(window.ids, window.first) for window in windows]
    name = key(reference.kind, reference.sha256, reference.versions, reference.vocab_size, seen)
    return cache.make_room(name, windows, reference.vocab_size, limit)


def _bytes(tokenizer: Tokenizer, ids: Sequence[int], windows: Sequence[Window]) -> int:
    """Bytes of the tokens that count; those that are before them in the text settle how they are spelled."""
    end = max(window.places.stop for window in windows)
    upto = [0, *accumulate(spelled_bytes(tokenizer, ids[:end]))]
    return sum(upto[window.places.stop] - upto[window.places.start] for window in windows)


def _available() -> int | None:
    from lilims.runtime.machine import available_memory

    return available_memory()


def _process_bytes(model: PackageSpec, reference: Spec | None) -> int:
    """What a process takes, roughly: float32 weights, and the libraries."""
    return (1 if reference is None else 2) * 4 * model.manifest.architecture.parameters + (200 << 20)


# -- one figure, without files or processes ----------------------------------------------------------------------------


class Scorer(Protocol):
    """What is evaluated: `lilims.runtime.Model` is one."""

    @property
    def context(self) -> int:
        """Most tokens of one window."""

    def logits(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """Logits [n, vocab] of every position of a sequence that starts on an empty state."""


@dataclass(frozen=True)
class Perplexity:
    """exp(mean negative log likelihood) over the tokens that were predicted.

    Attributes:
        value: the perplexity.
        nll: mean negative log likelihood, nats a token.
        error: standard error of `nll`, taking tokens as independent.
        tokens: predicted tokens; the first of each window is only context.
        window: tokens of a window.
    """

    value: float
    nll: float
    error: float
    tokens: int
    window: int


class Loaded:
    """A model that is open, as a source of logits."""

    def __init__(self, model: Scorer) -> None:
        self._model = model

    def rows(self, window: Window) -> Iterator[Logits]:
        yield self._model.logits(window.inputs)[window.first :]


def perplexity(model: Scorer, ids: Sequence[int], *, window: int | None = None) -> Perplexity:
    """Perplexity over `ids`, cut into windows that do not overlap; all tokens but the first of each count.

    Args:
        model: what is evaluated.
        ids: token ids of the whole text.
        window: tokens of a window; default is the smaller of the model's context and 512. The rest that does not fill
            a window is left out.

    Raises:
        UsageError: the text is shorter than a window.
        ExecutionError: the logits of a window are not finite.
    """
    from lilims.core.events import emit

    size = _fitting(model.context, window)
    windows, source, parts = plan(ids, Windowing(size, "all")), Loaded(model), []
    for part in windows:
        parts.append(score_window(part, source))
        nll = float(np.concatenate([one.nll for one in parts]).mean())
        emit("evaluate.window", done=len(parts), total=len(windows), nll=nll)
    found = summarise(Scores.joined(parts))
    return Perplexity(found.perplexity, found.nll.value, found.nll.error, found.tokens, size)


def as_dict(found: Evaluation) -> dict[str, Any]:
    """The evaluation as it stands in `--json` output."""
    summary, comparison = found.summary, found.summary.comparison
    low, high = summary.nll.interval()
    value: dict[str, Any] = {
        "model": found.model.name,
        "text": found.text.name if found.text else None,
        **found.windowing.as_dict(),
        "windows": len(found.windows),
        "tokens": summary.tokens,
        "bytes": summary.bytes,
        "perplexity": summary.perplexity,
        "perplexity_interval": [float(np.exp(low)), float(np.exp(high))],
        "nll": summary.nll.value,
        "nll_error": summary.nll.error,
        "bits_per_byte": summary.bits_per_byte,
        "by_position": [vars(one) for one in found.curve],
        "reference": None,
    }
    if found.reference is not None and comparison is not None:
        ratio = comparison.log_ratio.interval()
        value["reference"] = {
            "name": found.reference.name,
            "kind": found.reference.kind,
            "change": comparison.change,
            "change_interval": [float(np.expm1(one)) for one in ratio],
            "same_top_error": comparison.same_top.error,
            **comparison.figures(),
        }
    return value
