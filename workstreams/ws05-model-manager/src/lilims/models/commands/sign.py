"""Sign a model with an Ed25519 key, or make such a key.

Knows options and what is said. Must not know what a signature is.
"""

from __future__ import annotations

from pathlib import Path

import click

from lilims.core import cli
from lilims.core.console import console
from lilims.core.errors import UsageError

from .shared import safe

__all__ = ["command"]


@cli.command("sign", epilog="Examples: lilims sign --new-key me.pem   ·   lilims sign ./tiny --key me.pem")
@click.argument("model", required=False)
@click.option("-m", "--model", "option", metavar="MODEL", help="The same as MODEL.")
@click.option("--key", type=click.Path(path_type=Path), metavar="FILE", help="The private key.")
@click.option("--new-key", type=click.Path(path_type=Path), metavar="FILE", help="Make a private key; nothing else.")
def command(model: str | None, option: str | None, key: Path | None, new_key: Path | None) -> None:
    """Signs MODEL, a model folder or an installed name: writes manifest.json.sig beside its manifest.

    Every file is compared with its recorded hash first. Give others the public key that is printed:
    `lilims pull --key` then installs the model only if it is signed with it.
    """
    from lilims.core.locate import is_package

    from .. import signing
    from ..names import resolve

    name = model or option
    if model and option:
        raise UsageError("the model is named twice")
    if new_key is not None:
        if name or key:
            raise UsageError("--new-key goes alone")
        value = {"model": None, "file": str(new_key), "public_key": signing.new_key(new_key)}
    elif not (name and key):
        raise UsageError("a model and --key are needed", hint="lilims sign --new-key FILE makes a key")
    else:
        folder = resolve(name)
        if is_package(folder):
            raise UsageError("has no manifest", where=folder, hint="`lilims import` gives it one")
        value = {"model": name, "file": str(folder / "manifest.json.sig"), "public_key": signing.sign(folder, key)}
    words = "wrote the private key" if value["model"] is None else "signed:"
    text = f"{words} {safe(str(value['file']))}\npublic key {value['public_key']}"
    console.result("signature", value, lambda out: out.print(text))
