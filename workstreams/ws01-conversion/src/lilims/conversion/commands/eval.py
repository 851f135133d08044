"""Measure how good a model is on a text.

Knows options and how figures are shown. Must not know how they are computed.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lilims.core import cli
from lilims.core.console import console, one_line

from .eval_tasks import measure_tasks, tasks_are_meant

if TYPE_CHECKING:
    from rich.console import Console as RichConsole

    from lilims.core.events import Event

    from ..evaluation.measure import Evaluation
    from ..evaluation.metrics import Mean

__all__ = ["command"]


class Share(click.ParamType):  # type: ignore[type-arg]
    """3% or 0.03."""

    name = "share"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        found = re.fullmatch(r"\s*(\d{1,6}(?:\.\d{0,9})?)\s*(%?)\s*", str(value))
        if found is None:
            self.fail(f"{value!r} is not a share such as 3% or 0.03", param, ctx)
        return float(found[1]) / (100 if found[2] else 1)


@cli.command("eval", epilog="Example: lilims eval stories --text builtin")
@cli.model_argument
@click.option("--text", metavar="TEXT", help="A UTF-8 file, builtin, wikitext2 or tinystories.")
@click.option("--reference", metavar="MODEL", help="Compare with a package in fp16, or a Hugging Face folder.")
@click.option("--context", type=int, metavar="N", help="Tokens of a window [default: the model's, at most 512].")
@click.option("--stride", type=click.IntRange(min=1), metavar="N", help="Windows every N tokens, as Hugging Face.")
@click.option("--windows", type=click.IntRange(min=1), metavar="N", help="At most N windows [default: all].")
@click.option(
    "--fail-over", type=Share(), metavar="SHARE", help="Exit code 1 if perplexity is 3% above the reference's."
)
@click.option("--report", type=click.Path(path_type=Path, dir_okay=False), help="Write a page with plots (HTML).")
@click.option("--also", multiple=True, metavar="MODEL", help="In the report: other models' recorded figures.")
@click.option("--by-layer", type=click.IntRange(min=0), metavar="N",
              help="What each layer costs, on N windows [default: 4 with --report, else 0].")  # fmt: skip
@click.option("--record/--no-record", default=True, show_default=True, help="Keep the figures in MODEL's manifest.")
@click.option("--parse-special", is_flag=True, help="Read special tokens in the text, such as <|endoftext|>.")
@click.option("--jobs", type=click.IntRange(min=1), metavar="N", help="Processes [default: as cores and memory allow].")
@click.option("--dask", metavar="ADDRESS", help="Windows on a Dask cluster's workers: tcp://host:port.")
@click.option(
    "--threads", type=click.IntRange(min=1), metavar="N", help="Of each process [default: 1; for tasks all cores]."
)
@click.option("--cache-gb", type=cli.FiniteRange(min=0), default=4.0, show_default=True,
              help="What references' logits may take on disk; 0 keeps none.")  # fmt: skip
@click.option("--tasks", metavar="NAMES", help="Instead of a text: lm-eval's tasks, such as arc_easy,hellaswag.")
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Of tasks: at most N questions of each.")
@click.option("--num-fewshot", type=click.IntRange(min=0), metavar="N", help="Of tasks: N examples before a question.")
@click.option("--task-path", type=click.Path(path_type=Path), metavar="DIR", help="Of tasks: more of them (YAML).")
def command(
    model: str,
    text: str | None,
    reference: str | None,
    context: int | None,
    stride: int | None,
    windows: int | None,
    fail_over: float | None,
    report: Path | None,
    also: tuple[str, ...],
    by_layer: int | None,
    record: bool,
    parse_special: bool,
    jobs: int | None,
    dask: str | None,
    threads: int | None,
    cache_gb: float,
    tasks: str | None,
    limit: int | None,
    num_fewshot: int | None,
    task_path: Path | None,
) -> None:
    """Perplexity of MODEL on a text, and its distance from a reference, measured on the package in float32.

    Windows are llama.cpp's: of each the tokens behind its first half count. Results do not depend on --jobs or --dask.
    """
    if tasks_are_meant(click.get_current_context()):
        measure_tasks(model, tasks or "", limit, num_fewshot, task_path, threads)
        return
    from ..evaluation.measure import as_dict, evaluate

    assert text is not None  # else tasks are meant
    _check_options(reference, fail_over, report, also, by_layer)
    _check_workers(jobs, dask)
    with console.progress("evaluating", total=1.0) as advance:
        from lilims.core.events import listening

        with listening(lambda event: _show(event, advance)):
            found = evaluate(
                model, text, reference=reference, context=context, stride=stride, windows=windows, jobs=jobs,
                dask=dask, parse_special=parse_special, threads=threads or 1, cache_bytes=round(cache_gb * (1 << 30)),
            )  # fmt: skip
    value = as_dict(found)
    over = fail_over is not None and not value["reference"]["change"] <= fail_over
    if fail_over is not None:
        value["fail_over"] = {"limit": fail_over, "passed": not over}
    value["recorded"] = record and _record(found)
    parts = _by_layer(found, by_layer, report is not None, jobs)
    if parts:
        value["by_layer"] = [{"part": name, "divergence": one.value, "error": one.error} for name, one in parts.items()]
    if report is not None:
        from ..evaluation.report.page import write_report

        write_report(found, report, also=also, parts=parts)
        value["report"] = str(report)
    console.result("evaluation", value, lambda out: _draw(out, found, value))
    if over and fail_over is not None:
        _fail(value["reference"], fail_over)


def _by_layer(found: Evaluation, windows: int | None, reported: bool, jobs: int | None) -> dict[str, Mean]:
    """What each layer costs, where that is wanted and can be said."""
    from ..evaluation.sources import PackageSpec

    count = (4 if reported else 0) if windows is None else windows
    if not count or (windows is None and not isinstance(found.reference, PackageSpec)):
        return {}
    from lilims.core.events import listening

    from ..evaluation.parts import divergence_by_part

    with console.progress("layer by layer", total=1.0) as advance:

        def show(event: Event) -> None:
            if event.name == "evaluate.part":
                advance(1 / event.fields["total"], event.fields["part"])

        with listening(show):
            return divergence_by_part(found, count, jobs=jobs)


def _check_options(
    reference: str | None, fail_over: float | None, report: Path | None, also: tuple[str, ...], by_layer: int | None
) -> None:
    from lilims.core.errors import StorageError, UsageError

    if fail_over is not None and reference is None:
        raise UsageError("--fail-over compares with a reference", hint="name one with --reference")
    if by_layer and reference is None:
        raise UsageError("--by-layer compares with a reference", hint="name a package with --reference")
    if also and report is None:
        raise UsageError("--also goes with --report")
    if report is not None:
        from ..evaluation.report.plots import require_matplotlib

        require_matplotlib()
        if not report.absolute().parent.is_dir():  # said before minutes of work
            raise StorageError("cannot be written: there is no such folder", where=report)


def _check_workers(jobs: int | None, dask: str | None) -> None:
    from lilims.core.errors import UsageError

    if dask is not None and jobs is not None:
        raise UsageError("--jobs takes processes of this machine, --dask those of a cluster", hint="name one of them")


def _show(event: Event, advance: Any) -> None:
    if event.name == "evaluate.window":
        import math

        fields = event.fields
        label = f"perplexity {math.exp(min(fields['nll'], 700)):.4f}"
        if fields.get("divergence") is not None:
            label += f", divergence {fields['divergence']:.5f}"
        advance(1 / fields["total"], f"{label}, {fields['done']} of {fields['total']} windows")


def _record(found: Evaluation) -> bool:
    """Keeps the figures; a folder that cannot be written costs a note, not the result."""
    from lilims.core.errors import StorageError

    from ..evaluation.record import record

    try:
        record(found)
    except StorageError as error:
        console.note(f"note: not recorded, {one_line(str(error))} (--no-record leaves this out)")
        return False
    return True


def _fail(reference: dict[str, Any], limit: float) -> None:
    console.stderr().print(
        f"[bold red]over:[/] the perplexity is {reference['change']:+.2%} against the reference's, "
        f"{limit:.2%} more are allowed"
    )
    click.get_current_context().exit(1)


def _draw(out: RichConsole, found: Evaluation, value: dict[str, Any]) -> None:
    from rich.table import Table

    low, high = value["perplexity_interval"]
    out.print(
        f"perplexity [bold]{value['perplexity']:.4f}[/] ± {value['perplexity'] * value['nll_error']:.4f}   "
        f"[dim]95 %: {low:.4f} to {high:.4f}[/]"
    )
    if value["bits_per_byte"] is not None:
        out.print(f"bits per byte [bold]{value['bits_per_byte']:.4f}[/]")
    cut = {"llama.cpp": "the second halves count", "strided": f"a window every {found.windowing.stride}", "all": ""}
    out.print(
        f"[dim]{value['tokens']} tokens in {value['windows']} windows of {value['context']}; "
        f"{cut[found.windowing.kind]}[/]"
    )
    for one in value.get("by_layer", []):
        out.print(f"{one['part']:<10} {one['divergence']:.5f} [dim]± {one['error']:.5f}[/]")
    against = value["reference"]
    if against is None:
        return
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    for justify in ("left", "right", "left"):
        table.add_column(justify=justify, no_wrap=True)
    change = tuple(f"{one:+.2%}" for one in against["change_interval"])
    rows = (
        ("its perplexity", f"{against['perplexity']:.4f}", ""),
        ("change", f"{against['change']:+.2%}", f"95 %: {change[0]} to {change[1]}"),
        ("ln of the ratio", f"{against['log_ratio']:+.5f}", f"± {against['log_ratio_error']:.5f}"),
        ("divergence (KL), mean", f"{against['divergence']:.5f}", f"± {against['divergence_error']:.5f} nats"),
        ("median, 99 %, most", f"{against['divergence_median']:.5f}",
         f"{against['divergence_p99']:.5f}, {against['divergence_max']:.5f}"),
        ("same most likely token", f"{against['same_top']:.2%}", f"± {against['same_top_error']:.2%}"),
        ("difference of logits, RMS", f"{against['logits_rms']:.4f}", ""),
    )  # fmt: skip
    for row in rows:
        table.add_row(*row)
    out.print(f"\nagainst [bold]{_text(against['name'])}[/] [dim]({against['kind']})[/]")
    out.print(table)


def _text(text: str) -> str:
    from rich.markup import escape

    return escape(one_line(text))
