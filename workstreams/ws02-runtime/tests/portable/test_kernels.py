"""What lilims-kernels does for packages; those tests that need the library are skipped where it is not installed."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lilims.core.errors import PackageError
from lilims.runtime.portable import MLModel
from lilims.runtime.portable import kernels as module
from lilims.runtime.portable.cache import Cache
from lilims.runtime.portable.compiler import compile_function
from lilims.runtime.portable.fusion import fuse
from lilims.runtime.portable.kernels import ABI, kernels_library, kernels_state

from .test_fusion_quantized import RANGES, K, N, linear

needs_library = pytest.mark.skipif(not kernels_state()[0], reason=f"lilims-kernels: {kernels_state()[1]}")


def nodes(dtype: str, groups: tuple[int, int], offset: bool | float = False, precision: Any = "fast") -> set[str]:
    function, _, _ = linear(dtype, groups, offset, bias=True)
    graph = compile_function(fuse(function, precision), precision, kernels=True)
    return {node.op_type for node in graph.model.graph.node}


@pytest.mark.parametrize("offset", [False, True, 0.5], ids=str)
@pytest.mark.parametrize("groups", [(N, 16), (N, 8), (N, 2), (N, 1), (N // 4, 2)], ids=str)
@pytest.mark.parametrize("dtype", ["int4", "uint4", "int8", "uint8"])
def test_products_that_the_library_takes(dtype: str, groups: tuple[int, int], offset: bool | float) -> None:
    found = nodes(dtype, groups, offset)
    assert "QuantizedLinear" in found and not found & {"MatMulNBits", "MatMul", "Add"}


def test_products_that_it_leaves() -> None:
    assert "QuantizedLinear" not in nodes("int4", (N, 8), precision="exact")
    assert "QuantizedLinear" not in nodes("int4", (N, K // 8))


def stand_in(monkeypatch: pytest.MonkeyPatch, **attributes: Any) -> None:
    package = ModuleType("lilims.kernels")
    package.__dict__.update(attributes)
    monkeypatch.setitem(sys.modules, "lilims.kernels", package)
    module._found.cache_clear()


@pytest.fixture(autouse=True)
def _forget() -> Any:
    yield
    module._found.cache_clear()


def test_a_library_of_another_version_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch, ABI=ABI + 1)
    assert kernels_library(True) is None
    assert f"version {ABI + 1}" in kernels_state()[1]


def test_a_library_that_cannot_be_loaded_is_not_used(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "lilims_kernels.so").write_bytes(b"not a library")
    stand_in(monkeypatch, ABI=ABI, library=lambda: tmp_path / "lilims_kernels.so")
    assert kernels_library(True) is None
    assert "cannot be used" in kernels_state()[1]


def test_it_can_be_absent_or_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lilims.kernels", None)
    module._found.cache_clear()
    assert kernels_library(True) is None
    assert kernels_state() == (False, "not installed")
    assert kernels_library(False) is None


# -- whole packages ----------------------------------------------------------------------------------------------------


@pytest.fixture
def package(ct: ModuleType, mb: Any, save: Callable[..., Path]) -> Path:
    """A small package with products of every form, its codes in a blob file."""
    from coremltools.converters.mil.mil import types

    rng = np.random.default_rng(3)
    d = 512
    kinds: Any = {
        "int4": types.np_int4_dtype, "uint4": types.np_uint4_dtype, "int8": np.int8, "uint8": np.uint8
    }  # fmt: skip

    def weight(dtype: str, blocks: int, offset: bool) -> Any:
        codes = rng.integers(*RANGES[dtype], (d, d)).astype(kinds[dtype])
        scale = (rng.normal(size=(d, blocks)) * 0.01).astype(np.float16)
        shift = rng.integers(*RANGES[dtype], (d, blocks)).astype(kinds[dtype]) if offset else None
        return mb.constexpr_blockwise_shift_scale(data=codes, scale=scale, offset=shift)

    @mb.program(input_specs=[mb.TensorSpec((1, 3))], opset_version=ct.target.iOS18)
    def program(ids: Any) -> Any:
        x = mb.gather(x=weight("int4", 16, False), indices=mb.cast(x=ids, dtype="int32"), axis=0)
        for form in (("int4", 16, False), ("uint4", 32, True), ("int8", 1, False), ("uint8", 4, True)):
            x = mb.layer_norm(x=mb.linear(x=x, weight=weight(*form)), axes=[-1])
        return x

    return save(main=program)


def run(package: Path, **options: Any) -> tuple[NDArray[Any], MLModel]:
    model = MLModel(package, **options)
    (found,) = model.predict({"ids": np.array([[3, 0, 511]], np.float32)}).values()
    return found, model


@needs_library
def test_a_package_gives_what_it_gives_without(package: Path, tmp_path: Path) -> None:
    exact, _ = run(package, precision="exact", kernels=False)
    plain, _ = run(package, kernels=False)
    native, _ = run(package, kernels=True)
    cached, _ = run(package, kernels=True, cache=Cache(tmp_path / "cache", "a"))
    again, _ = run(package, kernels=True, cache=Cache(tmp_path / "cache", "a"))
    assert np.array_equal(native, cached) and np.array_equal(native, again)
    off = {name: np.sqrt(np.mean((found - exact) ** 2)) / exact.std() for name, found in (("a", plain), ("b", native))}
    assert 0 < off["b"] < 1.2 * off["a"] + 1e-4


@needs_library
def test_no_weight_is_copied_into_the_cache(package: Path, tmp_path: Path) -> None:
    run(package, kernels=True, cache=Cache(tmp_path / "cache", "a"))
    kept = sum(file.stat().st_size for file in (tmp_path / "cache").rglob("*") if file.is_file())
    stored = sum(file.stat().st_size for file in package.rglob("weight.bin"))
    assert kept < stored / 4
    _, model = run(package, kernels=True, cache=Cache(tmp_path / "cache", "a"))
    assert model._runnables._entry is not None


@needs_library
def test_entries_with_and_without_are_two(package: Path, tmp_path: Path) -> None:
    for kernels in (True, False, True):
        run(package, kernels=kernels, cache=Cache(tmp_path / "cache", "a"))
    assert len([folder for folder in (tmp_path / "cache").iterdir() if folder.is_dir()]) == 2


@needs_library
def test_a_link_out_of_the_folder_is_left_to_the_other_kernels(package: Path, tmp_path: Path) -> None:
    """ONNX Runtime maps no file outside the folder; the package's own rules allow links that stay inside it."""
    copy = tmp_path / "linked.mlpackage"
    shutil.copytree(package, copy)
    (weights,) = copy.rglob("weight.bin")
    shutil.move(weights, copy / "Data" / "elsewhere.bin")
    weights.symlink_to(copy / "Data" / "elsewhere.bin")
    assert np.array_equal(run(copy, kernels=True)[0], run(package, kernels=False)[0])


@needs_library
def test_a_damaged_package_is_refused(package: Path, tmp_path: Path) -> None:
    copy = tmp_path / "damaged.mlpackage"
    shutil.copytree(package, copy)
    (weights,) = copy.rglob("weight.bin")
    with weights.open("r+b") as file:
        file.truncate(weights.stat().st_size // 2)
    with pytest.raises(PackageError):
        run(copy, kernels=True)
