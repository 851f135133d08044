"""Gives a model another context length without converting it again: only shapes change, the weights stay.

Knows a model folder and its manifest. Must not know which numbers in a program are rows (reshape.py).
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lilims.core import manifest as m
from lilims.core.errors import ContractError, ManifestError, OutputExistsError, UsageError
from lilims.core.events import emit
from lilims.core.files import new_directory, sha256_file
from lilims.core.integrity import verify_files

from ..shapes import round_up

__all__ = ["Retargeted", "retarget"]

_MULTIPLE = 32
_SPEC = "Data/com.apple.CoreML/model.mlmodel"
_LINKED = 1 << 20  # bytes; smaller files are copied


@dataclass(frozen=True)
class Retargeted:
    """The folder that was made, its manifest, and what the context was before."""

    folder: Path
    manifest: m.Manifest
    before: int


def retarget(model: str | Path, context: int, out: str | Path | None = None, *, force: bool = False) -> Retargeted:
    """Makes a model folder with another context from one that `convert` made.

    The programs are those that a conversion with this context and the model's prefill chunk gives, byte for byte.
    Weights are hard links to the model's where the file system has them, else copies.

    Args:
        model: the model folder.
        context: tokens that the KV cache is to hold.
        out: the folder to make, complete or not at all; None replaces the model itself, which takes `force`.
        force: replace `out` if it is a model.

    Raises:
        UsageError: the context is outside the model's positions, below its prefill chunk or one of its buckets.
        ManifestError, IntegrityError: it is no model folder, or was changed.
        ContractError: its program is not one that `convert` makes.
        StorageError: the output exists (OutputExistsError), or cannot be written.
        MissingDependencyError: coremltools is not installed (there is none for Windows).
    """
    from ..pipeline import require_coremltools

    folder = Path(model)
    if not (folder / m.FILE_NAME).is_file():
        raise ManifestError("is no model folder: it has no manifest.json", where=folder, hint="name the model's folder")
    target = folder if out is None else Path(out)
    _check_target(folder, target, force)
    require_coremltools()
    manifest = m.read_manifest(folder)
    verify_files(folder, manifest, verify="auto")
    rows = _rows(folder, manifest, context)
    with new_directory(target, force=force) as made:
        _copy(folder, made, manifest)
        changed = _manifest(manifest, context, rows)
        records = dict(manifest.files)
        for part in manifest.packages():
            name = f"{part.package}/{_SPEC}"
            _reshape(made / name, manifest, changed)
            records[name] = m.FileRecord(bytes=(made / name).stat().st_size, sha256=sha256_file(made / name))
        changed = changed.model_copy(update={"files": records})
        m.write_manifest(made, changed)
        _check(made, changed)
    emit("retarget.done", name=manifest.name, before=manifest.context, context=context)
    return Retargeted(target, changed, manifest.context)


def _check_target(folder: Path, target: Path, force: bool) -> None:
    if target.resolve() == folder.resolve():
        if not force:
            raise UsageError("this would replace the model", hint="choose another folder with -o, or add --force")
    elif force and target.is_dir() and any(target.iterdir()) and not (target / m.FILE_NAME).exists():
        raise OutputExistsError(
            "exists and is no model folder, so --force does not replace it", where=target, hint="choose another -o"
        )
    elif folder.resolve().is_relative_to(target.resolve()) or target.resolve().is_relative_to(folder.resolve()):
        raise UsageError(f"{str(target)!r} and the model lie in each other", hint="choose another -o")


def _rows(folder: Path, manifest: m.Manifest, context: int) -> int:
    """The rows of the state: the context and one chunk of scratch, as `plan_shapes` has it."""
    most = _positions(folder, manifest)
    if not 1 <= context <= most:
        raise UsageError(f"--context {context} is outside the model's {most} positions", hint=f"choose 1 to {most}")
    old, chunk = manifest.state.shape[2], max(function.tokens for function in manifest.functions.values())
    if old != round_up(manifest.context + chunk, _MULTIPLE):
        raise ContractError(
            f"a state of {old} rows is not what convert makes for a context of {manifest.context}",
            where=folder,
            hint="convert the model again",
        )
    if chunk > round_up(context, _MULTIPLE):
        raise UsageError(
            f"--context {context} is below the model's prefill chunk of {chunk} tokens",
            hint=f"choose {chunk} or more, or convert the model again",
        )
    buckets = [function.rows for function in manifest.functions.values() if function.rows != old]
    if buckets and max(buckets) >= context:
        raise UsageError(
            f"--context {context} is not above the model's bucket of {max(buckets)} rows",
            hint="choose more, or convert the model again with other --buckets",
        )
    return round_up(context + chunk, _MULTIPLE)


def _positions(folder: Path, manifest: m.Manifest) -> int:
    """Positions of the model, from its package; one that does not say so may only shrink."""
    from lilims.runtime.portable.package import Package

    about = Package(folder / manifest.package).spec.description.metadata.userDefined
    said = str(about.get("lilims.max_positions", ""))
    if said.isascii() and said.isdigit() and len(said) < 12:
        return int(said)
    return manifest.positions.learned or manifest.context


def _manifest(manifest: m.Manifest, context: int, rows: int) -> m.Manifest:
    pairs, heads, old, width = manifest.state.shape
    functions = {
        name: function.model_copy(update={"rows": rows if function.rows == old else function.rows})
        for name, function in manifest.functions.items()
    }
    state = manifest.state.model_copy(update={"shape": [pairs, heads, rows, width]})
    return manifest.model_copy(update={"context": context, "functions": functions, "state": state, "quality": []})


def _copy(folder: Path, made: Path, manifest: m.Manifest) -> None:
    """The files that the manifest lists: large ones linked, for they are never written again."""
    for name in manifest.files:
        source, target = folder / name, made / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.stat().st_size >= _LINKED or name.endswith("weight.bin"):
            try:
                os.link(source.resolve(), target)
                continue
            except OSError:  # no links here, or another file system
                pass
        shutil.copyfile(source, target)


def _reshape(path: Path, before: m.Manifest, after: m.Manifest) -> None:
    """Writes a package's specification anew with the rows of `after`."""
    from .._quiet import quiet_coremltools
    from .program import reshape

    with quiet_coremltools():
        from coremltools.proto import Model_pb2

    spec: Any = Model_pb2.Model()
    spec.ParseFromString(path.read_bytes())
    reshape(spec, before.state.shape[2], after.state.shape[2], where=path)
    spec.description.metadata.userDefined.update(
        {
            "lilims.context": str(after.context),
            "lilims.rows": str(after.state.shape[2]),
            "lilims.function_rows": json.dumps(
                {name: f.rows for name, f in after.functions.items() if name in spec.mlProgram.functions}
            ),
        }
    )
    path.unlink()  # it may be a link to the model's own
    path.write_bytes(spec.SerializeToString(deterministic=True))


def _check(folder: Path, manifest: m.Manifest) -> None:
    """The result keeps the contract, or it never appears."""
    from lilims.runtime import contract

    contract.check_model(folder, manifest)
