"""How weights lie in exported files: as small as they are, inside or beside; and nothing is left of what fails."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from lilims.core.errors import PackageError, StorageError
from lilims.runtime.portable import MLModel, export_onnx

from .plain import Plain, Save, assert_same

STANDARD = {"", "ai.onnx.ml"}


def quantised(ct: Any, mb: Any, bits: int, rows: int = 96) -> Any:
    from coremltools.converters.mil.mil import types

    kind = types.np_int4_dtype if bits == 4 else np.int8
    numbers = np.random.default_rng(5)

    @mb.program(input_specs=[mb.TensorSpec((2, 64), types.fp16)], opset_version=ct.target.iOS18)
    def program(x: Any) -> Any:
        codes = numbers.integers(-8, 8, (rows, 64)).astype(np.int8).astype(kind)
        weight = mb.constexpr_blockwise_shift_scale(data=codes, scale=numbers.random((rows, 2)).astype(np.float16))
        return mb.linear(x=x, weight=weight, name="y")

    return program


@pytest.mark.parametrize("precision", ["exact", "fast"])
@pytest.mark.parametrize("bits", [4, 8])
def test_quantised_weights(bits: int, precision: Any, ct: Any, mb: Any, save: Save, tmp_path: Path) -> None:
    package, target = save(main=quantised(ct, mb, bits)), tmp_path / "m.onnx"
    made = export_onnx(package, target, precision=precision)
    unpacked = precision == "exact" and bits == 8
    assert made.contrib_ops == ({} if unpacked else {"com.microsoft.MatMulNBits": 1})
    x = np.random.default_rng(2).standard_normal((2, 64)).astype(np.float32)
    assert_same(Plain(target), MLModel(package, precision=precision, kernels=False), [{"x": x}])


def test_no_op_of_ours_even_where_the_kernels_are_installed(ct: Any, mb: Any, save: Save, tmp_path: Path) -> None:
    export_onnx(save(main=quantised(ct, mb, 4)), tmp_path / "m.onnx", precision="fast")
    model = onnx.load(tmp_path / "m.onnx")
    assert {node.domain for node in model.graph.node} <= {*STANDARD, "com.microsoft"}
    assert {opset.domain for opset in model.opset_import} == {"", "com.microsoft"}


@pytest.mark.parametrize("kind", ["blocks", "blocks with offsets", "channels", "conv"])
def test_codes_that_no_kernel_takes_stay_codes(kind: str, ct: Any, mb: Any, save: Save, tmp_path: Path) -> None:
    """The graph makes the weight when it is opened: as many bytes as the package has, and the same to the last bit."""
    from coremltools.converters.mil.mil import types

    numbers = np.random.default_rng(8)
    codes = numbers.integers(-128, 128, (128, 64)).astype(np.int8)
    scale = numbers.random((128, 4)).astype(np.float16)

    def weight() -> Any:
        if kind == "channels":
            return mb.constexpr_affine_dequantize(
                quantized_data=codes, zero_point=np.arange(64, dtype=np.int8), scale=np.float16(scale[:64, 0]), axis=1
            )
        if kind == "conv":
            shape = (128, 8, 2, 4)
            return mb.constexpr_blockwise_shift_scale(data=codes.reshape(shape), scale=scale.reshape(128, 4, 1, 1))
        offset = {"offset": numbers.integers(-9, 9, scale.shape).astype(np.int8)} if "offsets" in kind else {}
        return mb.constexpr_blockwise_shift_scale(data=codes, scale=scale, **offset)

    shape = (1, 8, 5, 6) if kind == "conv" else (2, 64)

    @mb.program(input_specs=[mb.TensorSpec(shape, types.fp16)], opset_version=ct.target.iOS18)
    def program(x: Any) -> Any:
        w = weight()
        return mb.conv(x=x, weight=w, name="y") if kind == "conv" else mb.linear(x=x, weight=w, name="y")

    package, target = save(main=program), tmp_path / "m.onnx"
    made = export_onnx(package, target)
    assert made.contrib_ops == {}
    assert made.size < 2 * codes.nbytes
    x = numbers.standard_normal(shape).astype(np.float32)
    assert_same(Plain(target), MLModel(package, precision="exact"), [{"x": x}])


@pytest.fixture
def heavy(ct: Any, mb: Any, save: Save) -> Path:
    """Two weights of 128 kB in fp16, and one of float32 that fp16 cannot hold."""
    numbers = np.random.default_rng(4)

    @mb.program(input_specs=[mb.TensorSpec((1, 256))], opset_version=ct.target.iOS18)
    def program(x: Any) -> Any:
        for name in ("a", "b", "y"):
            weight = numbers.standard_normal((256, 256)) / 16
            kept = np.float32(weight if name == "y" else np.float16(weight))
            x = mb.linear(x=x, weight=kept, name=name)
        return x

    return save(main=program)


def test_fp16_weights_stay_fp16(heavy: Path, tmp_path: Path) -> None:
    made = export_onnx(heavy, tmp_path / "m.onnx")
    kinds = [tensor.data_type for tensor in onnx.load(tmp_path / "m.onnx").graph.initializer if len(tensor.dims) == 2]
    assert sorted(kinds) == [onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT16]
    assert made.size == (tmp_path / "m.onnx").stat().st_size < 540_000
    x = np.random.default_rng(0).standard_normal((1, 256)).astype(np.float32)
    assert_same(Plain(tmp_path / "m.onnx"), MLModel(heavy, precision="exact"), [{"x": x}])


def test_the_file_is_as_protobuf_writes_it(heavy: Path, tmp_path: Path) -> None:
    """Put together by hand, read by protobuf: every byte belongs to a known field."""
    export_onnx(heavy, tmp_path / "m.onnx")
    raw = (tmp_path / "m.onnx").read_bytes()
    model = onnx.ModelProto.FromString(raw)
    assert model.ByteSize() == len(raw)
    assert onnx.ModelProto.FromString(model.SerializeToString()) == model
    export_onnx(heavy, tmp_path / "again.onnx")
    assert (tmp_path / "again.onnx").read_bytes() == raw


def test_weights_beside_the_model(heavy: Path, tmp_path: Path) -> None:
    target = tmp_path / "m.onnx"
    made = export_onnx(heavy, target, inline_limit=1 << 16)
    assert made.files == (target, tmp_path / "m.onnx.data")
    assert target.stat().st_size < 1 << 16 < 500_000 < (tmp_path / "m.onnx.data").stat().st_size
    onnx.checker.check_model(str(target), full_check=True)
    x = np.random.default_rng(0).standard_normal((1, 256)).astype(np.float32)
    assert_same(Plain(target), MLModel(heavy, precision="exact"), [{"x": x}])


# -- refusals --------------------------------------------------------------------------------------------------------


def test_nothing_is_left_of_what_fails(heavy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "out"
    with pytest.raises(StorageError, match="cannot be written"):
        export_onnx(heavy, folder / "m.onnx")
    folder.mkdir()
    weights = heavy / "Data/com.apple.CoreML/weights/weight.bin"
    weights.write_bytes(weights.read_bytes()[: weights.stat().st_size // 2])
    for limit in (1 << 30, 1 << 16):
        with pytest.raises(PackageError):
            export_onnx(heavy, folder / "m.onnx", inline_limit=limit)
    assert list(folder.iterdir()) == []


def test_the_weights_go_too_when_the_model_cannot_be_written(
    heavy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lilims.runtime.portable.onnx_export import file

    real = file.write_atomic

    def failing(path: Path, data: Any) -> None:
        if path.suffix == ".onnx":
            raise StorageError("the disk is full", where=path)
        real(path, data)

    monkeypatch.setattr(file, "write_atomic", failing)
    (tmp_path / "out").mkdir()
    with pytest.raises(StorageError):
        export_onnx(heavy, tmp_path / "out" / "m.onnx", inline_limit=1 << 16)
    assert list((tmp_path / "out").iterdir()) == []
