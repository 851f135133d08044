"""Bring a model from a path, a server or the hub.

Knows options and what is said. Must not know how a model is brought.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from lilims.core import cli
from lilims.core.console import bytes_text, console

from .shared import safe

if TYPE_CHECKING:
    from rich.console import Console as RichConsole

    from ..pulling import Pulled

__all__ = ["command"]

_EPILOG = "Examples: lilims pull https://example.org/tiny/   ·   lilims pull hf:org/name --quantize int8 --as mine"


@cli.command("pull", epilog=_EPILOG)
@click.argument("source", required=False)
@click.option("-m", "--model", metavar="SOURCE", help="The same as SOURCE.")
@click.option("--as", "name", metavar="NAME", help="The name to install it by [default: the model's own].")
@click.option(
    "--quantize", metavar="SCHEME", help="Where a checkpoint is converted: int4, int8, fp16 … [default: int4]."
)
@click.option("--sha256", metavar="HASH", help="The SHA-256 that the manifest, or the archive, must have.")
@click.option("--key", metavar="KEY", help="The public key that the model must be signed with.")
@click.option("--force", is_flag=True, help="Replace another model of that name and version.")
@click.option("--allow-private", is_flag=True, help="Also ask addresses inside private networks.")
@click.option("--jobs", type=click.IntRange(1, 32), default=4, show_default=True, help="Files to fetch at once.")
@click.option("--dry-run", is_flag=True, help="Say what would be done; write nothing.")
def command(
    source: str | None,
    model: str | None,
    name: str | None,
    quantize: str | None,
    sha256: str | None,
    key: str | None,
    force: bool,
    allow_private: bool,
    jobs: int,
    dry_run: bool,
) -> None:
    """Installs the model that SOURCE names.

    SOURCE is a path (a model folder, a package, an archive, a checkpoint), https://… (the folder of a manifest.json, or
    an archive), or hf:org/name[/FILE][@REVISION], a model of the Hugging Face hub. Checkpoints are converted.

    Files are compared with their recorded hashes as they arrive. What an interrupted pull has fetched is kept: the same
    command goes on.
    """
    from ..condition import problem
    from ..pulling import Wishes, pull
    from .pull_progress import drawn

    with drawn() as progress:
        wishes = Wishes(
            name=name,
            quantize=quantize,
            force=force,
            sha256=_hash(sha256, "--sha256"),
            key=_hash(key, "--key"),
            private=allow_private,
            jobs=jobs,
            dry_run=dry_run,
            progress=progress,
        )
        done = pull(_source(source, model), wishes)
    cannot_run = None if done.installed is None else problem(done.installed)
    value = {"dry_run": dry_run, **done.as_dict(), "problem": cannot_run}
    console.result("pull", value, lambda out: _draw(out, done, value))
    if cannot_run:
        console.note(f"it cannot run here: {cannot_run}")


def _source(source: str | None, model: str | None) -> str:
    if source and model:
        raise click.UsageError(f"the model is named twice: {source!r} and -m {model!r}")
    if not (source or model):
        raise click.UsageError("no source: name a path, https://…, or hf:org/name")
    return str(source or model)


def _hash(text: str | None, option: str) -> str | None:
    import re

    if text is None:
        return None
    found = text.lower().removeprefix("sha256:")
    if not re.fullmatch(r"[0-9a-f]{64}", found):
        raise click.UsageError(f"{option} takes 64 hexadecimal digits")
    return found


_WORDS = {"copy": "copied", "download": "downloaded", "import": "imported", "convert": "converted"}


def _draw(out: RichConsole, done: Pulled, value: dict[str, Any]) -> None:
    size = "" if done.bytes is None else f", {bytes_text(done.bytes)}"
    if done.action == "none":
        out.print(f"{safe(done.model or '')} is installed already{size}")
    elif not value["dry_run"]:
        out.print(f"installed {safe(done.model or '')}{size}, {_WORDS[done.action]} from {safe(done.source)}")
    else:
        out.print(f"would {done.action} {safe(done.model or done.source)}{size}")
        for item in done.items:
            there = f", {bytes_text(item.there)} of it are there" if item.there else ""
            whole = "size unknown" if item.bytes is None else bytes_text(item.bytes)
            out.print(f"  {safe(item.name)}  [dim]{whole}{there}[/]")
        if done.missing is not None:
            out.print(f"{bytes_text(done.missing)} to {done.action}")
