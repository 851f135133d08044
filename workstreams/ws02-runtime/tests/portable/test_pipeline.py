"""Pipelines: what they give is what their models give one after the other; hostile ones end in typed errors."""

from __future__ import annotations

import gc
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from lilims.core.console import console
from lilims.core.errors import LilimsError, PackageError, UnsupportedError, UsageError
from lilims.runtime.commands import predict
from lilims.runtime.portable import MLModel, describe_package, export_onnx
from lilims.runtime.portable.cache import Cache
from lilims.runtime.portable.spec import new_message

from .damage import damaged
from .test_package import FP32, program_spec, tensor_type, write

X = np.random.default_rng(0).standard_normal((1, 64)).astype(np.float32)


def linear(ct: Any, mb: Any, seed: int, takes: str, gives: str, width: int = 64) -> Any:
    """gives = tanh(takes · W), W of 8 kB."""
    weight = np.random.default_rng(seed).standard_normal((width, 64)).astype(np.float32) / 8
    placeholder = {takes: mb.placeholder((1, 64))}

    from coremltools.converters.mil.mil import Function, Program

    program = Program()
    with Function(placeholder, opset_version=ct.target.iOS17) as function:
        result = mb.tanh(x=mb.linear(x=function.inputs[takes], weight=weight), name=gives)
        function.set_outputs([result])
    program.add_function("main", function)
    return program


def add(ct: Any, mb: Any, x: str, y: str, gives: str) -> Any:
    from coremltools.converters.mil.mil import Function, Program

    program = Program()
    with Function({x: mb.placeholder((1, 64)), y: mb.placeholder((1, 64))}, opset_version=ct.target.iOS17) as function:
        function.set_outputs([mb.add(x=function.inputs[x], y=function.inputs[y], name=gives)])
    program.add_function("main", function)
    return program


Join = Callable[..., tuple[Path, list[Path]]]


@pytest.fixture
def join(ct: Any, tmp_path: Path) -> Join:
    """Saves programs each as a package and all as a pipeline."""

    def write_all(*programs: Any, **settings: Any) -> tuple[Path, list[Path]]:
        models, parts = [], []
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for i, program in enumerate(programs):
                models.append(
                    ct.convert(
                        program, source="milinternal", convert_to="mlprogram", skip_model_load=True,
                        minimum_deployment_target=ct.target.iOS17, compute_units=ct.ComputeUnit.CPU_ONLY,
                        **settings.get(f"of_{i}", {}),
                    )
                )  # fmt: skip
                parts.append(tmp_path / f"part{i}.mlpackage")
                models[-1].save(str(parts[-1]))
            whole = tmp_path / "pipeline.mlpackage"
            ct.utils.make_pipeline(*models).save(str(whole))
            del models
            gc.collect()  # coremltools leaves temporary folders to the collector, which would warn in a later test
        return whole, parts

    return write_all


def in_turn(parts: list[Path], data: dict[str, Any], **options: Any) -> dict[str, Any]:
    """What the models give when each is called by hand with all that there is."""
    values = dict(data)
    for part in parts:
        model = MLModel(part, **options)
        values.update(model.predict({name: values[name] for name in model.input_description}))
    return values


@pytest.mark.parametrize("precision", ["exact", "fast", "fp16"])
def test_two_models(precision: Any, ct: Any, mb: Any, join: Join) -> None:
    whole, parts = join(linear(ct, mb, 1, "x", "h"), linear(ct, mb, 2, "h", "y"))
    weights = whole / "Data/com.apple.CoreML/weights"
    assert sorted(path.name for path in weights.iterdir()) == ["0-weight.bin", "1-weight.bin"]
    model = MLModel(whole, precision=precision)
    found = model.predict({"x": X})
    assert list(found) == list(model.output_description) == ["y"]
    assert np.array_equal(found["y"], in_turn(parts, {"x": X}, precision=precision)["y"])
    assert np.abs(found["y"]).max() > 0.1
    assert (model.function_names, model.function_name, model.overflows) == ((), "", [])


def test_a_value_that_several_take(ct: Any, mb: Any, join: Join) -> None:
    whole, parts = join(
        linear(ct, mb, 1, "x", "h"), linear(ct, mb, 2, "h", "k"), add(ct, mb, "h", "k", "s"), add(ct, mb, "x", "s", "y")
    )
    found = MLModel(whole, precision="exact")
    assert list(found.input_description) == ["x"]
    assert np.array_equal(found.predict({"x": X})["y"], in_turn(parts, {"x": X}, precision="exact")["y"])


def model(name: str, takes: str = "x", gives: str = "y", size: int = 2, factor: float = 2) -> Any:
    """A `Model` message: gives = factor · takes, of that many elements."""
    spec = program_spec()
    function = spec.mlProgram.functions["main"]
    block = function.block_specializations["CoreML8"]
    spec.description.input[0].name = function.inputs[0].name = takes
    spec.description.output[0].name = block.outputs[0] = gives
    op = block.operations[0]
    op.type = "mul"
    op.inputs["x"].arguments[0].name = takes
    literal = op.inputs["y"].arguments.add().value
    literal.type.CopyFrom(tensor_type(FP32))
    literal.immediateValue.tensor.floats.values.append(factor)
    op.outputs[0].name = gives
    for types in (function.inputs[0].type, op.outputs[0].type):
        types.CopyFrom(tensor_type(FP32, size))
    for feature in (spec.description.input[0], spec.description.output[0]):
        feature.type.multiArrayType.shape[0] = size
    spec.description.metadata.shortDescription = name
    return spec


def pipeline(*models: Any, takes: str = "x", gives: str = "y", kind: str = "pipeline") -> Any:
    spec = new_message("Model", specificationVersion=9)
    whole = spec.pipeline if kind == "pipeline" else getattr(spec, kind).pipeline
    whole.models.extend(models)
    spec.description.input.add().CopyFrom(model("", takes).description.input[0])
    spec.description.output.add().CopyFrom(model("", gives=gives).description.output[0])
    return spec


@pytest.mark.parametrize("kind", ["pipeline", "pipelineClassifier", "pipelineRegressor"])
def test_every_kind_of_pipeline(kind: str, tmp_path: Path) -> None:
    spec = pipeline(model("a", "x", "h"), model("b", "h", "y", factor=5), kind=kind)
    assert np.array_equal(MLModel(write(tmp_path, spec)).predict({"x": [1, 2]})["y"], [10, 20])


def test_a_later_value_replaces_one_of_its_name(tmp_path: Path) -> None:
    spec = pipeline(model("a", "x", "y"), model("b", "y", "y2"), model("c", "y2", "y", factor=3), model("d", "y", "z"))
    package = write(tmp_path, spec)
    assert np.array_equal(MLModel(package).predict({"x": [1, 2]})["y"], [12, 24])


def test_an_input_that_is_also_an_output(tmp_path: Path) -> None:
    spec = pipeline(model("a", "x", "h"), gives="x")
    assert np.array_equal(MLModel(write(tmp_path, spec)).predict({"x": np.float32([1, 2])})["x"], [1, 2])


def test_optional_inputs(tmp_path: Path) -> None:
    """Absent ones take the default of the model that wants them."""
    second = model("b", "bias", "other")
    kind = second.description.input[0].type
    kind.isOptional, kind.multiArrayType.floatDefaultValue = True, 1.5
    spec = pipeline(model("a", "x", "y"), second)
    spec.description.input.add().CopyFrom(second.description.input[0])
    spec.description.output.add().CopyFrom(second.description.output[0])
    found = MLModel(write(tmp_path, spec))
    assert np.array_equal(found.predict({"x": [1, 2]})["other"], [3, 3])
    assert np.array_equal(found.predict({"x": [1, 2], "bias": [0, 1]})["other"], [0, 2])


def test_images_in_and_a_label_out(ct: Any, mb: Any, join: Join) -> None:
    image = pytest.importorskip("PIL.Image")

    @mb.program(input_specs=[mb.TensorSpec((1, 3, 2, 3))], opset_version=ct.target.iOS17)
    def features(picture: Any) -> Any:
        return mb.reduce_mean(x=picture, axes=[2, 3], name="means")

    @mb.program(input_specs=[mb.TensorSpec((1, 3))], opset_version=ct.target.iOS17)
    def classifier(means: Any) -> Any:
        return mb.softmax(x=means, axis=-1, name="probabilities")

    whole, parts = join(
        features,
        classifier,
        of_0={"inputs": [ct.ImageType("picture", (1, 3, 2, 3), scale=1 / 255)]},
        of_1={"classifier_config": ct.ClassifierConfig(["red", "green", "blue"])},
    )
    pixels = np.zeros((2, 3, 3), np.uint8)
    pixels[..., 1] = 200
    picture = image.fromarray(pixels)
    found = MLModel(whole, precision="exact").predict({"picture": picture})
    expected = in_turn(parts, {"picture": picture}, precision="exact")
    assert found["classLabel"] == expected["classLabel"] == "green"
    assert found["classLabel_probs"] == expected["classLabel_probs"]


def stateful(takes: str, gives: str, state: str) -> Any:
    """gives = what the state has summed up of takes."""
    spec = model("", takes, gives, factor=1)
    function = spec.mlProgram.functions["main"]
    function.inputs.add(name=state).type.stateType.wrappedType.CopyFrom(tensor_type(FP32, 2))
    operations = function.block_specializations["CoreML8"].operations
    product = operations[0]
    del operations[:]
    read = operations.add(type="read_state")
    read.inputs["input"].arguments.add(name=state)
    read.outputs.add(name="old", type=tensor_type(FP32, 2))
    total = operations.add()
    total.CopyFrom(product)
    total.type = "add"
    total.inputs["y"].arguments[0].Clear()
    total.inputs["y"].arguments[0].name = "old"
    written = operations.add(type="write_state")
    written.inputs["input"].arguments.add(name=state)
    written.inputs["data"].arguments.add(name=gives)
    return spec


def test_states_of_members(tmp_path: Path) -> None:
    spec = pipeline(stateful("x", "h", "first"), model("b", "h", "k"), stateful("k", "y", "second"))
    found = MLModel(write(tmp_path, spec))
    assert list(found.state_description) == ["first", "second"]
    state = found.make_state()
    for total in ([2, 2], [6, 6], [12, 12]):
        assert np.array_equal(found.predict({"x": [1, 1]}, state)["y"], total)
    assert np.array_equal(state.read_state("first"), [3, 3])
    with pytest.raises(UsageError, match="the pipeline needs a state"):
        found.predict({"x": [1, 1]})


def test_two_members_with_one_state(tmp_path: Path) -> None:
    spec = pipeline(stateful("x", "h", "s"), stateful("h", "y", "s"))
    with pytest.raises(UnsupportedError, match="member 'model1' has a state 's', as another has"):
        MLModel(write(tmp_path, spec))


def test_each_member_has_its_own_place_in_the_cache(tmp_path: Path) -> None:
    package = write(tmp_path, pipeline(model("a", "x", "h"), model("b", "h", "y", factor=5)))
    cache = Cache(tmp_path / "cache", "the package's hash")
    for _ in range(2):
        found = MLModel(package, cache=cache)
        assert np.array_equal(found.predict({"x": [1, 2]})["y"], [10, 20])
        del found
        gc.collect()
    assert len([path for path in cache.folder.iterdir() if path.is_dir()]) == 2


# -- wrong calls -----------------------------------------------------------------------------------------------------


def test_wrong_calls(tmp_path: Path) -> None:
    package = write(tmp_path, pipeline(model("a", "x", "h"), model("b", "h", "y")))
    found = MLModel(package)
    for data, reason in (
        ({}, "'x' is missing"),
        ({"x": [1, 2], "h": [1, 2]}, "there is no input 'h'"),
        ({"x": [1, 2, 3]}, "'x' has shape"),
    ):
        with pytest.raises(UsageError, match=reason):
            found.predict(data)
    with pytest.raises(UsageError, match="it has no function 'main'"):
        MLModel(package, "main")
    with pytest.raises(UsageError, match="cannot be traced"):
        MLModel(package, trace=tmp_path / "trace")
    with pytest.raises(UnsupportedError, match="this is a pipeline of 2 models"):
        export_onnx(package, tmp_path / "m.onnx")
    assert not (tmp_path / "m.onnx").exists()


# -- hostile ones ----------------------------------------------------------------------------------------------------


def named(*names: str) -> Any:
    spec = pipeline(model("a", "x", "h"), model("b", "h", "y"))
    spec.pipeline.names.extend(names)
    return spec


def of_kind(kind: str) -> Any:
    member = new_message("Model")
    (getattr(member, kind).SetInParent if kind.startswith("pipeline") else lambda: setattr(member, kind, b""))()
    spec = pipeline(model("a"), member)
    spec.pipeline.names.extend(["first", "second"])
    return spec


def updatable(whole: bool) -> Any:
    spec = pipeline(model("a"))
    (spec if whole else spec.pipeline.models[0]).isUpdatable = True
    return spec


def doubled(where: str) -> Any:
    spec = pipeline(model("a"))
    description = spec.description if where == "pipeline" else spec.pipeline.models[0].description
    description.input.add().CopyFrom(description.input[0])
    return spec


def another_kind(of: str) -> Any:
    spec = pipeline(model("a", "x", "h"), model("b", "h", "y"))
    feature = spec.description.output[0] if of == "output" else spec.pipeline.models[1].description.input[0]
    feature.type.imageType.width = 1
    return spec


HOSTILE: dict[str, tuple[Callable[[], Any], type[LilimsError], str]] = {
    "empty": (lambda: pipeline(), PackageError, "has 0 models"),
    "absurd count": (lambda: pipeline(*[new_message("Model")] * 100_000), PackageError, "has 100000 models"),
    "name too few": (lambda: named("only"), PackageError, "2 models have the names"),
    "name twice": (lambda: named("a", "a"), PackageError, "2 models have the names"),
    "missing link": (lambda: pipeline(model("a", "z", "y")), PackageError, "'z' of .* 'model0' comes from nowhere"),
    "cycle": (
        lambda: pipeline(model("a", "h", "k"), model("b", "k", "h")), PackageError, "'h' of .* comes from nowhere"
    ),
    "output that none gives": (lambda: pipeline(model("a"), gives="z"), PackageError, "no member .* output 'z'"),
    "nested": (lambda: of_kind("pipeline"), UnsupportedError, "member 'second' is a pipeline itself"),
    "nested classifier": (lambda: of_kind("pipelineClassifier"), UnsupportedError, "'second' is a pipeline itself"),
    "neural network": (lambda: of_kind("neuralNetwork"), UnsupportedError, "'second' is a neuralNetwork model"),
    "trees": (lambda: of_kind("treeEnsembleClassifier"), UnsupportedError, "'second' is a treeEnsembleClassifier"),
    "no model": (lambda: pipeline(new_message("Model")), PackageError, "'model0' holds no model"),
    "updatable": (lambda: updatable(True), UnsupportedError, "the pipeline can be trained"),
    "updatable member": (lambda: updatable(False), UnsupportedError, "member 'model0' can be trained"),
    "input twice": (lambda: doubled("pipeline"), PackageError, "the pipeline describes 'x' twice"),
    "member's input twice": (lambda: doubled("member"), PackageError, "the member 'model0' describes 'x' twice"),
    "kind of a link": (lambda: another_kind("link"), PackageError, "'h' is of kind multiArrayType, .* says imageType"),
    "kind of an output": (lambda: another_kind("output"), PackageError, "'y' is of kind multiArrayType, .* imageType"),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile(case: str, tmp_path: Path) -> None:
    make, kind, reason = HOSTILE[case]
    package = write(tmp_path, make())
    for use in (MLModel, describe_package):
        with pytest.raises(kind, match=reason) as caught:
            use(package)
        assert "\n" not in str(caught.value)


def test_shapes_that_do_not_meet(tmp_path: Path) -> None:
    spec = pipeline(model("a", "x", "h"), model("b", "h", "y", size=3))
    with pytest.raises(PackageError, match=r"'model0' gives does not fit 'model1': the input 'h' has shape \[2\]"):
        MLModel(write(tmp_path, spec)).predict({"x": [1, 2]})


@pytest.mark.parametrize("name", ["@model_path/../../../secret", "/etc/passwd", "@model_path/weights/none.bin"])
def test_where_a_members_weights_may_be(name: str, tmp_path: Path) -> None:
    spec = pipeline(model("a", "x", "h"), model("b", "h", "y"))
    block = spec.pipeline.models[1].mlProgram.functions["main"].block_specializations["CoreML8"]
    literal = block.operations[0].inputs["y"].arguments[0].value
    literal.Clear()
    literal.type.CopyFrom(tensor_type(FP32, 2))
    literal.blobFileValue.fileName, literal.blobFileValue.offset = name, 64
    with pytest.raises(PackageError):
        MLModel(write(tmp_path, spec)).predict({"x": [1, 2]})


@pytest.mark.parametrize("seed", range(60))
def test_a_damaged_byte_is_one_error_or_none(seed: int, tmp_path: Path) -> None:
    spec = pipeline(stateful("x", "h", "s"), model("b", "h", "y"))
    spec.pipeline.names.extend(["first", "second"])
    package = write(tmp_path, damaged(spec, seed))
    outcome = "a result"
    try:
        describe_package(package)
        found = MLModel(package)
        found.predict({"x": [1.0, 2.0]}, found.make_state())
    except LilimsError as error:
        outcome = str(error)
    assert outcome


# -- commands --------------------------------------------------------------------------------------------------------


def test_what_it_is_described_as(ct: Any, mb: Any, join: Join) -> None:
    whole, parts = join(linear(ct, mb, 1, "x", "h"), linear(ct, mb, 2, "h", "y"))
    info = describe_package(whole)
    assert info.members == ("model0", "model1")
    assert [function.name for function in info.functions] == ["pipeline", "model0", "model1"]
    first = info.functions[0]
    assert ([f.name for f in first.inputs], [f.name for f in first.outputs], first.ops) == (["x"], ["y"], {})
    assert info.functions[1].ops["tanh"] == 1
    assert info.weight_bytes == sum(describe_package(part).weight_bytes for part in parts)
    json.dumps(info.as_dict())


def test_predict_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = write(tmp_path, pipeline(model("a", "x", "h"), stateful("h", "y", "s")))
    np.save(tmp_path / "x.npy", np.float32([1, 2]))
    monkeypatch.setattr(console, "json", False)  # the option changes it
    arguments = [str(package), "--input", f"x={tmp_path / 'x.npy'}", "--repeat", "3", "--json"]
    done = CliRunner().invoke(predict.command, [*arguments, "--output-dir", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["outputs"]["y"]["most"] == 12
    assert np.array_equal(np.load(tmp_path / "out" / "y.npy"), [6, 12])


def test_inspect_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lilims.runtime.commands import inspect

    package = write(tmp_path, pipeline(model("a", "x", "h"), model("b", "h", "y")))
    monkeypatch.setenv("COLUMNS", "120")
    done = CliRunner().invoke(inspect.command, [str(package)])
    assert done.exit_code == 0, done.output
    assert "pipeline of 2 ML Programs" in done.output.replace("\n", " ")
    assert "model1" in done.output
