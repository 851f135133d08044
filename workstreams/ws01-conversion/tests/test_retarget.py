"""Another context without another conversion: the same bytes as a conversion at that context gives."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from lilims.conversion import GraphOptions, convert, retarget
from lilims.conversion.commands.retarget import command
from lilims.core.errors import ContractError, IntegrityError, ManifestError, OutputExistsError, UsageError
from lilims.core.integrity import verify_files
from lilims.core.manifest import read_manifest
from lilims.runtime import load

from .test_package import SPEC, WEIGHTS

pytestmark = pytest.mark.slow

SMALL = GraphOptions(prefill_chunk=16)
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("llama", {}),
    "llama decomposed": ("llama", {"attention": "decomposed"}),
    "learned positions": ("gpt2", {}),
    "sliding window": ("mistral", {}),
    "local masks": ("gemma3_text", {"quantize": "int4"}),
    "soft-caps": ("gemma2", {"attention": "decomposed"}),
    "buckets": ("qwen2", {"graph": GraphOptions(prefill_chunk=8, buckets=(32,))}),
    "convolutions": ("llama", {"graph": GraphOptions(prefill_chunk=16, layout="conv")}),
    "split": ("llama", {"graph": GraphOptions(prefill_chunk=16, max_chunk_mb=0.12)}),
    "a package a function": ("llama", {"graph": GraphOptions(prefill_chunk=16, split_functions=True)}),
}


def made(checkpoint: Path, out: Path, context: int, **options: Any) -> Path:
    return convert(checkpoint, out, context=context, name="m", **{"quantize": "fp16", "graph": SMALL, **options}).folder


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("case", CASES)
def test_equals_a_conversion_at_that_context(checkpoint_of: Callable[[str], Path], tmp_path: Path, case: str) -> None:
    """Byte for byte, manifest and program and weights: up from 40 to 64 positions and down again."""
    name, options = CASES[case]
    small = made(checkpoint_of(name), tmp_path / "small", 40, **options)
    large = made(checkpoint_of(name), tmp_path / "large", 64, **options)
    assert contents(small) != contents(large)
    up = retarget(small, 64, tmp_path / "up")
    assert contents(up.folder) == contents(large)
    down = retarget(large, 40, tmp_path / "down")
    assert contents(down.folder) == contents(small)


@pytest.mark.parametrize("name", ["llama", "gpt2", "mistral", "gemma3_text"])
def test_logits_are_those_of_a_fresh_conversion(
    checkpoint_of: Callable[[str], Path], tmp_path: Path, name: str
) -> None:
    made(checkpoint_of(name), tmp_path / "small", 32)
    done = retarget(tmp_path / "small", 60, tmp_path / "retargeted")
    fresh = made(checkpoint_of(name), tmp_path / "fresh", 60)
    ids = np.random.default_rng(3).integers(0, done.manifest.architecture.vocab_size, 60).tolist()
    found, wanted = (load(folder, precision="exact").logits(ids) for folder in (done.folder, fresh))
    np.testing.assert_array_equal(found, wanted)


def test_a_size_that_equals_the_rows_is_left_alone(checkpoint_of: Callable[[str], Path], tmp_path: Path) -> None:
    """A context of 48 has 64 rows, and 64 is also the hidden size of the model."""
    small = made(checkpoint_of("llama"), tmp_path / "small", 48)
    assert read_manifest(small).state.shape[2] == read_manifest(small).architecture.hidden_size == 64
    retarget(small, 20, tmp_path / "less")
    fresh = made(checkpoint_of("llama"), tmp_path / "fresh", 20)
    assert contents(tmp_path / "less") == contents(fresh)


def test_weights_are_links(checkpoint_of: Callable[[str], Path], tmp_path: Path) -> None:
    small = made(checkpoint_of("llama"), tmp_path / "small", 40)
    done = retarget(small, 64, tmp_path / "out")
    assert (done.folder / WEIGHTS).samefile(small / WEIGHTS)
    assert not (done.folder / SPEC).samefile(small / SPEC)
    verify_files(done.folder, read_manifest(done.folder), verify="full")
    verify_files(small, read_manifest(small), verify="full")


def test_in_place_takes_force(checkpoint_of: Callable[[str], Path], tmp_path: Path) -> None:
    model = made(checkpoint_of("llama"), tmp_path / "model", 40)
    with pytest.raises(UsageError, match="replace the model"):
        retarget(model, 64)
    assert read_manifest(model).context == 40
    done = retarget(model, 64, force=True)
    assert (done.folder, read_manifest(model).context) == (model, 64)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    verify_files(model, read_manifest(model), verify="full")


@pytest.mark.parametrize(
    ("context", "message"),
    [(0, "outside the model's 64 positions"), (65, "outside the model's 64"), (-5, "outside"), (32, "bucket of 32")],
)
def test_a_context_that_does_not_fit(
    checkpoint_of: Callable[[str], Path], tmp_path: Path, context: int, message: str
) -> None:
    options = {"graph": GraphOptions(prefill_chunk=16, buckets=(32,))}
    model = made(checkpoint_of("llama"), tmp_path / "model", 40, **options)
    with pytest.raises(UsageError, match=message):
        retarget(model, context, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_context_below_the_chunk(checkpoint_of: Callable[[str], Path], tmp_path: Path) -> None:
    model = made(checkpoint_of("llama"), tmp_path / "model", 64, graph=GraphOptions(prefill_chunk=64))
    with pytest.raises(UsageError, match="prefill chunk of 64"):
        retarget(model, 32, tmp_path / "out")


def test_what_is_no_model_of_ours(checkpoint_of: Callable[[str], Path], tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no manifest"):
        retarget(tmp_path, 64, tmp_path / "out")
    model = made(checkpoint_of("llama"), tmp_path / "model", 40)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    with pytest.raises(OutputExistsError, match="no model folder"):
        retarget(model, 64, tmp_path / "other", force=True)
    with pytest.raises(OutputExistsError):
        retarget(model, 64, tmp_path / "other")
    (model / SPEC).write_bytes((model / SPEC).read_bytes()[:-1])
    with pytest.raises(IntegrityError):
        retarget(model, 64, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_rows_that_go_elsewhere_are_refused(checkpoint_of: Callable[[str], Path], tmp_path: Path) -> None:
    from lilims.conversion._quiet import quiet_coremltools
    from lilims.conversion.reshape.program import reshape

    model = made(checkpoint_of("llama"), tmp_path / "model", 40)
    with quiet_coremltools():
        from coremltools.proto import Model_pb2
    spec = Model_pb2.Model()
    spec.ParseFromString((model / SPEC).read_bytes())
    function = spec.mlProgram.functions["decode"]
    next(op for op in function.block_specializations[function.opset].operations if op.type == "slice_update").type = "x"
    with pytest.raises(ContractError, match="op x takes rows"):
        reshape(spec, 64, 96, where=model)


def test_the_command(checkpoint_of: Callable[[str], Path], tmp_path: Path) -> None:
    model = made(checkpoint_of("llama"), tmp_path / "model", 40)
    done = CliRunner().invoke(command, [str(model), "--context", "64", "-o", str(tmp_path / "out"), "--json"])
    value = json.loads(done.stdout)
    assert (value["kind"], value["context_before"], value["context"]) == ("retarget", 40, 64)
    assert read_manifest(tmp_path / "out").context == 64
