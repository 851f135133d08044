"""Install a Core ML package that another tool made.

Knows options and what is said. Must not know what a manifest holds.
"""

from __future__ import annotations

from pathlib import Path

import click

from lilims.core import cli
from lilims.core.console import bytes_text, console

from .shared import safe

__all__ = ["command"]


@cli.command("import", epilog="Example: lilims import encoder.mlpackage --as encoder --licence MIT")
@click.argument("package", type=click.Path(path_type=Path))
@click.option("--as", "name", metavar="NAME", help="The model's name [default: the package's].")
@click.option("--version", metavar="VERSION", help="Its version, such as 1.2.0 [default: the package's own, or 1.0.0].")
@click.option("--licence", metavar="TEXT", help="Its licence [default: what the package says].")
@click.option("--force", is_flag=True, help="Replace that version.")
def command(package: Path, name: str | None, version: str | None, licence: str | None, force: bool) -> None:
    """Copies PACKAGE (.mlpackage or .mlmodelc) into the models folder, with a manifest of its functions and hashes.

    It then has a name, can be verified, exported and removed; `lilims predict` and `lilims inspect` take the name.
    """
    from ..importing import import_package

    made = import_package(package, name=name, version=version, licence=licence, force=force)
    value = {"model": made.reference, "folder": str(made.folder), "bytes": made.bytes}
    console.result(
        "import", value, lambda out: out.print(f"installed {safe(made.reference)}, {bytes_text(made.bytes)}")
    )
