"""A small checkpoint and ways to damage it (or any folder)."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Damage = Callable[[Path], object]

CONFIG: dict[str, Any] = {
    "model_type": "llama", "vocab_size": 100, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 1,
    "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 64, "eos_token_id": 2,
}  # fmt: skip


def write(folder: Path, **changes: Any) -> Path:
    """A random Llama of one layer."""
    from lilims.conversion.random_checkpoint import write_random_checkpoint

    write_random_checkpoint({**CONFIG, **changes}, folder, seed=5)
    return folder


def without(name: str) -> Damage:
    """The file is not there."""
    return lambda folder: (folder / name).unlink()


def text(name: str, content: str) -> Damage:
    """The file has another content."""
    return lambda folder: (folder / name).write_text(content)


def cut(name: str, length: int) -> Damage:
    """Only the file's first bytes arrived."""
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:length])


def overwrite(name: str, place: int, data: bytes) -> Damage:
    """Bytes in the middle of the file are others."""

    def damage(folder: Path) -> None:
        raw = bytearray((folder / name).read_bytes())
        raw[place : place + len(data)] = data
        (folder / name).write_bytes(raw)

    return damage


def both(first: Damage, second: Damage) -> Damage:
    """One after the other."""
    return lambda folder: (first(folder), second(folder))


def link(name: str, target: str) -> Damage:
    """The file is a link."""
    return lambda folder: (folder / name).symlink_to(target)


def config(**changes: Any) -> Damage:
    """Keys of config.json changed; None removes one."""

    def damage(folder: Path) -> None:
        values = {**CONFIG, **changes}
        (folder / "config.json").write_text(json.dumps({k: v for k, v in values.items() if v is not None}))

    return damage


def pickled(folder: Path) -> None:
    """The tensors lie in a pickle, which is never opened."""
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch hacked'\ntR.")


def shard(file: str) -> Damage:
    """An index that names `file`."""
    return text("model.safetensors.index.json", json.dumps({"weight_map": {"t": file}}))


# -- safetensors -------------------------------------------------------------------------------------------------------


def _read(folder: Path) -> tuple[dict[str, Any], bytes]:
    raw = (folder / "model.safetensors").read_bytes()
    length = struct.unpack("<Q", raw[:8])[0]
    return json.loads(raw[8 : 8 + length]), raw[8 + length :]


def _write(folder: Path, header: str, data: bytes) -> None:
    raw = header.encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(raw)) + raw + data)


def header_length(length: int) -> Damage:
    """The header says that it is longer than the file."""
    return overwrite("model.safetensors", 0, struct.pack("<Q", length))


def entry(name: str, **changes: Any) -> Damage:
    """One tensor's entry in the header lies."""

    def damage(folder: Path) -> None:
        header, data = _read(folder)
        header[name].update(changes)
        _write(folder, json.dumps(header), data)

    return damage


def duplicate_key(folder: Path) -> None:
    """The header has one tensor twice."""
    header, data = _read(folder)
    name, value = next(iter(header.items()))
    _write(folder, json.dumps(header)[:-1] + f", {json.dumps(name)}: {json.dumps(value)}}}", data)


def tensors(change: Callable[[dict[str, np.ndarray]], object]) -> Damage:
    """Other tensors, in a file that is as it should be."""

    def damage(folder: Path) -> None:
        header, data = _read(folder)
        arrays = {
            name: np.frombuffer(data[slice(*e["data_offsets"])], "<f4").reshape(e["shape"]).copy()
            for name, e in header.items()
        }
        change(arrays)
        written: dict[str, Any] = {}
        body = b""
        for name, array in arrays.items():
            offsets = [len(body), len(body) + array.nbytes]
            dtype = {"f": "F32", "i": "I32"}[array.dtype.kind]
            written[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": offsets}
            body += array.tobytes()
        _write(folder, json.dumps(written), body)

    return damage


# -- tokenizers --------------------------------------------------------------------------------------------------------


def tokenizer(size: int) -> Damage:
    """vocab.json and merges.txt of `size` tokens."""

    def damage(folder: Path) -> None:
        (folder / "vocab.json").write_text(json.dumps({chr(0x21 + i) if i < 94 else f"<{i}>": i for i in range(size)}))
        (folder / "merges.txt").write_text("#version: 0.2\n")

    return damage
