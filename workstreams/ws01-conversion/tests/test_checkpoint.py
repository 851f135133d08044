"""Checkpoint folders: single, sharded, and wrong in every way that a download can be."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lilims.conversion.sources.checkpoint import open_checkpoint
from lilims.core.errors import CheckpointError, LilimsError, UnsupportedModelError

from .test_safetensors import write


@pytest.fixture
def folder(checkpoint_of: Callable[[str], Path], tmp_path: Path) -> Path:
    """A copy of a good checkpoint, to be damaged."""
    return Path(shutil.copytree(checkpoint_of("llama"), tmp_path / "llama"))


def shard(folder: Path) -> None:
    """Splits model.safetensors in two, with an index."""
    checkpoint = open_checkpoint(folder)
    names = checkpoint.names
    weight_map = {}
    for index, part in enumerate((names[::2], names[1::2])):
        header: dict[str, Any] = {}
        data = b""
        for name in part:
            raw = checkpoint.tensor(name).tobytes()
            header[name] = {
                "dtype": "F32",
                "shape": checkpoint.shape(name),
                "data_offsets": [len(data), len(data) + len(raw)],
            }
            data += raw
            weight_map[name] = f"part-{index}.safetensors"
        write(folder / f"part-{index}.safetensors", header, data)
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


def test_shards_hold_the_same_tensors_as_one_file(folder: Path, checkpoint_of: Callable[[str], Path]) -> None:
    shard(folder)
    single, sharded = open_checkpoint(checkpoint_of("llama")), open_checkpoint(folder)
    assert sharded.names == single.names
    for name in single.names:
        np.testing.assert_array_equal(sharded.tensor(name), single.tensor(name), err_msg=name)


def test_the_hash_changes_with_any_file(folder: Path) -> None:
    before = open_checkpoint(folder).sha256
    raw = bytearray((folder / "model.safetensors").read_bytes())
    raw[-1] ^= 1
    (folder / "model.safetensors").write_bytes(raw)
    assert open_checkpoint(folder).sha256 != before


def _index(weight_map: Any) -> Callable[[Path], object]:
    return lambda f: (f / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


DAMAGE: dict[str, tuple[Callable[[Path], object], type[LilimsError], str]] = {
    "no config": (lambda f: (f / "config.json").unlink(), CheckpointError, "no such file"),
    "config is a list": (lambda f: (f / "config.json").write_text("[]"), CheckpointError, "not a JSON object"),
    "config is cut off": (lambda f: (f / "config.json").write_text('{"a": '), CheckpointError, "not valid JSON"),
    "config has a key twice": (lambda f: (f / "config.json").write_text('{"a":1,"a":2}'), CheckpointError, "twice"),
    "no tensors": (lambda f: (f / "model.safetensors").unlink(), CheckpointError, "holds neither"),
    "tensors cut off": (
        lambda f: (f / "model.safetensors").write_bytes((f / "model.safetensors").read_bytes()[:-9]),
        CheckpointError,
        "outside the file",
    ),
    "index without a map": (_index(None), CheckpointError, "no weight_map"),
    "index leaves the folder": (_index({"t": "../model.safetensors"}), CheckpointError, "outside its folder"),
    "index names a lost shard": (_index({"t": "lost.safetensors"}), CheckpointError, "cannot be read"),
    "index with a zero byte": (_index({"t": "a\0b"}), CheckpointError, "cannot be read: embedded null byte"),
    "index names a lost tensor": (_index({"lost": "model.safetensors"}), CheckpointError, "'lost' is not in"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_folders(folder: Path, name: str) -> None:
    damage, error, message = DAMAGE[name]
    damage(folder)
    with pytest.raises(error, match=message) as caught:
        open_checkpoint(folder)
    assert caught.value.where is not None
    assert str(folder) in caught.value.where


def test_a_file_is_refused_with_the_way_out(folder: Path) -> None:
    with pytest.raises(UnsupportedModelError, match="is a file"):
        open_checkpoint(folder / "config.json")


def test_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such folder"):
        open_checkpoint(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("dtype", "raw", "message"),
    [
        ("F32", np.array([1, np.nan], "<f4").tobytes(), "'t' holds NaN"),
        ("F16", np.array([1, np.inf], "<f2").tobytes(), "'t' holds NaN or infinite"),
        ("I32", bytes(8), "'t' is I32, not floating point"),
    ],
    ids=["nan", "infinite", "integer"],
)
def test_values_that_are_no_weights(folder: Path, dtype: str, raw: bytes, message: str) -> None:
    write(folder / "model.safetensors", {"t": {"dtype": dtype, "shape": [2], "data_offsets": [0, len(raw)]}}, raw)
    with pytest.raises(CheckpointError, match=message):
        open_checkpoint(folder).tensor("t")
