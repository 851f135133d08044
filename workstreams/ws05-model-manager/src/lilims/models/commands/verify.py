"""Compare installed models with the hashes of their manifests.

Knows what is reported. Must not know how files are hashed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from lilims.core import cli
from lilims.core.console import console

from .shared import safe

if TYPE_CHECKING:
    from rich.console import Console as RichConsole

    from ..store import Installed

__all__ = ["command"]


@cli.command("verify", epilog="Examples: lilims verify   ·   lilims verify tiny@1.2 --json")
@click.argument("models", nargs=-1, metavar="[MODEL...]")
@click.option("-m", "--model", "more", metavar="MODEL", multiple=True, help="The same as MODEL.")
@click.option("--sizes", is_flag=True, help="Compare sizes only, without reading the files.")
@click.pass_context
def command(context: click.Context, models: tuple[str, ...], more: tuple[str, ...], sizes: bool) -> None:
    """Reads every file of each MODEL, or of all installed models, and compares it with its recorded SHA-256.

    MODEL is an installed name, or a model folder. Exits with 1 if one is damaged.
    """
    names = [*models, *more]
    found = [one for name in names for one in _named(name)] if names else _all()
    results = []
    with console.progress("verifying", len(found)) as advance:
        for one in dict.fromkeys(found):
            results.append(_verify(one, sizes=sizes))
            advance(1, one.reference)
    damaged = [one for one in results if one["damage"]]
    value = {"models": results, "damaged": len(damaged)}
    console.result("verification", value, lambda out: _draw(out, results))
    context.exit(1 if damaged else 0)


def _all() -> list[Installed]:
    from ..store import all_models

    return all_models()


def _named(name: str) -> list[Installed]:
    """The installed versions of a name; a folder as it lies."""
    from pathlib import Path

    from lilims.core.locate import is_model
    from lilims.core.package_manifest import read_any

    from ..store import Installed, matching

    folder = Path(name).expanduser()
    if is_model(folder):
        manifest = read_any(folder)
        return [Installed(manifest.name, manifest.version, folder)]
    return matching(name)


def _verify(model: Installed, *, sizes: bool) -> dict[str, Any]:
    from lilims.core.errors import InputError
    from lilims.core.integrity import verify_files
    from lilims.core.package_manifest import read_any

    from ..signing import signature_state
    from ..store import unrecorded

    damage = None
    try:
        verify_files(model.folder, read_any(model.folder), verify="sizes" if sizes else "full")
    except InputError as error:
        damage = str(error)
    state, key = signature_state(model.folder)
    if state == "broken":
        damage = damage or "its signature is not one of this manifest"
    return {
        "model": model.reference, "folder": str(model.folder), "damage": damage, "signature": state, "key": key,
        "unrecorded": unrecorded(model),
    }  # fmt: skip


def _draw(out: RichConsole, results: list[dict[str, Any]]) -> None:
    for one in results:
        mark = "[red]damaged[/]" if one["damage"] else "[green]ok[/]"
        out.print(f"{mark}  {safe(one['model'])}" + (f"  {safe(one['damage'])}" if one["damage"] else ""))
        if one["signature"] == "valid":
            out.print(f"    [dim]signed with the key[/] {one['key']}")
        for name in one["unrecorded"]:
            out.print(f"    [dim]not in the manifest:[/] {safe(name)}")
    if any(one["damage"] for one in results):
        console.note("convert or pull a damaged model again, or remove it: lilims rm NAME")
