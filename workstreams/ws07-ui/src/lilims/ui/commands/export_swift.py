"""A Swift package and an app with the model, for iPhone, iPad and Mac.

Knows the command line and what is shown. Must not know what is written.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lilims.core import cli
from lilims.core.console import bytes_text, console, one_line

if TYPE_CHECKING:
    from rich.console import Console as RichConsole

__all__ = ["command"]


@cli.command("swift", epilog="Example: lilims export tiny --to swift -o TinyApp && open TinyApp/Lilims.xcodeproj")
@click.option("-o", "--output", metavar="DIR", required=True, type=click.Path(path_type=Path), help="The folder.")
@click.option("--app-name", metavar="NAME", default="Lilims", show_default=True, help="What people see below the icon.")
@click.option(
    "--bundle-id", metavar="ID", default="org.example.lilims", show_default=True, help="The app's identifier."
)
@click.option("--bundle", type=click.Choice(["auto", "always", "never"]), default="auto", show_default=True,
              help="Whether the model is part of the app; auto: up to 200 MB.")  # fmt: skip
@click.option("--model-only", is_flag=True, help="Only the model's folder, to be imported in an app that there is.")
@click.option("--yes", is_flag=True, help="Replace DIR, an earlier export; what is in it is lost.")
@click.option("--dry-run", is_flag=True, help="Check everything, write nothing.")
@cli.model_argument
def command(
    model: str, output: Path, app_name: str, bundle_id: str, bundle: Any, model_only: bool, yes: bool, dry_run: bool
) -> None:
    """Writes MODEL, an installed name or a model folder, as a Swift package and an Xcode project that uses it.

    Each file is compared with its recorded hash. A tokenizer or a chat template that Swift cannot follow exactly is
    refused, or said: docs/swift.md.
    """
    from lilims.core.errors import UsageError
    from lilims.core.locate import is_package
    from lilims.core.usage import hold
    from lilims.models import resolve

    from ..swift import SwiftApp, export_swift

    folder, app = resolve(model), SwiftApp(app_name, bundle_id)
    if is_package(folder):
        raise UsageError("is a package; a model folder is wanted", where=folder, hint="give the folder that it lies in")
    release = hold(folder)
    try:
        with console.progress("copying", None) as advance:
            made = export_swift(
                folder, output, app=app, bundle=bundle, model_only=model_only, replace=yes, dry_run=dry_run,
                advance=lambda count: advance(count, ""),
            )  # fmt: skip
    finally:
        release()
    value = {"target": "swift", "folder": str(made.folder), "model": str(made.model), "bundled": made.bundled,
             "bytes": made.bytes, "chat": made.chat is None, "note": made.chat, "dry_run": dry_run}  # fmt: skip
    console.result("export", value, lambda out: _draw(out, value))


def _draw(out: RichConsole, value: dict[str, Any]) -> None:
    verb = "would write" if value["dry_run"] else "wrote"
    out.print(f"{verb} {one_line(value['folder'])}", markup=False)
    place = "in the app" if value["bundled"] else "beside the app, to be imported"
    if value["model"] == value["folder"]:
        place = "to be imported"
    out.print(f"model  {bytes_text(value['bytes'])}, {place}: {one_line(value['model'])}", markup=False, soft_wrap=True)
    if value["note"]:
        out.print(f"it continues texts, no conversations: {one_line(value['note'])}", markup=False, soft_wrap=True)
