"""Exported files run in plain ONNX Runtime and give what `MLModel.predict` gives."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from lilims.core.errors import LilimsError, OutputExistsError, PackageError, UnsupportedError, UsageError
from lilims.core.testing import test_data as find_data
from lilims.runtime.portable import MLModel, export_onnx
from lilims.runtime.portable.spec import parse_model

from .damage import damaged
from .plain import Plain, Save, assert_same, exported
from .test_package import mixed_spec, program_spec, write

# -- published packages ----------------------------------------------------------------------------------------------

SILERO = (
    "silero-vad-stft-v6.0.0",
    "silero-vad-encoder-v6.0.0",
    "silero-vad-decoder-v6.0.0",
    "silero-vad-unified-v6.0.0",
    "unified_int8",
)


@pytest.mark.parametrize("precision", ["exact", "fast"])
@pytest.mark.parametrize("name", SILERO)
def test_silero(name: str, precision: Any, tmp_path: Path) -> None:
    package = find_data("coreml/silero-vad") / f"{name}.mlpackage"
    plain = exported(package, tmp_path / "vad.onnx", precision=precision)
    numbers = np.random.default_rng(3)
    shapes = {name: [size if isinstance(size, int) else 1 for size in shape] for name, shape in plain.shapes.items()}
    steps = [{k: numbers.standard_normal(s).astype(np.float32) for k, s in shapes.items()} for _ in range(3)]
    assert_same(plain, MLModel(package, precision=precision, kernels=False), steps)
    assert plain.metadata["source"] == f"{name}.mlpackage"


# -- states ----------------------------------------------------------------------------------------------------------


def cache(ct: Any, mb: Any, rows: tuple[int, ...]) -> Any:
    """A state [4, 2, 6, 8] of which some rows are written where `slot` says, and read."""
    from coremltools.converters.mil.mil import types

    @mb.program(
        input_specs=[
            mb.StateTensorSpec((4, 2, 6, 8), types.fp16),
            mb.TensorSpec((1, 2, 1, 8), types.fp16),
            mb.TensorSpec((1,), types.int32),
        ],
        opset_version=ct.target.iOS18,
    )
    def program(kv: Any, new: Any, slot: Any) -> Any:
        after = mb.add(x=slot, y=np.int32([1]))
        sums = []
        for row in rows:
            begin = mb.concat(values=[np.int32([row, 0]), slot, np.int32([0])], axis=0)
            end = mb.concat(values=[np.int32([row + 1, 2]), after, np.int32([8])], axis=0)
            scaled = mb.mul(x=new, y=np.float16(row + 1))
            updated = mb.slice_update(x=mb.read_state(input=kv), update=scaled, begin=begin, end=end)
            whole = mb.coreml_update_state(state=kv, value=updated)
            part = mb.slice_by_index(x=whole, begin=[row, 0, 0, 0], end=[row + 1, 2, 6, 8])
            sums.append(mb.reduce_sum(x=part, axes=[2]))
        return mb.concat(values=sums, axis=0, name="sums")

    return program


@pytest.mark.parametrize("rows", [(0, 1, 2, 3), (1,), (0, 3), (2, 3)], ids=str)
def test_a_state_kept_as_rows_is_one_input_and_one_output(
    rows: tuple[int, ...], ct: Any, mb: Any, save: Save, tmp_path: Path
) -> None:
    package = save(main=cache(ct, mb, rows))
    plain = exported(package, tmp_path / "m.onnx")
    assert plain.states == {"kv": "kv_out"}
    plain.held["kv"][:] = 0.5
    model = MLModel(package, precision="exact")
    state = model.make_state()
    state.write_state("kv", np.full((4, 2, 6, 8), 0.5))
    numbers = np.random.default_rng(0)
    for slot in range(4):
        feeds = {"new": numbers.standard_normal((1, 2, 1, 8)).astype(np.float32), "slot": np.int32([slot])}
        np.testing.assert_allclose(plain(feeds)["sums"], model.predict(feeds, state)["sums"], atol=1e-5)
        np.testing.assert_array_equal(plain.held["kv"], state.read_state("kv"))


def test_whole_states_and_one_that_is_only_read(ct: Any, mb: Any, save: Save, tmp_path: Path) -> None:
    from coremltools.converters.mil.mil import types

    @mb.program(
        input_specs=[
            mb.StateTensorSpec((2, 3), types.fp16),
            mb.StateTensorSpec((2, 3), types.fp16),
            mb.TensorSpec((2, 3), types.fp16),
        ],
        opset_version=ct.target.iOS18,
    )
    def program(total: Any, bias: Any, x: Any) -> Any:
        shifted = mb.add(x=x, y=mb.read_state(input=bias))
        new = mb.coreml_update_state(state=total, value=mb.add(x=mb.read_state(input=total), y=shifted))
        return mb.mul(x=new, y=np.float16(2), name="total_out")  # the name that the state's output would have

    package = save(main=program)
    plain = exported(package, tmp_path / "m.onnx")
    assert plain.states == {"total": "total_out2", "bias": "bias_out"}
    numbers = np.random.default_rng(1)
    steps = [{"x": numbers.standard_normal((2, 3)).astype(np.float32)} for _ in range(4)]
    assert_same(plain, MLModel(package, precision="exact"), steps)


# -- features --------------------------------------------------------------------------------------------------------


def test_flexible_shapes_are_symbols(ct: Any, mb: Any, save: Save, tmp_path: Path) -> None:
    from coremltools.converters.mil.mil import get_new_symbol

    @mb.program(input_specs=[mb.TensorSpec((1, get_new_symbol(), 4))], opset_version=ct.target.iOS18)
    def program(x: Any) -> Any:
        return mb.reduce_sum(x=mb.mul(x=x, y=np.float32(3)), axes=[1], name="sums"), mb.relu(x=x, name="y")

    shape = ct.TensorType(name="x", shape=(1, ct.RangeDim(2, 9, default=4), 4))
    package = save(main=program, inputs=[shape])
    plain = exported(package, tmp_path / "m.onnx")
    assert plain.shapes == {"x": [1, "x_1", 4]}
    note = onnx.load(tmp_path / "m.onnx").graph.input[0].doc_string
    assert "axis 1 from 2 to 9" in note
    numbers = np.random.default_rng(0)
    steps = [{"x": numbers.standard_normal((1, size, 4)).astype(np.float32)} for size in (2, 7, 9)]
    assert_same(plain, MLModel(package, precision="exact"), steps)


def change(package: Path, edit: Callable[[Any], None]) -> Path:
    file = package / "Data" / "com.apple.CoreML" / "model.mlmodel"
    spec = parse_model(file.read_bytes(), where="test")
    edit(spec)
    file.write_bytes(spec.SerializeToString())
    return package


def add_two(ct: Any, mb: Any) -> Any:
    @mb.program(input_specs=[mb.TensorSpec((2, 3)), mb.TensorSpec((2, 3))], opset_version=ct.target.iOS18)
    def program(x: Any, bias: Any) -> Any:
        return mb.add(x=x, y=bias, name="y")

    return program


def optional(value: float, size: int | None = None) -> Callable[[Any], None]:
    def edit(spec: Any) -> None:
        kind = spec.description.input[1].type
        kind.isOptional, kind.multiArrayType.floatDefaultValue = True, value
        if size is not None:
            kind.multiArrayType.shape[0] = size

    return edit


def test_an_optional_input_has_its_default(ct: Any, mb: Any, save: Save, tmp_path: Path) -> None:
    package, target = change(save(main=add_two(ct, mb)), optional(2.5)), tmp_path / "m.onnx"
    made = export_onnx(package, target)
    assert (made.inputs, made.optional) == (("x",), ("bias",))
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    plain = Plain(target)
    np.testing.assert_array_equal(plain({"x": x})["y"], x + 2.5)
    np.testing.assert_array_equal(plain({"x": x, "bias": x})["y"], 2 * x)
    assert "optional: 2.5" in {value.name: value.doc_string for value in onnx.load(target).graph.input}["bias"]


def test_a_default_that_would_fill_the_memory(ct: Any, mb: Any, save: Save, tmp_path: Path) -> None:
    package = change(save(main=add_two(ct, mb)), optional(1, 1 << 24))
    with pytest.raises(UnsupportedError, match=r"the default of the optional input 'bias' takes \d+ bytes"):
        export_onnx(package, tmp_path / "m.onnx")


@pytest.mark.parametrize("labels", [["cat", "dog", "a bird"], [7, 3, 10**12]], ids=["strings", "integers"])
def test_images_into_a_classifier(labels: list[Any], ct: Any, mb: Any, tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")

    @mb.program(input_specs=[mb.TensorSpec((1, 3, 2, 3))], opset_version=ct.target.iOS16)
    def program(picture: Any) -> Any:
        return mb.softmax(x=mb.reduce_mean(x=picture, axes=[2, 3]), axis=-1, name="probabilities")

    package = tmp_path / "classifier.mlpackage"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ct.convert(
            program, source="milinternal", convert_to="mlprogram", minimum_deployment_target=ct.target.iOS16,
            inputs=[ct.ImageType("picture", (1, 3, 2, 3), color_layout="RGB", scale=1 / 255)],
            classifier_config=ct.ClassifierConfig(labels),
        ).save(str(package))  # fmt: skip
        gc.collect()
    target = tmp_path / "m.onnx"
    plain = exported(package, target)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 3, 3)).astype(np.uint8)
    expected = MLModel(package, precision="exact").predict({"picture": image.fromarray(pixels)})
    found = plain({"picture": pixels.transpose(2, 0, 1)[None].astype(np.float32)})
    assert found["classLabel"].item() == expected["classLabel"]
    assert found["classLabel_probs"][0] == pytest.approx(expected["classLabel_probs"], abs=1e-6)
    assert "an image [1, 3, height, width], RGB, 0 to 255" in onnx.load(target).graph.input[0].doc_string


def test_several_functions(ct: Any, mb: Any, save: Save, tmp_path: Path) -> None:
    def scaled(factor: float) -> Any:
        @mb.program(input_specs=[mb.TensorSpec((2, 3))], opset_version=ct.target.iOS18)
        def program(x: Any) -> Any:
            return mb.mul(x=x, y=np.float32(factor), name="y")

        return program

    package = save(twice=scaled(2), thrice=scaled(3))
    x = np.ones((2, 3), np.float32)
    for function, factor in ((None, 2), ("thrice", 3), ("twice", 2)):
        plain = exported(package, tmp_path / f"{function}.onnx", function_name=function)
        assert plain.metadata["function"] == (function or "twice")
        assert np.array_equal(plain({"x": x})["y"], factor * x)
    with pytest.raises(UsageError, match="no function 'none'") as caught:
        export_onnx(package, tmp_path / "m.onnx", "none")
    assert "twice, thrice" in str(caught.value.hint)


def test_bodies_of_ops_see_the_new_names(ct: Any, mb: Any, save: Save, tmp_path: Path) -> None:
    @mb.program(input_specs=[mb.TensorSpec((2, 3)), mb.TensorSpec((2, 3))], opset_version=ct.target.iOS18)
    def program(x: Any, other: Any) -> Any:
        positive = mb.greater(x=mb.reduce_sum(x=x, keep_dims=False), y=np.float32(0))
        return mb.cond(
            pred=positive, _true_fn=lambda: mb.mul(x=x, y=other), _false_fn=lambda: mb.sub(x=other, y=x), name="y"
        )

    package = save(main=program)
    plain = exported(package, tmp_path / "m.onnx")
    numbers = np.random.default_rng(6)
    for sign in (1, -1):
        x, other = (numbers.random((2, 3)).astype(np.float32) for _ in range(2))
        found = plain({"x": sign * x, "other": other})["y"]
        np.testing.assert_allclose(found, x * other if sign > 0 else other + x, rtol=1e-6)


def named(spec: Any, x: str, y: str) -> Any:
    """The same model with other names for its input and its output."""
    function = spec.mlProgram.functions["main"]
    block = function.block_specializations["CoreML8"]
    spec.description.input[0].name = function.inputs[0].name = x
    block.operations[0].inputs["x"].arguments[0].name = x
    spec.description.output[0].name = block.outputs[0] = block.operations[0].outputs[0].name = y
    return spec


@pytest.mark.parametrize("names", [("Identity_1", "const_1"), ("in:y", "y"), ("a b/ü", "out:a"), ("inner_1", "x.fp16")])
def test_names_that_the_graph_uses_itself(names: tuple[str, str], tmp_path: Path) -> None:
    plain = exported(write(tmp_path, named(program_spec(), *names)), tmp_path / "m.onnx")
    assert np.array_equal(plain({names[0]: np.float32([1, 2])})[names[1]], [1, 2])


def test_an_output_that_is_an_input(tmp_path: Path) -> None:
    spec = program_spec()
    spec.mlProgram.functions["main"].block_specializations["CoreML8"].outputs[0] = "x"
    spec.description.output[0].name = "x"
    plain = exported(write(tmp_path, spec), tmp_path / "m.onnx")
    assert np.array_equal(plain({"x": np.float32([1, 2])})["x_out"], [1, 2])


def test_an_output_that_is_listed_twice(tmp_path: Path) -> None:
    spec = program_spec()
    spec.mlProgram.functions["main"].block_specializations["CoreML8"].outputs.append("y")
    with pytest.raises(PackageError, match="gives the output 'y' twice"):
        export_onnx(write(tmp_path, spec), tmp_path / "m.onnx")
    assert not (tmp_path / "m.onnx").exists()


def test_what_the_file_says_of_itself(tmp_path: Path) -> None:
    from lilims.runtime.portable.package import Package

    spec = program_spec()
    metadata = spec.description.metadata
    metadata.shortDescription, metadata.author, metadata.userDefined["made with"] = "gives back", "someone", "care"
    package = write(tmp_path, spec)
    plain = exported(package, tmp_path / "m.onnx")
    assert plain.metadata == {
        "function": "main", "precision": "exact", "states": "{}", "source": "model.mlpackage",
        "source_sha256": Package(package).sha256(), "description": "gives back", "author": "someone",
        "user.made with": "care",
    }  # fmt: skip


# -- refusals --------------------------------------------------------------------------------------------------------


def test_what_exists_is_left_alone(tmp_path: Path) -> None:
    package = write(tmp_path, program_spec())
    for name in ("m.onnx", "n.onnx.data"):
        (tmp_path / name).write_text("mine")
        with pytest.raises(OutputExistsError, match="the target exists already") as caught:
            export_onnx(package, tmp_path / name.removesuffix(".data"))
        assert name in str(caught.value) and "\n" not in str(caught.value)
        assert (tmp_path / name).read_text() == "mine"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.onnx", "model.mlpackage", "n.onnx.data"]


@pytest.mark.parametrize("seed", range(60))
def test_a_damaged_byte_is_one_error_or_a_file(seed: int, tmp_path: Path) -> None:
    package = write(tmp_path, damaged(mixed_spec(), seed))
    target = tmp_path / "m.onnx"
    refused = ""
    try:
        export_onnx(package, target)
    except LilimsError as error:
        refused = str(error)
    assert "\n" not in refused
    assert target.exists() == (not refused)
    if not refused:
        onnx.load(target)


def test_an_unknown_precision(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="unknown precision 'fp16'"):
        export_onnx(tmp_path / "none.mlpackage", tmp_path / "m.onnx", precision="fp16")  # type: ignore[arg-type]
