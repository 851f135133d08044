"""Graphs and packed weights kept between processes: found again, checked, made again, bounded, deleted."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from lilims.core.errors import ExecutionError, StorageError
from lilims.runtime.portable import MLModel, runnable, session
from lilims.runtime.portable.cache import Cache, optimised, packing, settings_cache
from lilims.runtime.portable.cache.entry import entry_key
from lilims.runtime.portable.cache.store import Store, checksum
from lilims.runtime.portable.session import open_session

LIMIT = 1 << 30
X = np.random.default_rng(0).normal(size=(1, 2, 256)).astype(np.float32)


@pytest.fixture
def package(ct: Any, mb: Any, save: Callable[..., Path]) -> Path:
    """Two products with one int4 and one fp16 matrix, large enough to lie outside the graph."""
    from coremltools.converters.mil.mil import types

    rng = np.random.default_rng(1)
    codes = rng.integers(-8, 8, (512, 256)).astype(types.nptype_from_builtin(types.int4))
    scale = rng.uniform(0.01, 0.02, (512, 8)).astype(np.float16)
    dense = rng.normal(size=(256, 512)).astype(np.float16) / 16

    @mb.program(input_specs=[mb.TensorSpec((1, 2, 256), types.fp16)], opset_version=ct.target.iOS18)
    def program(x: Any) -> Any:
        weight = mb.constexpr_blockwise_shift_scale(data=codes, scale=scale)
        return mb.linear(x=mb.linear(x=x, weight=weight), weight=dense, name="y")

    return save(main=program)


def opened(package: Path, folder: Path, identity: str = "a", limit: int = LIMIT, **options: Any) -> MLModel:
    return MLModel(package, cache=Cache(folder, identity, limit), threads=1, **options)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def run(model: MLModel) -> np.ndarray:
    found: np.ndarray = model.predict({"x": X})["y"]
    return found


def entries(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.exists() else []


@pytest.mark.parametrize("precision", ["fast", "exact"])
def test_kept_and_found_again(package: Path, folder: Path, precision: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = run(MLModel(package, precision=precision, threads=1))
    assert np.array_equal(run(opened(package, folder, precision=precision)), wanted)
    (entry,) = entries(folder)
    assert sorted(path.name for path in entry.iterdir()) == ["0.onnx", "0.weights", "entry.json"]

    def never(*_: Any) -> Any:
        raise AssertionError("the program was read again")

    monkeypatch.setattr(runnable, "read_program", never)
    monkeypatch.setattr(runnable, "write_entry", never)
    again = opened(package, folder, precision=precision)
    assert np.array_equal(run(again), wanted)
    assert again.input_description.keys() == {"x"}


def test_weights_are_kept_as_kernels_pack_them(package: Path, folder: Path) -> None:
    opened(package, folder)
    (entry,) = entries(folder)
    model = onnx.load_model(str(entry / "0.onnx"), load_external_data=False)
    keys = [e.value.split("+")[0] for t in model.graph.initializer for e in t.external_data if "prepacked" in e.key]
    assert sorted(keys) == ["MatMul", "MatMulNBits"]


@pytest.fixture
def gated(ct: Any, mb: Any, save: Callable[..., Path]) -> Path:
    """A product, x · sigmoid(x), for which ONNX Runtime has an op, and an external tensor that is no matrix."""
    from coremltools.converters.mil.mil import types

    rng = np.random.default_rng(2)
    dense, added = (rng.normal(size=(256, 256)).astype(np.float16) / 16 for _ in range(2))

    @mb.program(input_specs=[mb.TensorSpec((1, 2, 256), types.fp16)], opset_version=ct.target.iOS18)
    def program(x: Any) -> Any:
        y = mb.linear(x=x, weight=dense)
        return mb.reduce_sum(x=mb.add(x=mb.mul(x=y, y=mb.sigmoid(x=y)), y=added[:2]), axes=[2], name="y")

    return save(main=program)


def kept_graph(folder: Path) -> Any:
    (entry,) = entries(folder)
    return onnx.load_model(str(entry / "0.onnx"), load_external_data=False).graph


def test_kept_as_onnx_runtime_optimised_it(gated: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = run(MLModel(gated, threads=1))
    assert np.array_equal(run(opened(gated, folder)), wanted)
    kept = kept_graph(folder)
    assert "QuickGelu" in {node.op_type for node in kept.node}
    assert [value.name for value in kept.input] == ["in:x"]  # weights are constants again
    external = [list(t.dims) for t in kept.initializer if t.data_location == onnx.TensorProto.EXTERNAL]
    assert external == [[256, 256]]
    levels = []

    def watched(model: Any, options: Any, native: Any) -> Any:
        levels.append(options.graph_optimization_level)
        return open_session(model, options, native)

    monkeypatch.setattr(session, "open_session", watched)
    assert np.array_equal(run(opened(gated, folder)), wanted)
    assert levels == [ort.GraphOptimizationLevel.ORT_DISABLE_ALL]


@pytest.mark.parametrize("why", ["too many other weights", "ONNX Runtime refuses"])
def test_kept_as_it_was_made(gated: Path, folder: Path, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = run(MLModel(gated, threads=1))

    def refuse(*_: Any) -> Any:
        raise RuntimeError("refused")

    if why == "ONNX Runtime refuses":
        monkeypatch.setattr(optimised, "open_session", refuse)
    else:
        monkeypatch.setattr(optimised, "_MOST", 1)
    assert np.array_equal(run(opened(gated, folder)), wanted)
    assert "QuickGelu" not in {node.op_type for node in kept_graph(folder).node}
    assert sorted(path.name for path in entries(folder)[0].iterdir()) == ["0.onnx", "0.weights", "entry.json"]
    assert np.array_equal(run(opened(gated, folder)), wanted)


@pytest.mark.parametrize("file", ["0.onnx", "0.weights", "entry.json"])
@pytest.mark.parametrize("harm", ["a bit", "the end", "all of it", "zeros", "its loss"])
def test_what_is_damaged_is_made_again(
    package: Path, folder: Path, file: str, harm: str, caplog: pytest.LogCaptureFixture
) -> None:
    wanted = run(opened(package, folder))
    path = entries(folder)[0] / file
    good = path.read_bytes()
    middle = len(good) // 2
    bad = {
        "a bit": good[:middle] + bytes([good[middle] ^ 4]) + good[middle + 1 :],
        "the end": good[:-9],
        "all of it": b"",
        "zeros": bytes(len(good)),
        "its loss": None,
    }[harm]
    path.unlink()
    if bad is not None:
        path.write_bytes(bad)
    assert np.array_equal(run(opened(package, folder)), wanted)
    assert path.read_bytes() == good or file == "entry.json"
    assert entries(folder) == [path.parent]


def test_only_what_it_was_made_for(package: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert len({entry_key("a", "fast"), entry_key("b", "fast"), entry_key("a", "exact")}) == 3
    before = entry_key("a", "fast")
    monkeypatch.setattr("lilims.runtime.portable.cache.entry._surroundings", lambda: ("another ONNX Runtime",))
    assert entry_key("a", "fast") != before
    opened(package, folder, "a", precision="fp16")
    opened(package, folder, "a", fused=False)
    assert not folder.exists()  # these two are for checking, and kept nowhere


def test_a_folder_that_cannot_be_written_costs_nothing(
    package: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: Any, **__: Any) -> Any:
        raise StorageError("the disk is full", where=folder)

    monkeypatch.setattr(Store, "put", full)
    logging.getLogger("lilims").propagate = True
    with caplog.at_level(logging.WARNING, logger="lilims"):
        assert np.array_equal(run(opened(package, folder)), run(MLModel(package, threads=1)))
    assert "not kept in the cache" in caplog.text


def test_too_large_for_the_limit(package: Path, folder: Path) -> None:
    run(opened(package, folder, limit=1 << 19))
    assert entries(folder) == []


def test_a_graph_that_onnx_runtime_refuses_is_made_again_once(
    package: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened(package, folder)
    made = []

    class Refusing(runnable.Executable):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            made.append(options.get("file"))
            if options.get("file"):
                raise ExecutionError("refused")
            super().__init__(*arguments, **options)

    monkeypatch.setattr(runnable, "Executable", Refusing)
    run(opened(package, folder))
    assert [bool(file) for file in made] == [True, True, False]


def test_the_least_used_makes_room(folder: Path) -> None:
    def write(folder: Path) -> dict[str, Any]:
        (folder / "f").write_bytes(bytes(4000))
        return {}

    store = Store(folder, limit=10_000)
    for key, used in (("a", 100), ("b", 300), ("c", 200)):
        if key == "c":
            os.utime(folder / "a" / "entry.json", (100, 100))
            os.utime(folder / "b" / "entry.json", (300, 300))
        assert store.put(key, f"package {key}", write) is not None
        os.utime(folder / key / "entry.json", (used, used))
    assert [(e.key, e.label, e.used) for e in store.entries()] == [("b", "package b", 300.0), ("c", "package c", 200.0)]
    assert store.get("c") is not None  # which is a use
    assert store.entries()[1].used > 300
    store.put("d", "package d", write)
    assert [e.key for e in store.entries()] == ["c", "d"]
    store.drop("d")
    assert store.get("d") is None
    Store(folder, limit=0).put("e", "package e", write)
    assert [e.key for e in store.entries()] == ["e"]


def test_two_that_write_at_once(folder: Path) -> None:
    store, written = Store(folder, limit=LIMIT), []

    def write(folder: Path) -> dict[str, Any]:
        written.append(folder)
        return {"n": len(written)}

    found: list[Any] = []
    threads = [threading.Thread(target=lambda: found.append(store.put("a", "a", write))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(written) == 1
    assert [entry.body for entry in found] == [{"n": 1}] * 4


@pytest.mark.parametrize("size", [0, 1, 7, 8, 32768, 3_000_001])
def test_any_changed_byte_changes_a_checksum(tmp_path: Path, size: int) -> None:
    path = tmp_path / "f"
    content = bytearray(np.random.default_rng(size).bytes(size))
    path.write_bytes(content)
    before = checksum(path)
    for place in {0, size // 2, size - 1} & set(range(size)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        assert checksum(path) != before
    path.write_bytes(bytes(content) + b"\0")
    assert checksum(path) != before


def test_the_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lilims.core.settings import settings

    found = settings_cache(lambda: "id")
    assert found is not None
    assert (found.identity, found.limit) == ("id", 16 * 10**9)
    assert found.folder.is_relative_to(tmp_path / "home")
    monkeypatch.setenv("LILIMS_CACHE_GB", "0")
    settings.cache_clear()
    assert settings_cache(lambda: "id") is None


def test_weights_are_packed_some_at_a_time(package: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "_BATCH", 1)
    assert np.array_equal(run(opened(package, folder)), run(MLModel(package, threads=1)))
