"""PyTorch state dicts: read as safetensors are, and refused where reading would run code. Parity alone needs torch."""

from __future__ import annotations

import json
import pickle
import shutil
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lilims.conversion.sources.checkpoint import open_checkpoint
from lilims.conversion.sources.pytorch import PyTorchFile
from lilims.core.errors import CheckpointError, LilimsError, MissingDependencyError, UnsupportedModelError


def archive(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as out:
        for name, data in members.items():
            out.writestr(name, data)
    return path


def calling(name: str, argument: int = 1 << 33) -> dict[str, bytes]:
    """An archive whose pickle calls module.name with a number: b"c" names, b"K.." gives, b"R" calls."""
    module, _, attribute = name.rpartition(".")
    raw = pickle.dumps(argument, protocol=2)[2:-1]
    return {"a/data.pkl": f"\x80\x02c{module}\n{attribute}\n".encode("latin-1") + raw + b"\x85R.", "a/version": b"3"}


LIKE_TORCH = {"archive/data.pkl": pickle.dumps({}), "archive/version": b"3\n"}


def _cut(path: Path) -> None:
    archive(path, LIKE_TORCH)
    path.write_bytes(path.read_bytes()[:-9])


BAD: dict[str, tuple[Callable[[Path], object], type[LilimsError], str]] = {
    "bare pickle": (
        lambda p: p.write_bytes(pickle.dumps({"w": [1.0]})),
        UnsupportedModelError,
        "a bare pickle",
    ),
    "empty": (lambda p: p.write_bytes(b""), UnsupportedModelError, "a bare pickle"),
    "not there": (lambda p: None, CheckpointError, "cannot be read"),
    "cut off": (_cut, CheckpointError, "no table of contents"),
    "torchscript": (
        lambda p: archive(p, {**LIKE_TORCH, "archive/code/model.py": b"", "archive/constants.pkl": b""}),
        UnsupportedModelError,
        "TorchScript",
    ),
    "no pickle": (lambda p: archive(p, {"archive/version": b"3"}), CheckpointError, "not one data.pkl"),
    "two pickles": (lambda p: archive(p, {"a/data.pkl": b"", "b/data.pkl": b""}), CheckpointError, "not one data.pkl"),
    **{
        name: (
            lambda p, name=name: archive(p, calling(name)),
            UnsupportedModelError,
            f"other than tensors .{' '.join(name.rsplit('.', 1))}",
        )
        for name in ("builtins.bytearray", "torch.FloatTensor", "torch.storage.UntypedStorage", "os.system")
    },
    "pickle that breaks off": (
        lambda p: archive(p, {"a/data.pkl": pickle.dumps({"a": 1})[:-3]}),
        CheckpointError,
        "its pickle breaks off",
    ),
    "endless pickle": (
        lambda p: archive(p, {"a/data.pkl": b"\x80\x02" + b"N0" * (1 << 20) + b"N."}),
        CheckpointError,
        "longer than a state dict's",
    ),
    "compressed": (
        lambda p: archive(p, {**LIKE_TORCH, "archive/data/0": bytes(1 << 20)}, zipfile.ZIP_DEFLATED),
        UnsupportedModelError,
        "compressed",
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_files_that_torch_never_sees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    damage, error, message = BAD[name]
    damage(tmp_path / "model.bin")
    with pytest.raises(error, match=message) as caught:
        PyTorchFile(tmp_path / "model.bin")
    assert caught.value.where == str(tmp_path / "model.bin")
    assert caught.value.hint


def test_without_torch_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingDependencyError, match="needs torch") as caught:
        PyTorchFile(archive(tmp_path / "model.bin", LIKE_TORCH))
    assert caught.value.hint == "pip install 'lilims-conversion[torch]'"


def test_safetensors_come_first(tmp_path: Path, checkpoint_of: Callable[[str], Path]) -> None:
    folder = Path(shutil.copytree(checkpoint_of("llama"), tmp_path / "llama"))
    wanted = open_checkpoint(folder).sha256
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps("never opened"))
    assert open_checkpoint(folder).sha256 == wanted


def test_several_candidates_are_named(tmp_path: Path, checkpoint_of: Callable[[str], Path]) -> None:
    folder = Path(shutil.copytree(checkpoint_of("llama"), tmp_path / "llama"))
    (folder / "model.safetensors").unlink()
    for name in ("a.pt", "b.pth", "training_args.bin", "optimizer.pt"):
        (folder / name).write_bytes(b"")
    with pytest.raises(UnsupportedModelError, match="several files that may be the weights: a.pt, b.pth$"):
        open_checkpoint(folder)


def test_a_named_file_wants_its_config(tmp_path: Path) -> None:
    archive(tmp_path / "model.pt", LIKE_TORCH)
    with pytest.raises(CheckpointError, match="config.json: no such file"):
        open_checkpoint(tmp_path / "model.pt")


def _tensors(folder: Path) -> dict[str, Any]:
    import torch

    checkpoint = open_checkpoint(folder)
    return {name: torch.from_numpy(checkpoint.tensor(name).copy()) for name in checkpoint.names}


LAYOUTS = ["pytorch_model.bin", "weights.pt", "sharded", "named", "wrapped", "bfloat16", "transposed"]


def _save(folder: Path, tensors: dict[str, Any], layout: str) -> Path:
    """Writes the tensors as a layout has them; returns what to open."""
    import torch

    (folder / "model.safetensors").unlink()
    if layout == "sharded":
        names = sorted(tensors)
        parts = {f"pytorch_model-0000{i + 1}-of-00002.bin": names[i::2] for i in range(2)}
        for file, part in parts.items():
            torch.save({name: tensors[name] for name in part}, folder / file)
        index = {"weight_map": {name: file for file, part in parts.items() for name in part}}
        (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
        return folder
    if layout == "bfloat16":
        tensors = {name: tensor.to(torch.bfloat16) for name, tensor in tensors.items()}
    if layout == "transposed":  # same values, columns next to each other in the file
        tensors = {name: t.T.contiguous().T if t.ndim == 2 else t for name, t in tensors.items()}
    saved = {"state_dict": tensors, "epoch": 3} if layout == "wrapped" else tensors
    file = folder / {"weights.pt": "weights.pt", "named": "last.pth"}.get(layout, "pytorch_model.bin")
    torch.save(saved, file)
    return file if layout == "named" else folder


@pytest.mark.parity
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_same_tensors_as_safetensors(tmp_path: Path, checkpoint_of: Callable[[str], Path], layout: str) -> None:
    import torch

    folder = Path(shutil.copytree(checkpoint_of("llama"), tmp_path / "llama"))
    tensors = _tensors(folder)
    found = open_checkpoint(_save(folder, tensors, layout))
    assert found.names == sorted(tensors)
    for name, tensor in tensors.items():
        wanted = (tensor.to(torch.bfloat16).float() if layout == "bfloat16" else tensor).numpy()
        assert found.shape(name) == wanted.shape
        np.testing.assert_array_equal(found.tensor(name), wanted, err_msg=name)
        np.testing.assert_array_equal(found.tensor(name, slice(3, 40)), wanted[3:40], err_msg=name)


@pytest.mark.parity
@pytest.mark.parametrize("model", ["llama", "gpt2"])
def test_the_same_package_as_from_safetensors(tmp_path: Path, checkpoint_of: Callable[[str], Path], model: str) -> None:
    from lilims.conversion import convert

    folder = Path(shutil.copytree(checkpoint_of(model), tmp_path / model))
    first = convert(folder, tmp_path / "first").manifest
    _save(folder, _tensors(folder), "pytorch_model.bin")
    second = convert(folder, tmp_path / "second").manifest
    assert first.files == second.files
    assert first.source.sha256 != second.source.sha256


class Trap:
    """An object whose pickle runs a program."""

    def __init__(self, touched: Path) -> None:
        self.touched = touched

    def __reduce__(self) -> Any:
        return Path.touch, (self.touched,)


@pytest.mark.parity
def test_a_pickle_that_runs_code_does_not(tmp_path: Path) -> None:
    import torch

    torch.save({"w": Trap(tmp_path / "touched")}, tmp_path / "model.bin")
    with pytest.raises(UnsupportedModelError, match="would run code when read"):
        PyTorchFile(tmp_path / "model.bin")
    assert not (tmp_path / "touched").exists()


@pytest.mark.parity
@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([1, 2], "no state dict"),
        ({}, "no state dict"),
        ({1: "x"}, "no state dict"),
        ({"w": 1.0}, "'w' is no plain tensor"),
    ],
    ids=["list", "empty", "numbers", "scalar"],
)
def test_what_is_no_state_dict(tmp_path: Path, value: Any, message: str) -> None:
    import torch

    torch.save(value, tmp_path / "model.bin")
    with pytest.raises(CheckpointError, match=message):
        PyTorchFile(tmp_path / "model.bin")


@pytest.mark.parity
@pytest.mark.parametrize("size", [1 << 40, 1 << 62], ids=["terabytes", "overflow"])
def test_a_tensor_that_claims_more_than_its_file(tmp_path: Path, size: int) -> None:
    """The size stands in the pickle; here it is raised without there being the bytes."""
    import torch

    path = tmp_path / "model.bin"
    torch.save({"w": torch.zeros(0x1234)}, path)
    with zipfile.ZipFile(path) as file:
        members = {name: file.read(name) for name in file.namelist()}
    pickled = next(name for name in members if name.endswith("data.pkl"))
    small = b"M" + (0x1234).to_bytes(2, "little")
    assert small in members[pickled]
    members[pickled] = members[pickled].replace(small, b"\x8a\x08" + size.to_bytes(8, "little"))
    archive(path, members)
    with pytest.raises(CheckpointError, match="torch cannot read it"):
        PyTorchFile(path)


@pytest.mark.parity
def test_a_tensor_that_repeats_its_storage(tmp_path: Path) -> None:
    """Strides of 0 make terabytes of four bytes; what is a view, or has two names, is read."""
    import torch

    torch.save({"w": torch.zeros(1).expand(1 << 20, 1 << 20)}, tmp_path / "model.bin")
    with pytest.raises(CheckpointError, match=r"'w' has shape \[1048576, 1048576\], more than its storage holds"):
        PyTorchFile(tmp_path / "model.bin")
    whole = torch.arange(12.0).reshape(3, 4)
    torch.save({"a": whole, "b": whole, "turned": whole.T, "part": whole[1:, ::2]}, tmp_path / "views.bin")
    found = PyTorchFile(tmp_path / "views.bin")
    np.testing.assert_array_equal(found.tensor("turned"), whole.numpy().T)
    np.testing.assert_array_equal(found.tensor("part"), whole.numpy()[1:, ::2])
    np.testing.assert_array_equal(found.tensor("a"), found.tensor("b"))


@pytest.mark.parity
def test_buffers_that_are_no_weights_are_passed_over(tmp_path: Path, checkpoint_of: Callable[[str], Path]) -> None:
    """Old checkpoints store causal masks, tables of rotary frequencies and a tied head."""
    import torch

    from lilims.conversion.prepare import prepare

    folder = Path(shutil.copytree(checkpoint_of("gpt2"), tmp_path / "gpt2"))
    tensors = _tensors(folder)
    embedding = next(tensor for name, tensor in tensors.items() if name.endswith("wte.weight"))
    tensors["transformer.h.0.attn.bias"] = torch.ones(1, 1, 8, 8, dtype=torch.bool)
    tensors["transformer.h.0.attn.masked_bias"] = torch.tensor(-1e4)
    tensors["lm_head.weight"] = embedding
    given = prepare(_save(folder, tensors, "pytorch_model.bin"))
    assert "lm_head.weight" not in given.names.values()
    with pytest.raises(CheckpointError, match="BOOL, not floating point"):
        given.checkpoint.tensor("transformer.h.0.attn.bias")
