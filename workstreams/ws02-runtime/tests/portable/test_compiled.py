"""Packages, and the same as compiled folders: what they say and what they give is the same.

The compiled folders are written by mil_writer.py. Core ML's own cannot be made here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from lilims.core.locate import is_model
from lilims.core.testing import test_data as data
from lilims.runtime.commands import inspect, predict
from lilims.runtime.portable import MLModel, describe_package
from lilims.runtime.portable.cache import Cache
from lilims.runtime.portable.package import Package
from lilims.runtime.portable.program import Block, Constant, Function
from lilims.runtime.portable.reader import read_program

from .mil_writer import compiled

Save = Callable[..., Path]
RNG = np.random.default_rng(0)
DIALECTS = pytest.mark.parametrize("version", ["1.0", "1.3"])
SILERO = (
    "silero-vad-unified-v6.0.0",
    "unified_int8",
    *(f"silero-vad-{part}-v6.0.0" for part in ("stft", "encoder", "decoder")),
)


def alike(package: Path, folder: Path) -> None:
    """Programs, descriptions and weights say the same."""
    first, second = Package(package), Package(folder)
    one, other = read_program(first), read_program(second)
    assert list(one.functions) == list(other.functions)
    assert one.default_function == other.default_function
    for name, function in one.functions.items():
        assert replace(function, ops=()) == replace(other.functions[name], ops=())
        same_ops(function, other.functions[name])
    assert first.spec.description == second.spec.description
    assert first.spec.specificationVersion == second.spec.specificationVersion
    described = (replace(describe_package(path), path="") for path in (package, folder))
    assert next(described) == next(described)


def same_ops(one: Function | Block, other: Function | Block) -> None:
    for a, b in zip(one.ops, other.ops, strict=True):
        assert replace(a, blocks=()) == replace(b, blocks=()), a.name
        for x, y in zip(constants(a), constants(b), strict=True):
            np.testing.assert_array_equal(x.load(), y.load())
        for x, y in zip(a.blocks, b.blocks, strict=True):
            same_ops(x, y)


def constants(op: Any) -> Iterator[Constant]:
    for key in sorted(op.inputs):
        yield from (a for a in op.inputs[key] if isinstance(a, Constant))


def inputs_of(path: Path, function: str) -> dict[str, Any]:
    """Random inputs of the sizes that the description says."""
    spec = Package(path).spec.description
    described = next((f for f in spec.functions if f.name == function), spec)
    arrays = {f.name: f.type.multiArrayType for f in described.input}
    return {
        name: RNG.integers(0, 4, list(a.shape)).astype(np.float32 if a.dataType != 131104 else np.int32)
        for name, a in arrays.items()
    }


@DIALECTS
@pytest.mark.parametrize("name", SILERO)
def test_published_packages(tmp_path: Path, name: str, version: str) -> None:
    package = data("coreml/silero-vad") / f"{name}.mlpackage"
    folder = compiled(package, version, folder=tmp_path)
    alike(package, folder)
    given = inputs_of(package, "main")
    one, other = (MLModel(path, precision="exact").predict(given) for path in (package, folder))
    assert one.keys() == other.keys()
    for key, value in one.items():
        np.testing.assert_array_equal(value, other[key])


# -- programs made by coremltools --------------------------------------------------------------------------------------


def many_ops(ct: Any, mb: Any) -> Any:
    """Half a hundred ops: constants of every kind, variadic inputs, several results, control flow, lists."""

    @mb.program(input_specs=[mb.TensorSpec((1, 4, 6))], opset_version=ct.target.iOS18)
    def program(x: Any) -> Any:
        y = mb.conv(x=x, weight=np.float32(RNG.normal(size=(8, 4, 3))), bias=np.zeros(8, np.float32), pad_type="same")
        y = mb.layer_norm(x=mb.gelu(x=y, mode="TANH_APPROXIMATION"), axes=[-1], epsilon=np.float32(1e-5))
        a, b = mb.split(x=y, num_splits=2, axis=1)
        y = mb.concat(values=[a, mb.sigmoid(x=b), x], axis=1)
        y = mb.matmul(x=y, y=y, transpose_y=True)
        top, places = mb.topk(x=y, k=3, axis=-1)
        y = mb.gather_along_axis(x=y, indices=places, axis=-1)
        y = mb.select(cond=mb.greater(x=y, y=np.float32(0.5)), a=y, b=np.float32(-np.inf))
        y = mb.reduce_max(x=mb.stack(values=[y, top], axis=0), axes=[0], keep_dims=False)
        y = mb.transpose(x=mb.reshape(x=y, shape=[1, 3, -1]), perm=[0, 2, 1])
        y = mb.pad(x=y, pad=[0, 0, 1, 1], mode="constant", constant_val=np.float32(0.25))
        y = mb.slice_by_index(x=y, begin=[0, 1, 0], end=[1, 9, 3], end_mask=[True, False, True])
        positive = mb.greater(x=mb.reduce_sum(x=y, keep_dims=False), y=np.float32(0))
        y = mb.cond(pred=positive, _true_fn=lambda: mb.mul(x=y, y=np.float32(2)), _false_fn=lambda: mb.abs(x=y))
        _, y = mb.while_loop(
            _cond=lambda i, z: mb.less(x=i, y=np.int32(3)),
            _body=lambda i, z: (mb.add(x=i, y=np.int32(1)), mb.tanh(x=z)),
            loop_vars=(np.int32(0), y),
        )
        return mb.softmax(x=y, axis=-1, name="out"), mb.cast(x=places, dtype="int32", name="places")

    return program


def compressed(ct: Any, mb: Any) -> Any:
    """int4 in blocks, tables, sparse: codes in the file and codes in the program."""

    @mb.program(input_specs=[mb.TensorSpec((2, 64))], opset_version=ct.target.iOS18)
    def program(x: Any) -> Any:
        from coremltools.converters.mil.mil import types

        int4 = types.np_int4_dtype if hasattr(types, "np_int4_dtype") else types.type_mapping.np_int4_dtype
        uint4 = types.type_mapping.np_uint4_dtype
        for rows in (64, 2):
            codes = RNG.integers(-8, 8, (rows, 64)).astype(np.int8).astype(int4)
            scale = np.float32(RNG.uniform(0.01, 0.1, (rows, 2)))
            wide = mb.linear(x=x, weight=mb.constexpr_blockwise_shift_scale(data=codes, scale=scale))
            x = mb.concat(values=[wide, x], axis=1)
            x = mb.slice_by_size(x=x, begin=[0, 0], size=[2, 64])
        table = np.float32(RNG.normal(size=(1, 1, 16, 1)))
        indices = RNG.integers(0, 16, (64, 64)).astype(np.uint8).astype(uint4)
        return mb.linear(x=x, weight=mb.constexpr_lut_to_dense(indices=indices, lut=table), name="out")

    return program


def old_compressed(ct: Any, mb: Any) -> Any:
    """The constexpr ops of iOS 16, whose parameters are attributes."""

    @mb.program(input_specs=[mb.TensorSpec((2, 32))], opset_version=ct.target.iOS16)
    def program(x: Any) -> Any:
        codes = RNG.integers(-128, 128, (32, 32), dtype=np.int8)
        weight = mb.constexpr_affine_dequantize(
            quantized_data=codes, zero_point=np.int8(3), scale=np.float32(RNG.uniform(0.1, 1, 32)), axis=0
        )
        bits = mb.constexpr_sparse_to_dense(
            nonzero_data=np.float32([1, -2, 3]), mask=np.uint8([0b10010001, 0, 0, 0]), shape=np.uint32([32])
        )
        y = mb.add(x=mb.linear(x=x, weight=weight), y=bits)
        palette = mb.constexpr_lut_to_dense(
            indices=RNG.integers(0, 256, 128).astype(np.uint8), lut=np.float32([0, 1, 4, 9]), shape=np.uint32([16, 32])
        )
        return mb.linear(x=y, weight=palette, name="out")

    return program


PROGRAMS = {"many ops": (many_ops, "iOS18"), "compressed": (compressed, "iOS18"), "iOS 16": (old_compressed, "iOS16")}


@DIALECTS
@pytest.mark.parametrize("precision", ["exact", "fast"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_programs(ct: Any, mb: Any, save: Save, name: str, version: str, precision: Any) -> None:
    build, target = PROGRAMS[name]
    package = save(target, main=build(ct, mb))
    folder = compiled(package, version)
    alike(package, folder)
    given = inputs_of(package, "main")
    one, other = (MLModel(path, precision=precision).predict(given) for path in (package, folder))
    for key, value in one.items():
        np.testing.assert_array_equal(value, other[key])


@DIALECTS
def test_functions_and_states(ct: Any, mb: Any, save: Save, version: str) -> None:
    from coremltools.converters.mil.mil import types

    def program(factor: float) -> Any:
        specs = [mb.StateTensorSpec((2, 3), types.fp16), mb.TensorSpec((2, 3), types.fp16)]

        @mb.program(input_specs=specs, opset_version=ct.target.iOS18)
        def made(acc: Any, x: Any) -> Any:
            total = mb.add(x=mb.read_state(input=acc), y=mb.mul(x=x, y=np.float16(factor)))
            return mb.mul(x=mb.coreml_update_state(state=acc, value=total), y=np.float16(1), name="total")

        return made

    package = save(second=program(2), first=program(0.5))
    folder = compiled(package, version)
    alike(package, folder)
    assert MLModel(folder).function_name == "second"
    state = MLModel(folder).make_state()
    x = np.ones((2, 3), np.float32)
    for name, expected in (("first", 0.5), ("second", 2.5), ("first", 3.0)):
        assert np.array_equal(MLModel(folder, function_name=name).predict({"x": x}, state)["total"], x * expected)
    assert np.array_equal(state.read_state("acc"), x * 3)


FEATURES = {
    "ranges": lambda ct: [ct.TensorType("x", (1, ct.RangeDim(2, 5, 3)))],
    "shapes": lambda ct: [ct.TensorType("x", ct.EnumeratedShapes([(1, 3), (1, 7)]))],
    "default": lambda ct: [ct.TensorType("x", (1, 3), default_value=np.full((1, 3), 4, np.float32))],
}


@DIALECTS
@pytest.mark.parametrize("metadata", [True, False], ids=["metadata", "signature"])
@pytest.mark.parametrize("name", FEATURES)
def test_features(ct: Any, mb: Any, save: Save, name: str, version: str, metadata: bool) -> None:
    from coremltools.converters.mil.mil import get_new_symbol

    size = 3 if name == "default" else get_new_symbol()

    @mb.program(input_specs=[mb.TensorSpec((1, size))], opset_version=ct.target.iOS17)
    def program(x: Any) -> Any:
        return mb.mul(x=x, y=np.float32(2), name="y")

    package = save("iOS17", main=program, inputs=FEATURES[name](ct))
    folder = compiled(package, version, metadata=metadata)
    one, other = MLModel(package), MLModel(folder)
    if metadata:
        alike(package, folder)
    for width in (1, 2, 3, 5, 7):
        given = {"x": np.ones((1, width), np.float32)}
        outcomes = [outcome(model, given) for model in (one, other)]
        assert outcomes[0] == outcomes[1]
    assert outcome(one, {}) == outcome(other, {})


def outcome(model: MLModel, given: Any) -> Any:
    try:
        return model.predict(given)["y"].tolist()
    except Exception as error:
        return str(error)


@DIALECTS
def test_a_classifier_of_pictures(ct: Any, mb: Any, tmp_path: Path, version: str) -> None:
    import gc
    import warnings

    pillow = pytest.importorskip("PIL.Image")

    @mb.program(input_specs=[mb.TensorSpec((1, 3, 2, 4))], opset_version=ct.target.iOS16)
    def program(picture: Any) -> Any:
        return mb.softmax(x=mb.reduce_mean(x=picture, axes=[2, 3], keep_dims=False), axis=-1, name="probabilities")

    package = tmp_path / "classifier.mlpackage"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ct.convert(
            program,
            source="milinternal",
            convert_to="mlprogram",
            minimum_deployment_target=ct.target.iOS16,
            inputs=[ct.ImageType("picture", (1, 3, 2, 4), color_layout="BGR", scale=1 / 64)],
            classifier_config=ct.ClassifierConfig(["blue", 'gr"een', "röd"]),
        ).save(str(package))
        gc.collect()
    folder = compiled(package, version)
    picture = pillow.fromarray(np.full((2, 4, 3), (255, 100, 30), np.uint8))
    one, other = (MLModel(path, precision="exact").predict({"picture": picture}) for path in (package, folder))
    assert one == other
    assert one["classLabel"] == "röd"
    first, second = (Package(path).spec.description for path in (package, folder))
    for description in (first, second):  # which of the outputs is the label, only the package says
        description.ClearField("predictedFeatureName")
        description.ClearField("predictedProbabilitiesName")
    assert first == second


# -- commands and caches -----------------------------------------------------------------------------------------------


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return compiled(data(f"coreml/silero-vad/{SILERO[0]}.mlpackage"), folder=tmp_path)


def test_inspect(folder: Path) -> None:
    assert is_model(folder)
    done = CliRunner().invoke(inspect.command, [str(folder)])
    assert done.exit_code == 0, done.output
    assert "audio_input" in done.output and "lstm" in done.output


def test_a_folder_is_known_by_its_program(folder: Path, tmp_path: Path) -> None:
    """As the stages of a compiled pipeline are, whose folders have no ending."""
    stage = folder.rename(tmp_path / "model0")
    assert is_model(stage)
    done = CliRunner().invoke(inspect.command, [str(stage), "--json"])
    assert done.exit_code == 0, done.output


def test_predict(folder: Path, tmp_path: Path) -> None:
    given = inputs_of(folder, "main")
    arguments = [str(folder), "--output-dir", str(tmp_path / "out")]
    for name, array in given.items():
        np.save(tmp_path / f"{name}.npy", array)
        arguments += ["--input", f"{name}={tmp_path / f'{name}.npy'}"]
    done = CliRunner().invoke(predict.command, arguments)
    assert done.exit_code == 0, done.output
    expected = MLModel(data(f"coreml/silero-vad/{SILERO[0]}.mlpackage"), precision="exact").predict(given)
    for name, array in expected.items():
        np.testing.assert_array_equal(np.load(tmp_path / "out" / f"{name}.npy"), array)


def test_what_is_kept_between_processes(folder: Path, tmp_path: Path) -> None:
    """The folder's own hash as the cache's key: other weights are another entry."""
    cache = tmp_path / "cache"

    def run() -> Any:
        kept = Cache(cache, Package(folder).sha256())
        return MLModel(folder, cache=kept).predict(given)["vad_output"]

    given = inputs_of(folder, "main")
    first = run()
    assert np.array_equal(run(), first)
    entries = sorted(path.name for path in cache.iterdir())
    assert entries
    assert np.array_equal(run(), first)
    assert sorted(path.name for path in cache.iterdir()) == entries
    text = (folder / "model.mil").read_text()
    (folder / "model.mil").write_text(text.replace("0x1p-24", "0x1p-23"))
    assert "0x1p-24" in text
    run()
    assert len(list(cache.iterdir())) > len(entries)
