"""From what a user calls a model to the folder it lies in; the built-in one is converted when it is first asked for.

Knows names and folders. Must not know what is in a package, nor how a checkpoint is converted.

    a path        ./tiny, /models/tiny/model.mlpackage      as it is
    a name        tiny-int4                                 <models folder>/tiny-int4
    stories       the built-in model                        <models folder>/stories-int4, made from the checkpoint that
                                                            ships inside this package
"""

from __future__ import annotations

from pathlib import Path

from lilims.core.console import console
from lilims.core.errors import InputError, ModelNotFoundError
from lilims.core.locate import locate
from lilims.core.locks import exclusive
from lilims.core.paths import models_dir

__all__ = ["BUILTIN", "INSTALLED", "builtin", "builtin_checkpoint", "builtin_text", "resolve"]

BUILTIN = "stories"
"""The name of the model that comes with lilims."""
INSTALLED = "stories-int4"


def resolve(model: str | None = None) -> Path:
    """The model folder or package that `model` means; None is the built-in model.

    Raises:
        ModelNotFoundError: there is none; the hint lists what there is.
        LilimsError: the built-in model has to be converted, and that failed.
    """
    if model is None:
        return _converted()
    try:
        return locate(model)
    except ModelNotFoundError as error:
        if model == BUILTIN:  # its entry point is not registered, as in a source tree
            return _converted()
        if error.hint and error.hint.startswith("installed:"):
            error.hint += f"; built in: {BUILTIN}"
        raise


def builtin(name: str) -> Path | None:
    """The built-in model where `name` is its name: the resolver that `lilims.core.locate` finds as an entry point."""
    return _converted() if name in (BUILTIN, INSTALLED) else None


def builtin_checkpoint() -> Path:
    """The folder of the checkpoint that ships inside this package.

    Raises:
        ModelNotFoundError: this installation lacks it.
    """
    folder = Path(__file__).parent / "builtin" / BUILTIN
    if not (folder / "config.json").is_file():
        raise ModelNotFoundError(
            "the built-in model is not part of this installation", where=folder, hint="pip install lilims-models"
        )
    return folder


def builtin_text() -> Path:
    """Stories that the built-in model has not seen: `lilims eval --text builtin` finds them by this entry point."""
    return builtin_checkpoint() / "heldout.txt"


def _converted() -> Path:
    """The built-in model as int4, made now if it is absent, damaged or of another version of lilims.

    A lock makes a second process wait for the first instead of converting too.
    """
    target = models_dir() / INSTALLED
    if _is_current(target):
        return target

    def waiting() -> None:
        console.note("another process is converting the built-in model; waiting for it")

    with exclusive(models_dir() / f".{INSTALLED}.lock", waiting=waiting):
        if not _is_current(target):
            from lilims.conversion import convert

            source = builtin_checkpoint()
            console.note("converting the built-in model to int4 (once, some seconds) …")
            convert(source, target, quantize="int4", name=INSTALLED, force=True)
    return target


def _is_current(folder: Path) -> bool:
    from lilims.core import version
    from lilims.core.integrity import verify_files
    from lilims.core.manifest import read_manifest

    try:
        manifest = read_manifest(folder)
        verify_files(folder, manifest)
    except InputError:
        return False
    return manifest.tools.get("lilims") == version()
