"""An evaluation in the model's manifest, and what is recorded there of this model and of others.

Knows the manifest's records. Must not know how figures are measured. The bytes of the model are not touched, and its
`identity` does not depend on what is recorded.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from lilims.core import manifest as m
from lilims.core.locks import exclusive
from lilims.core.paths import cache_dir

from .measure import Evaluation
from .sources import key

__all__ = ["comparable", "quality_of", "record"]

_MOST = 32  # records of a model; the oldest goes


def quality_of(found: Evaluation) -> m.Quality:
    """The manifest's record of an evaluation.

    Raises:
        UsageError: it was of token ids without a text.
    """
    from lilims.core.errors import UsageError

    if found.text is None:
        raise UsageError("only what was measured on a text is recorded")
    summary = found.summary
    return m.Quality(
        text=found.text.name,
        text_sha256=found.text.sha256,
        ids=found.ids_sha256,
        model=found.model.sha256,
        windowing=found.windowing.kind,
        context=found.windowing.size,
        stride=found.windowing.stride,
        windows=len(found.windows),
        tokens=summary.tokens,
        perplexity=summary.perplexity,
        nll=summary.nll.value,
        nll_error=summary.nll.error,
        bits_per_byte=summary.bits_per_byte,
        reference=_against(found),
        tools={name: value for name, value in found.model.versions.items() if name != "threads"},
    )


def _against(found: Evaluation) -> m.QualityAgainst | None:
    comparison = found.summary.comparison
    if found.reference is None or comparison is None:
        return None
    return m.QualityAgainst(
        name=found.reference.name,
        kind="package" if found.reference.kind == "package" else "transformers",
        sha256=found.reference.sha256,
        **comparison.figures(),
    )


def record(found: Evaluation) -> m.Quality:
    """Writes an evaluation into the model's manifest, in the place of an earlier one of the same kind.

    Raises:
        StorageError: the folder cannot be written; the manifest is as it was.
    """
    quality, folder = quality_of(found), found.model.folder
    with exclusive(cache_dir() / "evaluation" / f"{key(str(folder.resolve()))[:32]}.lock"):
        manifest = m.read_manifest(folder)  # anew: another process may have recorded something
        now = m.identity(manifest)
        kept = [one for one in manifest.quality if one.model == now and _place(one) != _place(quality)]
        m.write_manifest(folder, manifest.model_copy(update={"quality": [*kept, quality][-_MOST:]}))
    return quality


def _place(quality: m.Quality) -> tuple[str, str | None]:
    return quality.ids, quality.reference.sha256 if quality.reference else None


def comparable(quality: m.Quality, folders: Iterable[Path]) -> dict[str, tuple[float, float]]:
    """Bits per weight and perplexity of models that were measured on the same windows, by their folder's name.

    Damaged folders, and figures of other bytes than the folder's own, are left out.
    """
    from lilims.core.errors import InputError

    points: dict[str, tuple[float, float]] = {}
    for folder in folders:
        try:
            manifest = m.read_manifest(folder)
        except InputError:
            continue
        now = m.identity(manifest)
        for one in manifest.quality:
            if one.ids == quality.ids and one.model == now:
                points[folder.resolve().name] = (manifest.quantization.bits_per_weight, one.perplexity)
    return points
