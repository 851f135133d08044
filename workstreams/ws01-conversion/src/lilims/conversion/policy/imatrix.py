"""Importance matrices of llama.cpp: how much each input channel of a matrix matters.

Knows both file forms and llama.cpp's tensor names. Must not know what the weights of channels are used for.
An entry is the mean, over a calibration text, of the squares of what enters a matrix, channel by channel: the weights
under which the squared error of the weights is the squared error of the outputs, correlations between channels aside.

    legacy   int32 entries, then for each: int32 length, name, int32 calls, int32 n, float32 [n] (sums over calls);
             behind them, perhaps, int32 chunks and the name of the text
    GGUF     tensors <name>.in_sum2 float32 [experts, n] and <name>.counts float32 [experts]

Source: tools/quantize/quantize.cpp of llama.cpp, `load_legacy_imatrix` and `load_imatrix`.
"""

from __future__ import annotations

import hashlib
import mmap
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lilims.core.errors import InputError
from lilims.core.events import emit

from ..gguf.header import read_header
from ..spec import DecoderSpec

__all__ = ["Imatrix", "read_imatrix"]

_MOST_BYTES = 1 << 30
_MOST_ENTRIES = 1 << 20
_LONGEST_NAME = 512
_HINT = "--imatrix takes what llama.cpp's llama-imatrix writes"

# Role, without layer and expert -> what llama.cpp calls the matrix, or the one that holds it.
_NAMES = {
    "attention.q.weight": ("attn_q", "attn_qkv"),
    "attention.k.weight": ("attn_k", "attn_qkv"),
    "attention.v.weight": ("attn_v", "attn_qkv"),
    "attention.o.weight": ("attn_output",),
    "mlp.gate.weight": ("ffn_gate", "ffn_up"),
    "mlp.up.weight": ("ffn_up",),
    "mlp.down.weight": ("ffn_down",),
    "mlp.experts.gate.weight": ("ffn_gate_exps", "ffn_gate_up_exps"),
    "mlp.experts.up.weight": ("ffn_up_exps", "ffn_gate_up_exps"),
    "mlp.experts.down.weight": ("ffn_down_exps",),
}

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Imatrix:
    """The entries of a file by llama.cpp's tensor names, float32 [experts or 1, n]."""

    path: Path
    entries: Mapping[str, Floats]
    sha256: str

    def by_role(self, spec: DecoderSpec) -> dict[str, Floats]:
        """Weights of a model's input channels, [K] with mean 1, for each matrix that the file covers.

        Emits `convert.imatrix` (covered, matrices).

        Raises:
            InputError: an entry has another length than its matrix has inputs, or none is of this model.
        """
        found: dict[str, Floats] = {}
        matrices = [(role, shape) for role, shape in spec.roles() if len(shape) == 2 and role != "positions"]
        for role, shape in matrices:
            name, expert = self._entry(role, tied=spec.tied)
            if name is not None:
                found[role] = self._weights(name, expert, shape[1])
        if not found:
            raise InputError("covers no tensor of this model", where=self.path, hint=_HINT)
        emit("convert.imatrix", covered=len(found), matrices=len(matrices))
        return found

    def _entry(self, role: str, *, tied: bool) -> tuple[str | None, int]:
        """The entry of a role, and the row of it that is the expert's."""
        expert, candidates = 0, ["output.weight"] if role == "head" else ["token_embd.weight", "output.weight"]
        if role == "embedding" and not tied:
            return None, 0  # rows are looked up, not multiplied
        if role.startswith("layers."):
            _, layer, kind = role.split(".", 2)
            if kind.startswith("mlp.experts."):
                _, _, number, part = kind.split(".", 3)
                expert, kind = int(number), f"mlp.experts.{part}"
            candidates = [f"blk.{layer}.{name}.weight" for name in _NAMES.get(kind, ())]
        return next((name for name in candidates if name in self.entries), None), expert

    def _weights(self, name: str, expert: int, width: int) -> Floats:
        entry = self.entries[name]
        if entry.size % width or entry.size // width <= expert:
            raise InputError(
                f"{name!r} has {entry.size} values, the model's matrix {width} inputs",
                where=self.path,
                hint="it was made for another model",
            )
        values = entry.reshape(-1, width)[expert].astype(np.float64)
        mean = float(values.mean())
        return (values / mean if mean > 0 else np.ones(width)).astype(np.float32)


def read_imatrix(path: Path) -> Imatrix:
    """Reads a file of either form.

    Raises:
        InputError: it is absent, cut short, or holds what no importance matrix can.
    """
    try:
        size = path.stat().st_size
        if not 4 <= size <= _MOST_BYTES:
            raise InputError(f"has {size} bytes", where=path, hint=_HINT)
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            entries = dict(_from_gguf(data, path) if data[:4] == b"GGUF" else _legacy(data, path))
            digest = hashlib.sha256(data).hexdigest()
    except OSError as exc:
        raise InputError(f"cannot be read: {exc.strerror}", where=path, hint=_HINT) from exc
    for name, values in entries.items():
        if not np.isfinite(values).all() or (values < 0).any():
            raise InputError(f"{name!r} holds values that are no mean of squares", where=path, hint=_HINT)
    return Imatrix(path, entries, digest)


def _legacy(data: mmap.mmap, path: Path) -> Iterator[tuple[str, Floats]]:
    place = 0

    def take(count: int) -> bytes:
        nonlocal place
        if count > len(data) - place:
            raise InputError("ends in the middle of an entry", where=path, hint=_HINT)
        place += count
        return data[place - count : place]

    def whole(most: int) -> int:
        (value,) = struct.unpack("<i", take(4))
        if not 0 <= value <= most:
            raise InputError(f"is no importance matrix: {value} at byte {place - 4}", where=path, hint=_HINT)
        return int(value)

    for _ in range(whole(_MOST_ENTRIES)):
        name = take(whole(_LONGEST_NAME)).decode("utf-8", "replace")
        calls = whole((1 << 31) - 1)
        values = np.frombuffer(take(4 * whole(_MOST_BYTES // 4)), "<f4").reshape(1, -1)
        yield name, _per_call(values, np.float32(calls or 1))


def _from_gguf(data: mmap.mmap, path: Path) -> Iterator[tuple[str, Floats]]:
    tensors = read_header(path).tensors

    def values(name: str) -> Floats:
        entry = tensors.get(name)
        if entry is None or entry.type != "F32":
            raise InputError(f"has no {name!r} of type F32", where=path, hint=_HINT)
        return np.frombuffer(data[entry.offset : entry.offset + entry.bytes], "<f4")

    for name in tensors:
        stem = name.removesuffix(".in_sum2")
        if stem == name:
            continue
        sums, counts = values(name), values(f"{stem}.counts")
        if not counts.size or sums.size % counts.size:
            raise InputError(f"{name!r} and its counts differ in shape", where=path, hint=_HINT)
        if not np.isfinite(counts).all():
            raise InputError(f"{name!r} was counted over no number of calls", where=path, hint=_HINT)
        calls = counts[:, None]  # an expert that was never called has no sums: all its channels count alike
        means = _per_call(sums.reshape(counts.size, -1), np.where(calls > 0, calls, 1))
        yield stem, np.where(calls > 0, means, np.float32(1))


@np.errstate(all="ignore")  # of damaged sums NaN and infinities come; `read_imatrix` refuses them by name
def _per_call(sums: Floats, calls: Floats | np.float32) -> Floats:
    return (sums / calls).astype(np.float32)
