"""Reads PyTorch state dicts (.bin, .pt, .pth): tensors as mapped arrays.

Knows what `torch.save` writes since 1.6: a ZIP archive, nothing compressed, with a pickle and a file for each storage
(https://docs.pytorch.org/docs/stable/notes/serialization.html). Must not know what a tensor is for.

A pickle is a program. torch reads it with `weights_only`, which runs no code from elsewhere but still makes tensors,
storages and byte arrays of any size that a pickle asks for: so the names that it calls are looked at first. Older
files, which are bare pickles, are refused before torch sees them.
"""

from __future__ import annotations

import pickletools
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lilims.core.errors import CheckpointError, MissingDependencyError, UnsupportedModelError

from .safetensors import TensorEntry

__all__ = ["PyTorchFile"]

_AGAIN = "fetch the checkpoint again, all files of it"
_SAVE = "save the model with save_pretrained(), which writes safetensors"
_PICKLE_LIMIT = 16 << 20  # bytes; names and shapes of a large model take under one million
_OPS_LIMIT = 1 << 20  # of a pickle; a tensor takes about 40
_CALLED = re.compile(  # what the pickle of a state dict names
    r"collections (OrderedDict|Counter)|(builtins|__builtin__) set|torch\.serialization _get_layout|"
    r"torch (Size|device|bool|(b?float|u?int|complex)\d+|[A-Z]\w*Storage)|"
    r"torch\._utils _rebuild_(tensor|tensor_v2|parameter|parameter_with_state)"
)
_WRAPPERS = ("state_dict", "model_state_dict", "model")  # what training programs put around a state dict
_DTYPES = {"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16"}


class PyTorchFile:
    """A state dict in a file. The data is mapped, never read as a whole.

    Raises:
        MissingDependencyError: torch is not installed.
        CheckpointError: the file is truncated, or no state dict.
        UnsupportedModelError: an old file without an archive, a TorchScript program, or one that holds other objects.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        _check_archive(path)
        self._tensors = _load(path)
        self.entries: Mapping[str, TensorEntry] = {
            name: TensorEntry(_dtype(tensor), tuple(tensor.shape), 0, tensor.nbytes)
            for name, tensor in self._tensors.items()
        }

    def tensor(self, name: str, rows: slice | None = None) -> NDArray[Any]:
        """A tensor's values, or those of some rows of it, of the file's dtype; bfloat16 as uint16, its bits."""
        import torch

        tensor = self._tensors[name] if rows is None else self._tensors[name][rows]
        if tensor.dtype == torch.bfloat16:
            bits: NDArray[Any] = tensor.contiguous().view(torch.int16).numpy().view(np.uint16)
            return bits
        values: NDArray[Any] = tensor.numpy()
        return values


def _dtype(tensor: Any) -> str:
    name = str(tensor.dtype).removeprefix("torch.")
    return _DTYPES.get(name, name.upper())


def _members(path: Path) -> list[zipfile.ZipInfo]:
    try:
        with path.open("rb") as file:
            if file.read(4) == b"PK\x03\x04":
                return zipfile.ZipFile(file).infolist()
    except zipfile.BadZipFile as exc:
        raise CheckpointError(
            "truncated or damaged: its archive has no table of contents", where=path, hint=_AGAIN
        ) from exc
    except (OSError, ValueError) as exc:  # ValueError: a name from an index with a zero byte
        raise CheckpointError(f"cannot be read: {getattr(exc, 'strerror', exc)}", where=path, hint=_AGAIN) from exc
    raise UnsupportedModelError(
        "is no archive as torch.save() writes since PyTorch 1.6; a bare pickle is not read", where=path, hint=_SAVE
    )


def _check_archive(path: Path) -> None:
    """Looks at the archive's table of contents, so that torch gets no file that it would unpack or run."""
    members = _members(path)
    if any("/code/" in member.filename or member.filename.endswith("/constants.pkl") for member in members):
        raise UnsupportedModelError("is a TorchScript program, not a state dict", where=path, hint=_SAVE)
    pickles = [member for member in members if member.filename.endswith("/data.pkl")]
    if len(pickles) != 1 or pickles[0].file_size > _PICKLE_LIMIT:
        raise CheckpointError("is no archive of torch.save(): it has not one data.pkl", where=path, hint=_AGAIN)
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise UnsupportedModelError("is a compressed archive, which cannot be mapped", where=path, hint=_SAVE)
    try:
        with zipfile.ZipFile(path) as file:
            raw = file.read(pickles[0])
    except (zipfile.BadZipFile, OSError, EOFError, ValueError, NotImplementedError, RuntimeError) as exc:
        raise CheckpointError(f"damaged: {str(exc)[:80]}", where=path, hint=_AGAIN) from exc
    _check_pickle(path, raw)


def _check_pickle(path: Path, raw: bytes) -> None:
    """Refuses a pickle that calls anything but what makes tensors of an archive's storages."""
    called: set[str] = set()
    try:
        for count, (op, argument, _) in enumerate(pickletools.genops(raw)):
            if count > _OPS_LIMIT:
                raise CheckpointError("its pickle is longer than a state dict's", where=path, hint=_SAVE)
            if op.name in ("GLOBAL", "INST"):
                called.add(str(argument))
            elif op.name == "STACK_GLOBAL":
                called.add(op.name)
    except (ValueError, IndexError, OverflowError) as exc:
        raise CheckpointError(f"damaged: its pickle breaks off ({str(exc)[:80]})", where=path, hint=_AGAIN) from exc
    if strange := sorted(name for name in called if not _CALLED.fullmatch(name)):
        raise UnsupportedModelError(
            f"holds objects other than tensors ({strange[0]:.60}), which would run code when read",
            where=path,
            hint=_SAVE,
        )


def _load(path: Path) -> dict[str, Any]:
    try:
        import torch
    except ImportError as exc:
        raise MissingDependencyError(
            f"{path.name} is PyTorch's, and reading it needs torch", hint="pip install 'lilims-conversion[torch]'"
        ) from exc
    from pickle import UnpicklingError

    try:
        found = torch.load(path, weights_only=True, mmap=True, map_location="cpu")
    except UnpicklingError as exc:
        raise UnsupportedModelError(
            "holds objects other than tensors, which would run code when read", where=path, hint=_SAVE
        ) from exc
    except Exception as exc:  # torch's C++ and Python raise all sorts at damaged bytes
        reason = str(exc).split("\n", 1)[0][:120]
        raise CheckpointError(f"damaged: torch cannot read it ({reason})", where=path, hint=_AGAIN) from exc
    if isinstance(found, dict):
        inner = [found[key] for key in _WRAPPERS if isinstance(found.get(key), dict)]
        found = inner[0] if inner else found
    if not isinstance(found, dict) or not found or not all(isinstance(name, str) for name in found):
        raise CheckpointError("is no state dict: it has no tensors by name", where=path, hint=_SAVE)
    for name, value in found.items():
        if not isinstance(value, torch.Tensor) or value.layout != torch.strided or value.device.type != "cpu":
            raise CheckpointError(f"{name[:80]!r} is no plain tensor", where=path, hint=_SAVE)
        if value.nbytes > value.untyped_storage().nbytes():  # strides of 0: the same bytes many times
            raise CheckpointError(
                f"{name[:80]!r} has shape {str(list(value.shape))[:80]}, more than its storage holds",
                where=path,
                hint=_SAVE,
            )
    return {name: value.detach() for name, value in found.items()}
