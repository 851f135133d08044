"""Find what devices are known to dislike in a package.

Knows options and how findings are shown. Must not know any rule.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lilims.core import cli
from lilims.core.console import console, one_line

if TYPE_CHECKING:
    from rich.console import Console as RichConsole

    from ..lint import Finding, Report

__all__ = ["command"]

_STYLES = {"error": "bold red", "warning": "yellow", "info": "cyan"}


def _rules(ctx: click.Context, _param: click.Parameter, value: bool) -> None:
    """Prints the table of rules instead of looking at a model."""
    if not value or ctx.resilient_parsing:
        return
    from ..lint import rules, rules_page

    if ctx.params.get("markdown"):
        console.data(rules_page(), end="")
        ctx.exit()
    fields = ("id", "severity", "device", "title", "reason", "source", "remedy")
    table = [{name: getattr(rule, name) for name in fields} for rule in rules()]
    console.result("lint_rules", {"rules": table}, _draw_rules)
    ctx.exit()


@cli.command("lint", epilog="Example: lilims lint ./tiny --text story.txt")
@click.option("--markdown", is_flag=True, is_eager=True, expose_value=True, help="With --rules: docs/lint.md.")
@click.option("--rules", is_flag=True, expose_value=False, callback=_rules, help="List the rules.")
@cli.model_argument
@click.option("--text", type=click.Path(path_type=Path), help="UTF-8 text to run on, instead of random tokens.")
@click.option("--ignore", metavar="ID", multiple=True, help="Leave a rule out; may be given several times.")
@click.option("--strict", is_flag=True, help="Warnings are errors.")
def command(model: str, text: Path | None, ignore: tuple[str, ...], strict: bool, markdown: bool) -> None:
    """What devices are known to dislike in MODEL, a model folder or any ML Program package, and what to do.

    Exit code 1 where there is an error. A decoder is also run on some tokens, each result rounded to fp16.
    """
    from lilims.core.locate import locate

    from ..evaluation.texts import decoded
    from ..lint import lint

    words = decoded(text) if text else None
    report = lint(locate(model), text=words, ignore=ignore, strict=strict)
    console.result("lint", _as_dict(report), lambda out: _draw(out, report))
    if report.count("error"):
        click.get_current_context().exit(1)


def _as_dict(report: Report) -> dict[str, Any]:
    return {
        "path": str(report.path),
        "findings": [finding.as_dict() for finding in report.findings],
        "errors": report.count("error"),
        "warnings": report.count("warning"),
        "checked": list(report.checked),
        "skipped": report.skipped,
    }


def _draw(out: RichConsole, report: Report) -> None:
    several = len({finding.package for finding in report.findings}) > 1
    for finding in report.findings:
        _draw_finding(out, finding, several)
    for id_, why in report.skipped.items():
        out.print(f"[dim]{id_} was left out: {_text(why)}[/]")
    errors, warnings = report.count("error"), report.count("warning")
    if report.findings:
        out.print(f"{_plural(errors, 'error')}, {_plural(warnings, 'warning')}, {len(report.checked)} rules")
    else:
        out.print(f"[green]nothing found[/], {len(report.checked)} rules")


def _draw_finding(out: RichConsole, finding: Finding, several: bool) -> None:
    style = _STYLES[finding.severity]
    places = [finding.package] if several else []
    places += [", ".join(finding.functions)] if finding.functions else []
    places += [finding.op] if finding.op else []
    place = f"  [dim]{_text(' / '.join(places))}[/]" if places else ""
    out.print(f"[{style}]{finding.severity}[/] [bold]{finding.rule.id}[/] {_text(finding.rule.title)}{place}")
    out.print(f"    {_text(finding.message)}")
    out.print(f"    [dim]why[/]  {_text(finding.rule.reason)}")
    out.print(f"    [dim]do[/]   {_text(finding.rule.remedy)}")
    out.print(f"    [dim]from[/] {_text(finding.rule.source)}")
    out.print()


def _draw_rules(out: RichConsole) -> None:
    from rich import box
    from rich.table import Table

    from ..lint import rules

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("rule", "severity", "device", "what"):
        table.add_column(column)
    for rule in rules():
        severity = f"[{_STYLES[rule.severity]}]{rule.severity}[/]"
        table.add_row(rule.id, severity, rule.device or "", _text(rule.title))
    out.print(table)


def _plural(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def _text(text: str) -> str:
    """Text from outside for a line: no control characters, no markup."""
    from rich.markup import escape

    return escape(one_line(text))
