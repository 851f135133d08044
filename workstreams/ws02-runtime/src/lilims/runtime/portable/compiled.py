"""The folder of a compiled model, `.mlmodelc`: what Core ML makes of a package, where its program is text.

Knows the layout and refuses what is no ML Program. Must not know MIL's text (mil_text/) or features
(compiled_features.py).

    model.mlmodelc/
      model.mil                the program as text; several functions, states and all
      weights/weight.bin       as in the package; named `@model_path/weights/weight.bin` in the program
      metadata.json            what Xcode shows: features, metadata, version of the specification
      coremldata.bin           Apple's own, undocumented: the model description again; not read
      analytics/coremldata.bin likewise
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lilims.core.errors import PackageError, UnsupportedError
from lilims.core.files import read_bytes, read_json

from .spec import new_message

__all__ = ["PROGRAM", "files_of", "is_compiled", "read_compiled", "refuse_other_compiled"]

PROGRAM = "model.mil"
_SUFFIX = ".mlmodelc"
_MOST_TEXT = 256 << 20
_MOST_METADATA = 16 << 20
_MOST_FILES = 1000
_LFS = "version https://git-lfs.github.com/spec/"
_HINT = "use the .mlpackage that it was compiled from"
_VERSIONS = {"CoreML5": 6, "CoreML6": 7, "CoreML7": 8, "CoreML8": 9, "CoreML9": 10}


def is_compiled(path: Path) -> bool:
    """Whether a folder is a compiled model, by its name or by what is in it."""
    return path.suffix == _SUFFIX or (path / PROGRAM).is_file() or (path / "coremldata.bin").is_file()


def refuse_other_compiled(path: Path) -> None:
    """Raises an UnsupportedError for a compiled model that is no ML Program, or is encrypted."""
    if (path / "encryptionInfo").exists():
        raise UnsupportedError("an encrypted model cannot be read", where=path, hint=_HINT)
    if (path / PROGRAM).is_file():
        return
    if (path / "model.espresso.net").exists() or (path / "model0" / "model.espresso.net").exists():
        raise UnsupportedError(
            "this is a compiled neuralNetwork (model.espresso.net), not an ML Program",
            where=path,
            hint="convert the original again with convert_to='mlprogram'",
        )
    if (path / "model0").is_dir():
        raise UnsupportedError(
            "this is a compiled pipeline of several models",
            where=path,
            hint=f"open its stages one by one, as {path.name}/model0",
        )
    raise UnsupportedError(f"this compiled model has no {PROGRAM}: it is no ML Program", where=path, hint=_HINT)


def files_of(path: Path) -> list[Path]:
    """The files of a compiled model, sorted.

    Raises:
        PackageError: there are more than any compiled model has.
    """
    found = []
    for file in path.rglob("*"):
        if file.is_file():
            found.append(file)
        if len(found) > _MOST_FILES:
            raise PackageError(f"the folder has more than {_MOST_FILES} files", where=path, hint=_HINT)
    return sorted(found)


def read_compiled(path: Path) -> Any:
    """The `Model` message (spec.py) that a compiled model stands for.

    Args:
        path: its folder.

    Raises:
        PackageError: a file is missing or damaged, or the files contradict each other.
        UnsupportedError: the text is of a version that is not known here.
    """
    from .compiled_features import describe_features
    from .mil_text import parse_program

    program = path / PROGRAM
    model = new_message("Model")
    parse_program(_text(program), where=str(program), into=model.mlProgram)
    if not model.mlProgram.functions:
        raise PackageError("the program has no function", where=program, hint=_HINT)
    metadata = _metadata(path / "metadata.json")
    describe_features(model, metadata, where=path / "metadata.json" if metadata else program)
    version = metadata.get("specificationVersion")
    opsets = [_VERSIONS.get(function.opset, 10) for function in model.mlProgram.functions.values()]
    known = isinstance(version, int) and 0 < version < 1 << 31
    model.specificationVersion = version if known else max(opsets)
    return model


def _text(path: Path) -> str:
    raw = read_bytes(path, limit=_MOST_TEXT, error=PackageError)
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise PackageError(f"not text: {exc.reason} at byte {exc.start}", where=path, hint=_HINT) from exc
    if text.startswith(_LFS):
        raise PackageError("a pointer of Git LFS, not the file", where=path, hint="fetch it: git lfs pull")
    return text


def _metadata(path: Path) -> dict[str, Any]:
    """What `metadata.json` says of the model; nothing where the file is absent."""
    if not path.exists():
        return {}
    found = read_json(path, limit=_MOST_METADATA, error=PackageError)
    first = found[0] if isinstance(found, list) and len(found) == 1 else found
    if not isinstance(first, dict):
        raise PackageError("describes no model", where=path, hint="fetch the file again, or delete it")
    kind = first.get("modelType")
    name = kind.get("name") if isinstance(kind, dict) else None
    if name is not None and name != "MLModelType_mlProgram":
        raise UnsupportedError(f"this compiled model is a {name}, not an ML Program", where=path, hint=_HINT)
    return first
