"""Pieces of tensors: made on threads, written in order, few at a time; the bytes do not depend on how many threads."""

from __future__ import annotations

import hashlib
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lilims.conversion import convert
from lilims.conversion.quantize import parse_scheme, quantize
from lilims.conversion.stored import Dense
from lilims.conversion.weights import tensors as weights
from lilims.conversion.weights.placing import outline, parts_of, place
from lilims.conversion.weights.streaming import AHEAD, Piece, Tensor, ordered
from lilims.conversion.weights.weight_file import WeightFile
from lilims.core.errors import UsageError
from lilims.core.events import Event, listening
from lilims.runtime.portable.blob import BlobFile

from .conftest import MODELS

SCHEMES = ["fp16", "int4", "int4-asym", "int8-channel", "lut3-r8", "lut4"]


def dense(value: int) -> Dense:
    return Dense(np.full((2, 2), value, np.float16))


@pytest.mark.parametrize("jobs", [1, 2, 5])
def test_pieces_come_in_order_and_few_are_ahead(jobs: int) -> None:
    given, most = 0, 0
    taken = 0

    def pieces() -> Iterator[Piece]:
        nonlocal given
        for index in range(40):
            given += 1
            yield Piece(Tensor("t", (80, 2)), 4, lambda index=index: dense(index))

    for _, made in ordered(pieces(), jobs):
        assert made.values[0, 0] == taken  # type: ignore[union-attr]
        taken += 1
        most = max(most, given - taken)
    assert taken == 40
    assert most <= 2 * jobs + 1


def test_large_pieces_wait_for_each_other() -> None:
    at_work, most, lock = 0, 0, threading.Lock()

    def make() -> Dense:
        nonlocal at_work, most
        with lock:
            at_work += 1
            most = max(most, at_work)
        threading.Event().wait(0.01)
        with lock:
            at_work -= 1
        return dense(0)

    assert len(list(ordered((Piece(Tensor("t", (2, 2)), AHEAD, make) for _ in range(6)), 4))) == 6
    assert most == 1


def test_a_failing_piece_ends_it() -> None:
    def fails() -> Dense:
        raise ValueError("the third")

    pieces = [Piece(Tensor("t", (2, 2)), 4, fails if i == 2 else lambda: dense(1)) for i in range(9)]
    seen = []

    def collect() -> None:
        for piece, _ in ordered(pieces, 3):
            seen.append(piece)

    with pytest.raises(ValueError, match="the third"):
        collect()
    assert seen == pieces[:2]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_tensor_in_pieces_is_the_tensor(tmp_path: Path, scheme: str) -> None:
    values = np.random.default_rng(1).standard_normal((96, 64)).astype(np.float32)
    wanted = parse_scheme(scheme, 32)
    whole = quantize(values, wanted, name="t")
    steps = 96 if scheme == "lut4" else 32  # one table for all rows cannot be cut
    with WeightFile(tmp_path / "w") as file:
        cut = (quantize(values[i : i + steps], wanted, name="t") for i in range(0, 96, steps))
        placed = place(file, 96, cut)
        file.finish()
    assert (placed.form.label, placed.form.bits, placed.form.shape) == (whole.label, whole.bits, whole.shape)
    read = BlobFile(tmp_path / "w")
    for name, (dtype, array) in parts_of(whole).items():
        part = placed.parts[name]
        assert (part.dtype, part.shape) == (dtype, array.shape)
        assert part.offset is not None
        np.testing.assert_array_equal(read.array(part.offset, dtype, part.shape), array)


def test_an_outline_has_no_memory() -> None:
    form = outline(quantize(np.ones((32, 64), np.float32), parse_scheme("int4", 32), name="t"), 1 << 20)
    assert form.shape == (1 << 20, 64)
    assert all(array.strides == (0, 0) for _, array in parts_of(form).values())


def test_a_constant_of_few_elements_is_kept_in_the_program(tmp_path: Path) -> None:
    with WeightFile(tmp_path / "w") as file:
        placed = place(file, 2, [quantize(np.ones((2, 64), np.float32), parse_scheme("int4", 32), name="t")])
    scale = placed.parts["scale"]
    assert scale.offset is None
    assert scale.values is not None
    assert scale.values.shape == (2, 2)


def digest(folder: Path) -> dict[str, str]:
    files = (p for p in folder.rglob("*") if p.is_file())
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


@pytest.mark.skipif(sys.platform == "win32", reason="coremltools 9 has no Windows build")
@pytest.mark.parametrize("name", ["llama", "gpt_neox", "gpt2", "cohere"])
def test_neither_threads_nor_the_size_of_pieces_change_a_byte(
    checkpoint_of: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """gpt_neox reads rows head by head, cohere in another order, gpt2 columns."""
    convert(checkpoint_of(name), tmp_path / "1", name="m", jobs=1)
    convert(checkpoint_of(name), tmp_path / "3", name="m", jobs=3)
    monkeypatch.setattr(weights, "PIECE", 1)  # as small as they get: 32 rows
    convert(checkpoint_of(name), tmp_path / "small", name="m", jobs=2)
    assert digest(tmp_path / "1") == digest(tmp_path / "3") == digest(tmp_path / "small")


@pytest.mark.skipif(sys.platform == "win32", reason="coremltools 9 has no Windows build")
def test_progress_adds_up(checkpoint_of: Callable[[str], Path], tmp_path: Path) -> None:
    heard: list[Event] = []
    with listening(heard.append):
        convert(checkpoint_of("llama"), tmp_path / "out", jobs=2)
    (start,) = (e.fields for e in heard if e.name == "convert.start")
    tensors = [e.fields for e in heard if e.name == "convert.tensor"]
    assert [t["done"] for t in tensors] == list(range(1, len(tensors) + 1))
    assert {t["total"] for t in tensors} == {len(tensors)}
    written = [t["written"] for t in tensors]
    assert written == sorted(written)
    assert start["bytes"] <= sum(t["bytes"] for t in tensors) <= 1.5 * start["bytes"]  # padding is counted
    assert tensors[-1]["eta"] == 0
    assert all(t["eta"] >= 0 for t in tensors)


@pytest.mark.parametrize("jobs", [0, 65])
def test_a_number_of_threads_that_makes_no_sense(tmp_path: Path, jobs: int) -> None:
    with pytest.raises(UsageError, match=f"--jobs must be 1 to 64, not {jobs}"):
        convert(tmp_path, tmp_path / "out", jobs=jobs)


def test_no_more_of_a_checkpoint_is_read_than_a_piece(
    checkpoint_of: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lilims.conversion.sources.checkpoint import Checkpoint

    sizes: list[int] = []
    read = Checkpoint.tensor

    def noted(self: Checkpoint, name: str, rows: slice | None = None) -> Any:
        values = read(self, name, rows)
        sizes.append(len(values))
        return values

    monkeypatch.setattr(Checkpoint, "tensor", noted)
    monkeypatch.setattr(weights, "PIECE", 1)
    convert(checkpoint_of("llama"), tmp_path / "out", jobs=1)
    assert max(sizes) == 32 < MODELS["llama"]["config"]["vocab_size"]


@pytest.mark.skipif(sys.platform == "win32", reason="coremltools 9 has no Windows build")
def test_a_constant_that_is_computed_from_weights_is_refused() -> None:
    """The values are not in memory: a placeholder must not end in a package."""
    from lilims.conversion._quiet import quiet_coremltools

    with quiet_coremltools(), WeightFile(None) as file:
        import coremltools as ct
        from coremltools.converters.mil import Builder as mb
        from coremltools.converters.mil.mil import Function, Program, types

        from lilims.conversion.emit.bank import Bank
        from lilims.conversion.emit.export import export

        placed = place(file, 16, [Dense(np.ones(16, np.float16))])
        program = Program()
        with Function({"x": mb.placeholder((16,), dtype=types.fp16)}, opset_version=ct.target.iOS18) as function:
            doubled = mb.const(val=Bank({"norm": placed}).use("norm").val * np.float16(2), name="doubled")
            function.set_outputs([mb.mul(x=function.inputs["x"], y=doubled)])
        program.add_function("main", function)
        with pytest.raises(ValueError, match="doubled was computed from weights"):
            export(program, [], file)
