"""The page: an evaluation as one HTML file without a single link to elsewhere.

Knows what stands where and how it looks. Must not know how plots are drawn. Every text that comes from outside (names,
the measured text) is escaped; there is no script on the page, and its policy forbids any.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path

from lilims.core.console import one_line
from lilims.core.files import write_atomic
from lilims.core.paths import models_dir

from ..measure import Evaluation, as_dict
from ..metrics import Mean
from ..record import comparable, quality_of
from ..sources import PackageSpec, model_folder
from . import plots
from .style import STYLE
from .tensors import by_layer, tensor_errors
from .worst import Place, worst

__all__ = ["write_report"]


def write_report(
    found: Evaluation, path: Path, *, also: Sequence[str] = (), parts: Mapping[str, Mean] | None = None
) -> None:
    """Writes the page of an evaluation.

    Args:
        parts: what each part of the model costs (`parts.divergence_by_part`), if it was measured.
        also: models whose recorded figures join the plot of bits per weight, beside those that are installed.

    Raises:
        MissingDependencyError: matplotlib is not installed.
        StorageError: the file cannot be written.
    """
    write_atomic(path, render(found, also=also, parts=parts).encode())


def render(found: Evaluation, *, also: Sequence[str] = (), parts: Mapping[str, Mean] | None = None) -> str:
    """The page as HTML."""
    sections = [
        _summary(found), _bits(found, also), *_divergence(found), *_parts(found, parts or {}), *_tensors(found),
        *_worst(found), _how(found),
    ]  # fmt: skip
    title = f"{_text(found.model.name)} on {_text(found.text.name if found.text else 'token ids')}"
    return (
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        "<meta http-equiv='Content-Security-Policy' "
        "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">"
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<meta name='color-scheme' content='light dark'><title>{title}</title><style>{STYLE}</style></head>"
        f"<body><main>{_head(found)}{''.join(sections)}</main></body></html>\n"
    )


def _head(found: Evaluation) -> str:
    manifest = found.model.manifest
    about = (
        f"{_text(manifest.architecture.model_type)}, {manifest.architecture.parameters / 1e6:.2f} M parameters, "
        f"{_text(manifest.quantization.scheme)}, {manifest.quantization.bits_per_weight:.2f} bits per weight"
    )
    return f"<header><p class='kind'>Quality report</p><h1>{_text(manifest.name)}</h1><p>{about}</p></header>"


def _summary(found: Evaluation) -> str:
    value, summary = as_dict(found), found.summary
    low, high = value["perplexity_interval"]
    cards = [("perplexity", f"{summary.perplexity:.3f}", f"95 %: {low:.3f} to {high:.3f}")]
    against = value["reference"]
    if against is not None:
        one, other = against["change_interval"]
        cards.append(("against the reference", f"{against['change']:+.2%}", f"95 %: {one:+.2%} to {other:+.2%}"))
        cards.append(("KL divergence", f"{against['divergence']:.4f}", f"± {against['divergence_error']:.4f} nats"))
        cards.append(("same most likely token", f"{against['same_top']:.1%}", f"± {against['same_top_error']:.1%}"))
    if summary.bits_per_byte is not None:
        cards.append(("bits per byte", f"{summary.bits_per_byte:.3f}", f"over {summary.bytes:,} bytes"))
    tiles = "".join(
        f"<div class='card'><p class='name'>{name}</p><p class='value'>{figure}</p><p class='note'>{note}</p></div>"
        for name, figure, note in cards
    )
    return f"<section class='cards'>{tiles}</section>"


def _bits(found: Evaluation, also: Iterable[str]) -> str:
    points, others = _points(found, also)
    shown = plots.bits_and_perplexity(points, _label(found.model))
    rows = "".join(
        f"<tr{' class=own' if name == _label(found.model) else ''}><td>{_text(name)}</td><td>{bits:.2f}</td>"
        f"<td>{value:.4f}</td></tr>"
        for name, (bits, value) in sorted(points.items(), key=lambda item: item[1][0])
    )
    note = (
        "Models that were measured on the same windows of the same text. A coarse one may be lower on one text by "
        "chance; the divergence below tells."
    )
    if not others:
        note = "Models join that were measured on the same text and are installed, or named with <code>--also</code>."
    table = f"<table><tr><th>model</th><th>bits per weight</th><th>perplexity</th></tr>{rows}</table>"
    return _section("Perplexity for the bits", note, _picture(shown) + table)


def _points(found: Evaluation, also: Iterable[str]) -> tuple[dict[str, tuple[float, float]], bool]:
    folders = sorted(models_dir().iterdir()) if models_dir().is_dir() else []
    points = {}
    if found.text is not None:
        points = comparable(quality_of(found), [*folders, *(model_folder(name) for name in also)])
    comparison = found.summary.comparison
    if isinstance(found.reference, PackageSpec) and comparison is not None:
        points[_label(found.reference)] = (_bits_of(found.reference), comparison.perplexity)
    points[_label(found.model)] = (_bits_of(found.model), found.summary.perplexity)
    return points, len(points) > 1


def _label(model: PackageSpec) -> str:
    """Models of one checkpoint often have one name; their folders have not."""
    return model.folder.resolve().name


def _bits_of(model: PackageSpec) -> float:
    return model.manifest.quantization.bits_per_weight


def _divergence(found: Evaluation) -> list[str]:
    comparison = found.summary.comparison
    by_position = plots.divergence_by_position(found.curve)
    if comparison is None:
        return [_section("Over the window", "The mean loss at each position of a window.", _picture(by_position))]
    rows = (
        ("mean", f"{comparison.divergence.value:.5f} ± {comparison.divergence.error:.5f}"),
        ("median", f"{comparison.divergence_median:.5f}"),
        ("99 %", f"{comparison.divergence_p99:.5f}"),
        ("largest", f"{comparison.divergence_max:.5f}"),
        ("difference of logits, RMS", f"{comparison.logits_rms:.4f}"),
    )
    table = "<table>" + "".join(f"<tr><td>{name}</td><td>{value}</td></tr>" for name, value in rows) + "</table>"
    note = (
        "KL(reference ‖ model), in nats: how differently the two predict a token. It moves where perplexity, which a "
        "change may also lower by chance, stands still."
    )
    spread = plots.divergences(found.scores.divergence)
    return [
        _section("Divergence", note, _picture(spread) + table),
        _section("Over the window", "The mean divergence at each position of a window.", _picture(by_position)),
    ]


def _parts(found: Evaluation, parts: Mapping[str, Mean]) -> list[str]:
    comparison = found.summary.comparison
    if not parts or comparison is None:
        return []
    total = sum(one.value for one in parts.values())
    note = (
        "KL(reference ‖ reference with this one layer as the model has it), in nats. "
        f"Together {total:.5f}; the whole model is at {comparison.divergence.value:.5f} on all windows."
    )
    return [_section("Divergence by layer", note, _picture(plots.parts(parts)))]


def _tensors(found: Evaluation) -> list[str]:
    if not isinstance(found.reference, PackageSpec):
        return []
    errors = tensor_errors(found.model.folder, found.reference.folder)
    if not errors:
        return []
    layers, roles, table = by_layer(errors)
    picture = _picture(plots.tensors(layers, roles, table)) if layers else ""
    highest = sorted(errors.items(), key=lambda item: -item[1])[:8]
    schemes = found.model.manifest.quantization.tensors
    rows = "".join(
        f"<tr><td>{_text(name)}</td><td>{_text(schemes[name].scheme)}</td><td>{schemes[name].bits:.2f}</td>"
        f"<td>{error:.2%}</td></tr>"
        for name, error in highest
    )
    head = "<tr><th>the furthest</th><th>scheme</th><th>bits</th><th>error</th></tr>"
    note = "‖w − w<sub>ref</sub>‖ / ‖w<sub>ref</sub>‖ of every matrix, stored against the reference's, in percent."
    return [_section("Error per tensor", note, f"{picture}<table>{head}{rows}</table>")]


def _worst(found: Evaluation) -> list[str]:
    tokenizer = found.model.tokenizer()
    if tokenizer is None:
        return []
    places = worst(found, tokenizer)
    compared = found.summary.comparison is not None
    note = (
        "The tokens on which the model is furthest from the reference, each in its context." if compared
        else "The tokens that surprise the model most, each in its context."
    )  # fmt: skip
    return [_section("Worst places", note, "".join(_place(place) for place in places))]


def _place(place: Place) -> str:
    def chance(nll: float | None) -> str:
        share = math.exp(-(nll or 0.0))
        return f"{share:.2%}" if share >= 1e-4 else f"{share:.0e}"

    figures = [f"token {place.at:,}", f"p {chance(place.nll)}"]
    if place.divergence is not None:
        figures += [f"reference's p {chance(place.reference_nll)}", f"KL {place.divergence:.3f}"]
    return (
        f"<figure class='place'><blockquote>{_text(place.before, lines=True)}"
        f"<mark>{_text(place.token, lines=True)}</mark>"
        f"<span class='after'>{_text(place.after, lines=True)}</span></blockquote>"
        f"<figcaption>{' · '.join(figures)}</figcaption></figure>"
    )


def _how(found: Evaluation) -> str:
    windowing, summary = found.windowing, found.summary
    cut = {
        "llama.cpp": "do not overlap; the tokens behind the first half count, as in llama.cpp's perplexity tool",
        "strided": f"begin every {windowing.stride} tokens; each token counts once, as in Hugging Face's guide",
        "all": "do not overlap; every token but the first of each counts",
    }[windowing.kind]
    rows = [
        ("text", f"{_text(found.text.name)}, SHA-256 <code>{found.text.sha256}</code>" if found.text else "token ids"),
        ("windows", f"{len(found.windows)} of {windowing.size} tokens, which {cut}"),
        ("tokens that count", f"{summary.tokens:,}"),
        ("arithmetic", "float32 on the package's stored weights, by the portable executor"),
        ("model", f"<code>{found.model.sha256}</code>"),
    ]
    if found.reference is not None:
        rows.append(
            (
                "reference",
                f"{_text(found.reference.name)} ({found.reference.kind}) <code>{found.reference.sha256}</code>",
            )
        )
    versions = ", ".join(f"{_text(k)} {_text(v)}" for k, v in found.model.versions.items() if k != "threads")
    rows.append(("made by", versions))
    body = "".join(f"<dt>{name}</dt><dd>{value}</dd>" for name, value in rows)
    note = "Errors are standard errors, and intervals ± 1.96 of them, with tokens taken as independent."
    return _section("How it was measured", note, f"<dl>{body}</dl>")


def _section(title: str, note: str, body: str) -> str:
    return f"<section><h2>{title}</h2><p>{note}</p>{body}</section>"


def _picture(plot: plots.Plot) -> str:
    return (
        f"<picture><source media='(prefers-color-scheme: dark)' srcset='{plot.dark}'>"
        f"<img src='{plot.light}' width='{plot.width}' alt='{_text(plot.alt)}'></picture>"
    )


def _text(text: str, *, lines: bool = False) -> str:
    """Text from outside: no markup and no control characters; `lines` shows its breaks."""
    if not lines:
        return escape(one_line(text))
    shown = "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)
    return escape(shown).replace("\n", "<span class='break'>⏎</span> ")
