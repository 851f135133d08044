"""`lilims predict`: files in, files out, and what is wrong with them."""

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
from lilims.core.errors import ExecutionError, InputError, LilimsError, UsageError
from lilims.runtime.commands.predict import command, read_inputs, write_outputs
from lilims.runtime.portable.spec import parse_model

from .hostile import CASES

X = np.arange(6, dtype=np.float32).reshape(2, 3)


@pytest.fixture
def package(ct: Any, mb: Any, save: Callable[..., Path]) -> Path:
    """twice = 2 x; total: what a state has summed up."""
    from coremltools.converters.mil.mil import types

    @mb.program(
        input_specs=[mb.StateTensorSpec((2, 3), types.fp16), mb.TensorSpec((2, 3), types.fp16)],
        opset_version=ct.target.iOS18,
    )
    def program(acc: Any, x: Any) -> Any:
        total = mb.coreml_update_state(state=acc, value=mb.add(x=mb.read_state(input=acc), y=x))
        return mb.mul(x=x, y=np.float16(2), name="twice"), mb.mul(x=total, y=np.float16(1), name="total")

    return save(main=program)


@pytest.fixture
def predict(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    def run(*arguments: Any) -> Any:
        return CliRunner().invoke(command, [str(argument) for argument in arguments])

    return run


@pytest.fixture
def array(tmp_path: Path) -> Path:
    np.save(tmp_path / "x.npy", X)
    return tmp_path / "x.npy"


def test_arrays_go_in_and_come_out(predict: Any, package: Path, array: Path, tmp_path: Path) -> None:
    done = predict(package, "--input", f"x={array}", "--repeat", 3, "--output-dir", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["total.npy", "twice.npy"]
    np.testing.assert_array_equal(np.load(tmp_path / "out" / "twice.npy"), 2 * X)
    np.testing.assert_array_equal(np.load(tmp_path / "out" / "total.npy"), 3 * X)
    assert "twice" in done.output and "[2, 3]" in done.output


def test_json(predict: Any, package: Path, array: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "json", False)  # the option changes it
    done = predict(package, "--input", f"x={array}", "--json")
    assert done.exit_code == 0, done.exception
    found = json.loads(done.stdout)
    assert (found["kind"], found["function"]) == ("predict", "main")
    assert found["outputs"]["twice"] == {
        "dtype": "float32", "shape": [2, 3], "least": 0.0, "mean": 5.0, "most": 10.0, "not_finite": 0,
    }  # fmt: skip


def test_images(ct: Any, mb: Any, predict: Any, tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    pixels = np.arange(18, dtype=np.uint8).reshape(2, 3, 3) * 14

    @mb.program(input_specs=[mb.TensorSpec((1, 3, 2, 3))], opset_version=ct.target.iOS16)
    def program(picture: Any) -> Any:
        return mb.mul(x=picture, y=np.float32(1), name="same")

    path = tmp_path / "image.mlpackage"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ct.convert(
            program, source="milinternal", convert_to="mlprogram", minimum_deployment_target=ct.target.iOS16,
            inputs=[ct.ImageType("picture", (1, 3, 2, 3))],
        ).save(str(path))  # fmt: skip
        gc.collect()
    file = path / "Data" / "com.apple.CoreML" / "model.mlmodel"
    spec = parse_model(file.read_bytes(), where="test")  # what a converter of images writes for such an output
    spec.description.output[0].type.imageType.CopyFrom(spec.description.input[0].type.imageType)
    file.write_bytes(spec.SerializeToString())
    image.fromarray(pixels).save(tmp_path / "in.png")
    done = predict(path, "--input", f"picture={tmp_path / 'in.png'}", "--output-dir", tmp_path / "out")
    assert done.exit_code == 0, done.output
    with image.open(tmp_path / "out" / "same.png") as found:
        np.testing.assert_array_equal(np.asarray(found), pixels)


def damaged(folder: Path) -> dict[str, tuple[str, type[LilimsError], str]]:
    np.save(folder / "pickled.npy", np.array([{}], object), allow_pickle=True)
    np.save(folder / "good.npy", X)
    (folder / "cut.npy").write_bytes((folder / "good.npy").read_bytes()[:-5])
    (folder / "empty.npy").write_bytes(b"")
    header = np.lib.format.magic(1, 0) + (118).to_bytes(2, "little") + b"{'descr': '<f4', '''".ljust(117) + b"\n"
    (folder / "header.npy").write_bytes(header)
    (folder / "text.txt").write_text("1 2 3")
    return {
        "pickle": (f"x={folder / 'pickled.npy'}", InputError, "not an array"),
        "cut": (f"x={folder / 'cut.npy'}", InputError, "not an array"),
        "empty": (f"x={folder / 'empty.npy'}", InputError, "not an array"),
        "header": (f"x={folder / 'header.npy'}", InputError, "not an array"),
        "missing": (f"x={folder / 'none.npy'}", InputError, "no such file"),
        "text": (f"x={folder / 'text.txt'}", UsageError, "neither an array"),
        "form": ("x", UsageError, "is not NAME=FILE"),
        "nameless": (f"={folder / 'good.npy'}", UsageError, "is not NAME=FILE"),
    }


@pytest.mark.parametrize("case", ["pickle", "cut", "empty", "header", "missing", "text", "form", "nameless"])
def test_bad_files(tmp_path: Path, case: str) -> None:
    text, kind, reason = damaged(tmp_path)[case]
    with pytest.raises(kind, match=reason) as caught:
        read_inputs([text])
    assert "\n" not in str(caught.value)


def test_an_array_that_python_2_wrote(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.zeros(3, np.float32))
    raw = (tmp_path / "x.npy").read_bytes()
    (tmp_path / "x.npy").write_bytes(raw.replace(b"(3,), } ", b"(3L,), }"))
    assert read_inputs([f"x={tmp_path / 'x.npy'}"])["x"].tolist() == [0, 0, 0]


def test_a_damaged_image(tmp_path: Path) -> None:
    pytest.importorskip("PIL.Image")
    (tmp_path / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    with pytest.raises(InputError, match="not an image"):
        read_inputs([f"x={tmp_path / 'x.png'}"])


def test_inputs_that_do_not_fit(predict: Any, package: Path, array: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "wide.npy", np.zeros((2, 4), np.float32))
    for arguments, reason in (
        ((), "'x' is missing"),
        (("--input", f"y={array}"), "there is no input 'y'"),
        (("--input", f"x={tmp_path / 'wide.npy'}"), "has shape"),
        (("--input", f"x={array}", "--input", f"x={array}"), "given twice"),
        (("--input", f"x={array}", "--function", "none"), "no function 'none'"),
    ):
        done = predict(package, *arguments, "--output-dir", tmp_path / "out")
        assert isinstance(done.exception, UsageError), done.output
        assert reason in str(done.exception)
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("name", ["../x", "a/b", ".hidden", ""])
def test_an_outputs_name_is_no_way_out_of_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="cannot be a file's name"):
        write_outputs(tmp_path / "out", {"fine": X, name: X})
    assert list(tmp_path.iterdir()) == []


def test_a_program_without_end_is_given_up(predict: Any, tmp_path: Path) -> None:
    package = CASES["a-loop-without-end"]().write(tmp_path / "endless.mlpackage")
    np.save(tmp_path / "x.npy", np.float32([1, 2]))
    done = predict(package, "--input", f"x={tmp_path / 'x.npy'}", "--time-limit", 0.3)
    assert isinstance(done.exception, ExecutionError) and done.exception.exit_code == 1
    assert str(done.exception) == "the program did not end within 0.3 s"
