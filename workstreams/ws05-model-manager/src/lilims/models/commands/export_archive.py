"""One tar file of a model, the same bytes on every machine, for `lilims pull`.

Knows the command line and what is shown. Must not know how the file is made.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lilims.core import cli
from lilims.core.console import bytes_text, console

from .shared import safe

if TYPE_CHECKING:
    from rich.console import Console as RichConsole

__all__ = ["command"]


@cli.command("archive", epilog="Example: lilims export tiny@1.2 --to archive -o tiny.tar")
@click.option("-o", "--output", metavar="FILE", type=click.Path(path_type=Path),
              help="The file [default: NAME-VERSION.tar, here].")  # fmt: skip
@click.option("--force", is_flag=True, help="Replace the file.")
@cli.model_argument
def command(model: str, output: Path | None, force: bool) -> None:
    """Writes MODEL, an installed name or a model folder, as a tar file, and prints its SHA-256.

    Each file is compared with its recorded hash. `lilims pull FILE` installs it; so does `lilims pull https://…/FILE`,
    and `--sha256` pins what has to arrive.
    """
    from lilims.core.errors import UsageError
    from lilims.core.locate import is_package
    from lilims.core.package_manifest import read_any
    from lilims.core.usage import hold

    from ..archive.read import is_archive
    from ..archive.write import write_archive
    from ..names import resolve

    folder = resolve(model)
    if is_package(folder):
        raise UsageError("has no manifest", where=folder, hint="`lilims import` gives it one, then export its name")
    release = hold(folder)
    manifest = read_any(folder)
    name = folder.name.partition("@")[0] if manifest.name != folder.name else manifest.name
    output = output or Path(f"{name}-{manifest.version}.tar")
    if not is_archive(output.name) or output.name.endswith(("gz", "zip")):
        raise UsageError(f"{str(output)!r} does not end in .tar", hint="-o NAME.tar")
    total = sum(record.bytes for record in manifest.files.values())
    with console.progress("writing", total) as advance:
        sha256, size = write_archive(
            folder, output, name=f"{name}-{manifest.version}", force=force, advance=lambda n: advance(n, "")
        )
    release()
    value = {"target": "archive", "model": f"{name}@{manifest.version}", "file": str(output), "sha256": sha256,
             "bytes": size}  # fmt: skip
    console.result("export", value, lambda out: _draw(out, value))


def _draw(out: RichConsole, value: dict[str, Any]) -> None:
    out.print(f"{safe(value['file'])}  [dim]{bytes_text(value['bytes'])}[/]")
    out.print(f"sha256:{value['sha256']}", soft_wrap=True)
