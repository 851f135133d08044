"""MLModel: what users call, what they are told when it is wrong."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lilims.core.errors import ExecutionError, PackageError, UsageError
from lilims.runtime.portable import MLModel
from lilims.runtime.portable.spec import parse_model

from .hostile import CASES


@pytest.fixture
def package(ct: Any, mb: Any, save: Callable[..., Path]) -> Path:
    """Two functions: `twice` of fp16 a [2,3] and int32 n [1], and `sum`."""
    from coremltools.converters.mil.mil import types

    @mb.program(
        input_specs=[mb.TensorSpec((2, 3), types.fp16), mb.TensorSpec((1,), types.int32)], opset_version=ct.target.iOS18
    )
    def twice(a: Any, n: Any) -> Any:
        return mb.mul(x=a, y=np.float16(2), name="double"), mb.add(x=n, y=np.int32(1), name="next")

    @mb.program(input_specs=[mb.TensorSpec((2, 3))], opset_version=ct.target.iOS18)
    def total(a: Any) -> Any:
        return mb.reduce_sum(x=a, keep_dims=False, name="total")

    return save(twice=twice, sum=total)


A = np.arange(6, dtype=np.float32).reshape(2, 3)
N = np.array([4], np.int32)


def test_functions_by_name(package: Path) -> None:
    assert MLModel(package).function_name == "twice"
    model = MLModel(str(package), function_name="sum", compute_units="ignored", optimization_hints={})
    total = model.predict({"a": A})["total"]
    assert (total.shape, total.dtype, total.tolist()) == ((1,), np.float32, [15.0])
    with pytest.raises(UsageError, match="no function 'main'") as caught:
        MLModel(package, "main")
    assert caught.value.hint == "its functions are sum, twice" or caught.value.hint == "its functions are twice, sum"


@pytest.mark.parametrize(
    "dtype", [np.float16, np.float32, np.float64, np.int32, np.int64, np.uint8], ids=lambda d: d.__name__
)
def test_element_types_that_fit(package: Path, dtype: Any) -> None:
    found = MLModel(package).predict({"a": A.astype(dtype), "n": np.array([4], np.int64)})
    assert found["double"].dtype == np.float32
    assert np.array_equal(found["double"], 2 * A)
    assert (found["next"].dtype, found["next"].tolist()) == (np.int32, [5])


def test_lists_scalars_and_strided_arrays_are_arrays_too(package: Path) -> None:
    model = MLModel(package)
    assert model.predict({"a": A.tolist(), "n": [4]})["next"].tolist() == [5]
    assert model.predict({"a": A, "n": 4})["next"].tolist() == [5]
    assert np.array_equal(model.predict({"a": np.ascontiguousarray(A.T).T, "n": 4})["double"], 2 * A)


def test_inputs_are_left_alone_and_results_are_new(package: Path) -> None:
    model = MLModel(package)
    data = {"a": A.astype(np.float16), "n": N}
    before = dict(data)
    first = model.predict(data)
    assert data.keys() == before.keys()
    assert all(data[name] is before[name] for name in data)
    second = model.predict({"a": A + 1, "n": N})
    assert np.array_equal(first["double"], 2 * A)
    assert np.array_equal(second["double"], 2 * A + 2)


def test_a_list_is_a_batch(package: Path) -> None:
    found = MLModel(package).predict([{"a": A, "n": 1}, {"a": A, "n": 2}])
    assert [item["next"].tolist() for item in found] == [[2], [3]]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"a": A}, "the input 'n' is missing"),
        ({"a": A, "n": N, "b": A}, "there is no input 'b'"),
        ({"a": A.T, "n": N}, r"the input 'a' has shape \[3, 2\], \[2, 3\] is needed"),
        ({"a": A[None], "n": N}, r"the input 'a' has shape \[1, 2, 3\]"),
        ({"a": A, "n": np.array([1.5])}, "the input 'n' has elements of float64 that int32 cannot hold exactly"),
        ({"a": A, "n": np.array([1 << 40])}, "the input 'n' has elements of int64 that int32 cannot hold exactly"),
        ({"a": np.full((2, 3), (1 << 24) + 1), "n": N}, "the input 'a' has elements of int64 that float32 cannot"),
        ({"a": np.full((2, 3), "x"), "n": N}, "the input 'a' has elements of <U1, float32 is needed"),
        ({"a": [[1, 2], [3]], "n": N}, "the input 'a' is no array"),
        (7, "inputs are a dictionary, not int"),
    ],
    ids=["missing", "unknown", "turned", "rank", "fraction", "large", "inexact", "text", "ragged", "no-dict"],
)
def test_what_does_not_fit_is_named(package: Path, data: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        MLModel(package).predict(data)


def test_descriptions(package: Path) -> None:
    model = MLModel(package, skip_model_load=True)
    assert list(model.input_description) == ["a", "n"]
    assert list(model.output_description) == ["double", "next"]
    assert model.input_description["a"] == ""
    assert "total" in MLModel(package, "sum", skip_model_load=True).output_description
    with pytest.raises(KeyError):
        model.input_description["z"]
    assert model.get_spec().WhichOneof("Type") == "mlProgram"
    model.get_spec().specificationVersion = 1
    assert model.get_spec().specificationVersion == 9
    assert np.array_equal(model.predict({"a": A, "n": N})["double"], 2 * A)  # loads now


def test_metadata(package: Path) -> None:
    file = package / "Data/com.apple.CoreML/model.mlmodel"
    spec = parse_model(file.read_bytes(), where="test")
    spec.description.metadata.userDefined["contract"] = "lilims.decoder/1"
    spec.description.metadata.shortDescription = "doubles"
    spec.description.metadata.versionString = "1.0"
    file.write_bytes(spec.SerializeToString())
    model = MLModel(package, skip_model_load=True)
    assert model.user_defined_metadata == {"contract": "lilims.decoder/1"}
    assert (model.short_description, model.author, model.license, model.version) == ("doubles", "", "", "1.0")


def test_flexible_shapes_within_their_bounds(ct: Any, mb: Any, save: Callable[..., Path]) -> None:
    from coremltools.converters.mil.mil import get_new_symbol

    size = get_new_symbol()

    @mb.program(input_specs=[mb.TensorSpec((1, size))], opset_version=ct.target.iOS18)
    def program(x: Any) -> Any:
        return mb.add(x=x, y=1.0, name="y")

    x = ct.TensorType("x", shape=(1, ct.RangeDim(2, 5, default=3)))
    portable = MLModel(save(main=program, inputs=[x]))
    for width in (2, 3, 5):
        assert np.array_equal(portable.predict({"x": np.zeros((1, width))})["y"], np.ones((1, width)))
    with pytest.raises(UsageError, match=r"has shape \[1, 6\], \[1, 2..5\] is needed"):
        portable.predict({"x": np.zeros((1, 6))})


def test_unknown_precisions_and_damaged_packages(package: Path) -> None:
    with pytest.raises(UsageError, match="unknown precision 'half'"):
        MLModel(package, precision="half")  # type: ignore[arg-type]
    for threads in (0, 1025, 10**20):
        with pytest.raises(UsageError, match=f"threads must be 1 to 1024, not {threads}"):
            MLModel(package, threads=threads)
    model = package / "Data/com.apple.CoreML/model.mlmodel"
    model.write_bytes(model.read_bytes()[:-30])
    with pytest.raises(PackageError, match=r"model\.mlmodel"):
        MLModel(package)


def test_a_package_is_opened_once_and_again_when_it_changes(package: Path) -> None:
    first, second = MLModel(package, skip_model_load=True), MLModel(package, "sum", skip_model_load=True)
    assert first._package is second._package
    file = package / "Data/com.apple.CoreML/model.mlmodel"
    spec = parse_model(file.read_bytes(), where="test")
    spec.description.metadata.author = "someone else"
    file.write_bytes(spec.SerializeToString())
    assert MLModel(package, skip_model_load=True).author == "someone else"
    assert first.author == ""


def test_importing_it_is_cheap_and_needs_no_coremltools() -> None:
    code = (
        "import sys; import lilims.runtime.portable as p; assert 'numpy' not in sys.modules; p.MLModel;"
        "assert not {'coremltools', 'torch', 'onnxruntime'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_time_limit_is_one_runs_own(tmp_path: Path) -> None:
    model = MLModel(CASES["a-loop-without-end"]().write(tmp_path / "endless.mlpackage"))
    for _ in range(2):
        with pytest.raises(ExecutionError, match=r"did not end within 0\.2 s"):
            model.predict({"x": [1, 2]}, time_limit=0.2)
    sound = MLModel(CASES["two-blobs-in-one-place"]().write(tmp_path / "sound.mlpackage"))
    assert sound.predict({"x": [1, 2]}, time_limit=60)["y"].tolist() == [0, 0]
