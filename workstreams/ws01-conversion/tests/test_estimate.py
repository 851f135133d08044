"""What --dry-run says is what a conversion makes, and it needs no weights."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from inspect import signature
from math import prod
from pathlib import Path

import pytest

from lilims.conversion import convert
from lilims.conversion.estimate import dry_run
from lilims.conversion.shapes import GraphOptions
from lilims.core import cli
from lilims.core.console import console
from lilims.core.errors import CheckpointError, StorageError, UnsupportedModelError, UsageError
from lilims.core.files import directory_size
from lilims.core.manifest import read_manifest
from lilims.core.testing import test_data as data

from .conftest import MODELS

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="coremltools 9 has no Windows build")
WEIGHTS = "model.mlpackage/Data/com.apple.CoreML/weights/weight.bin"
SPEC = "model.mlpackage/Data/com.apple.CoreML/model.mlmodel"
CASES = [("llama", "int4"), ("gpt2", "fp16"), ("gemma3_text", "lut4-r8"), ("qwen3_moe", "int4-asym"), ("phi", "lut6")]


@pytest.fixture
def config(tmp_path: Path) -> Callable[[str], Path]:
    """Makes a folder that holds a tiny model's config.json alone."""

    def make(name: str) -> Path:
        folder = tmp_path / "config"
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(MODELS[name]["config"]))
        return folder

    return make


@pytest.mark.slow
@pytest.mark.parametrize(("name", "scheme"), CASES, ids=["-".join(c) for c in CASES])
def test_sizes_are_those_of_the_package(
    checkpoint_of: Callable[[str], Path], config: Callable[[str], Path], tmp_path: Path, name: str, scheme: str
) -> None:
    found = dry_run(config(name), quantize=scheme, context=40)
    out = convert(checkpoint_of(name), tmp_path / "out", quantize=scheme, context=40).folder
    manifest = read_manifest(out)
    assert found.weights == (out / WEIGHTS).stat().st_size
    assert found.program == (out / SPEC).stat().st_size
    assert found.package == directory_size(out / "model.mlpackage")
    assert found.parameters == manifest.architecture.parameters
    assert found.bits_per_weight == manifest.quantization.bits_per_weight
    assert found.state == 2 * prod(manifest.state.shape)
    assert found.functions == {name: function.tokens for name, function in manifest.functions.items()}
    assert sum(group.tensors for group in found.groups) == len(manifest.quantization.tensors)
    assert {group.scheme for group in found.groups} == {t.scheme for t in manifest.quantization.tensors.values()}


GRAPHS = {
    "buckets": GraphOptions(buckets=(32,)),
    "host embedding": GraphOptions(embedding="host"),
    "function by function": GraphOptions(split_functions=True),
}


@pytest.mark.parametrize("graph", GRAPHS)
def test_sizes_of_other_layouts(
    checkpoint_of: Callable[[str], Path], config: Callable[[str], Path], tmp_path: Path, graph: str
) -> None:
    """Linked weights count once; programs that are cut into their functions differ by some bytes."""
    options = GRAPHS[graph]
    found = dry_run(config("llama"), context=64, graph=options)
    out = convert(checkpoint_of("llama"), tmp_path / "out", context=64, graph=options).folder
    files = [p for p in out.rglob("*") if p.is_file() and p.name != "manifest.json"]
    assert found.packages == len(list(out.glob("*.mlpackage")))
    assert sum({p.stat().st_ino: p.stat().st_size for p in files}.values()) == pytest.approx(found.package, rel=0.01)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "parameters", "package"),
    [("Mistral-7B-v0.1", 7_241_732_096, 4.08e9), ("edited-for-mediatek/llama3-8B-instruct", 8_030_261_248, 4.52e9)],
)
def test_large_models_need_no_weights(name: str, parameters: int, package: float) -> None:
    """Packages of 4.5 bits a weight and some 10 MB."""
    found = dry_run(data(f"configs/{name}"), context=4096)
    assert found.parameters == parameters
    assert found.package == pytest.approx(package, rel=0.01)
    assert found.conversion < 1e9


def test_a_config_file_will_do(config: Callable[[str], Path]) -> None:
    folder = config("llama")
    assert dry_run(folder / "config.json") == dry_run(folder)


def test_bad_input(config: Callable[[str], Path], tmp_path: Path) -> None:
    folder = config("llama")
    with pytest.raises(UsageError, match="outside the model's 64 positions"):
        dry_run(folder, context=65)
    with pytest.raises(UsageError, match="int5"):
        dry_run(folder, quantize="int5")
    with pytest.raises(CheckpointError, match="no such fi|no such folder"):
        dry_run(tmp_path / "nowhere")
    (tmp_path / "story.txt").write_text("Once")
    with pytest.raises(UnsupportedModelError, match="is a file; a checkpoint is a folder"):
        dry_run(tmp_path / "story.txt")
    (folder / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(UnsupportedModelError, match="'bert' is not supported"):
        dry_run(folder)


@pytest.mark.parametrize("as_json", [False, True], ids=["text", "json"])
def test_the_command(config: Callable[[str], Path], capsys: pytest.CaptureFixture[str], as_json: bool) -> None:
    folder = config("llama")
    found = dry_run(folder)
    try:
        assert cli.run(["convert", str(folder), "--dry-run", *(["--json"] if as_json else [])]) == 0
    finally:
        console.json = False
    out = capsys.readouterr().out
    if as_json:
        value = json.loads(out)
        assert (value["kind"], value["schema_version"]) == ("conversion-plan", 1)
        assert {key: value[key] for key in found.as_dict()} == found.as_dict()
    else:
        assert "functions: decode (1), prefill (64), score (64)" in out
        assert "nothing was written" in out
    assert [p.name for p in folder.iterdir()] == ["config.json"]


def test_an_output_is_asked_for(config: Callable[[str], Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["convert", str(config("llama"))]) == 2
    assert "'-o' / '--output'" in capsys.readouterr().err


def test_too_little_room_is_refused_before_anything_is_written(
    checkpoint_of: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from collections import namedtuple

    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda _path: usage(10**6, 0, 10**5))
    with pytest.raises(StorageError, match=r"the disk has 100\.0 kB free, the model takes \d+\.\d kB"):
        convert(checkpoint_of("llama"), tmp_path / "new" / "out")
    assert list(tmp_path.iterdir()) == []


def test_every_option_that_changes_the_plan_can_be_tried() -> None:
    """A new option of `convert` is one of `dry_run` too, unless it is about the output alone."""
    of_the_output = {"out", "name", "resume", "force", "fp16_scale", "calibration_tokens"}  # the last two: values alone
    of_the_output |= {"budget", "max_bpw", "heldout", "dask"}  # what these choose is not known before it is measured
    assert signature(convert).parameters.keys() - of_the_output == signature(dry_run).parameters.keys()


def test_what_a_budget_chooses_is_not_foretold(
    config: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = str(config("llama"))
    assert cli.run(["convert", folder, "--dry-run", "--budget", "ppl<=3%"]) == 2
    assert "--dry-run cannot tell what --budget will choose" in capsys.readouterr().err
    assert cli.run(["convert", folder, "--dry-run", "--calibrate", "self"]) == 0
    assert "int4-gptq" in capsys.readouterr().out
