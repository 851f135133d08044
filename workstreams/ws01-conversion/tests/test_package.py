"""The emitted package: its operators, its state, its weights, its bytes."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

import pytest

from lilims.conversion import convert
from lilims.core.integrity import verify_files
from lilims.core.manifest import read_manifest

from .conftest import MODELS, SCHEMES

HISTOGRAMS = Path(__file__).parent / "references" / "op_histograms.json"
SPEC = "model.mlpackage/Data/com.apple.CoreML/model.mlmodel"
WEIGHTS = "model.mlpackage/Data/com.apple.CoreML/weights/weight.bin"


def functions_of(folder: Path) -> Any:
    """The functions of a package, through coremltools' own protobuf classes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from coremltools.proto import Model_pb2
    spec = Model_pb2.Model()
    spec.ParseFromString((folder / SPEC).read_bytes())
    return spec.mlProgram.functions


def ops_of(function: Any) -> list[Any]:
    return list(function.block_specializations[function.opset].operations)


def histogram(function: Any) -> dict[str, int]:
    counts: dict[str, int] = {}
    for op in ops_of(function):
        if op.type != "const":
            counts[op.type] = counts.get(op.type, 0) + 1
    return dict(sorted(counts.items()))


CASES = [(name, scheme, "sdpa") for name in MODELS for scheme in SCHEMES[name] if scheme != "int8"]
CASES += [("llama", "fp16", "decomposed")]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "scheme", "attention"), CASES, ids=["-".join(c) for c in CASES])
def test_golden_op_histogram(converted: Callable[..., Path], name: str, scheme: str, attention: str) -> None:
    """Pins each function's operators. After a wanted change run this file with LILIMS_RECORD=1 and read the diff."""
    key = f"{name}-{scheme}-{attention}"
    found = {n: histogram(f) for n, f in functions_of(converted(name, scheme, attention)).items()}
    golden = json.loads(HISTOGRAMS.read_text()) if HISTOGRAMS.exists() else {}
    if os.environ.get("LILIMS_RECORD") == "1":
        HISTOGRAMS.write_text(json.dumps({**golden, key: found}, indent=1, sort_keys=True) + "\n")
        golden[key] = found
    assert found == golden[key]


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_the_state_is_read_once_and_every_write_hands_on(converted: Callable[..., Path], name: str) -> None:
    """One read at the top, then write_state + read_state pairs: what `coreml_update_state` becomes in the spec."""
    for function_name, function in functions_of(converted(name)).items():
        kinds = [op.type for op in ops_of(function) if op.type in ("read_state", "write_state")]
        writes = kinds.count("write_state")
        assert writes == 2 * read_manifest(converted(name)).architecture.layers
        assert kinds[0] == "read_state", function_name
        following = [kinds[i + 1] if i + 1 < len(kinds) else None for i, k in enumerate(kinds) if k == "write_state"]
        assert following == ["read_state"] * writes, function_name


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_no_output_feeds_a_state_write(converted: Callable[..., Path], name: str) -> None:
    for function in functions_of(converted(name)).values():
        block = function.block_specializations[function.opset]
        written = {b.name for op in block.operations if op.type == "write_state" for b in op.inputs["data"].arguments}
        assert not written & set(block.outputs)


def test_weights_are_stored_once_for_all_functions(converted: Callable[..., Path]) -> None:
    folder = converted("llama", "int4")
    manifest = read_manifest(folder)
    stored = sum(t.bits * prod(t.shape) / 8 for t in manifest.quantization.tensors.values())
    size = (folder / WEIGHTS).stat().st_size
    zeros = {t.shape[0] for t in manifest.quantization.tensors.values()}  # one bias of zeros for each width without one
    blobs = 2 * len(manifest.quantization.tensors) + len(zeros)
    assert stored <= size <= stored + 2 * sum(zeros) + 64 + blobs * 2 * 64  # a 64-byte record and padding each


def first_of_each_kind() -> list[tuple[str, str]]:
    """The first model of each set of operators: more packages of the same ones prove nothing new."""
    golden = json.loads(HISTOGRAMS.read_text()) if HISTOGRAMS.exists() else {}
    found: dict[frozenset[str], tuple[str, str]] = {}
    for name, scheme, attention in CASES:
        functions = golden.get(f"{name}-{scheme}-{attention}", {name: [name]})
        if attention == "sdpa":
            found.setdefault(frozenset(op for ops in functions.values() for op in ops), (name, scheme))
    return list(found.values())


@pytest.mark.parametrize(("name", "scheme"), first_of_each_kind())
def test_loads_back_through_the_milproto_frontend(converted: Callable[..., Path], name: str, scheme: str) -> None:
    """coremltools' own type inference accepts every op of the emitted program."""
    from lilims.conversion.emit.check import load_back

    program = load_back(converted(name, scheme) / "model.mlpackage")
    assert set(program.functions) == {"decode", "prefill", "score"}
    for function_name, plan in read_manifest(converted(name, scheme)).functions.items():
        (logits,) = program.functions[function_name].outputs
        rows = plan.tokens if plan.logits == "all" else 1
        assert tuple(logits.shape)[:2] == (1, rows)
        assert logits.shape[2] % 64 == 0


CONVERT = "import sys; from lilims.conversion import convert; convert(sys.argv[1], sys.argv[2], quantize='int4')"


@pytest.mark.slow
def test_bytes_do_not_depend_on_process_or_hash_seed(checkpoint_of: Callable[[str], Path], tmp_path: Path) -> None:
    digests = []
    for seed in ("1", "2"):
        out = tmp_path / seed
        environment = {**os.environ, "PYTHONHASHSEED": seed}
        subprocess.run(
            [sys.executable, "-c", CONVERT, str(checkpoint_of("gpt_neo")), str(out)], check=True, env=environment
        )
        files = sorted(p for p in out.rglob("*") if p.is_file())
        digests.append({p.relative_to(out).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files})
    assert digests[0] == digests[1]
    assert WEIGHTS in digests[0]


def test_the_manifest_describes_every_file(converted: Callable[..., Path]) -> None:
    folder = converted("gpt2", "int8")
    manifest = read_manifest(folder)
    verify_files(folder, manifest, verify="full")
    assert {SPEC, WEIGHTS} <= set(manifest.files)
    assert manifest.quantization.scheme == "int8"
    assert 8.5 <= manifest.quantization.bits_per_weight <= 11
    assert manifest.context == 64
    assert manifest.state.shape == [4, 4, 128, 32]


@pytest.mark.parametrize("name", ["llama", "gpt2", "mistral", "gemma3_text"])
def test_metadata_is_enough_to_call_the_package(converted: Callable[..., Path], name: str) -> None:
    """What the manifest says of calling the package, its own metadata say too."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from coremltools.proto import Model_pb2
    spec = Model_pb2.Model()
    spec.ParseFromString((converted(name) / SPEC).read_bytes())
    about = {key.removeprefix("lilims."): text for key, text in spec.description.metadata.userDefined.items()}
    manifest = read_manifest(converted(name))
    assert about["contract"] == manifest.contract == "lilims.decoder/1"
    assert json.loads(about["functions"]) == {key: f.tokens for key, f in manifest.functions.items()}
    assert json.loads(about["function_rows"]) == {key: f.rows for key, f in manifest.functions.items()}
    assert json.loads(about["positions"]) == manifest.positions.model_dump()
    assert json.loads(about["windows"]) == {"window": manifest.window, "local_window": manifest.local_window}
    assert json.loads(about["tokens"]) == manifest.tokens.model_dump()
    sizes = (manifest.context, manifest.state.shape[2], manifest.architecture.vocab_size)
    assert tuple(int(about[key]) for key in ("context", "rows", "vocab_size")) == sizes
    assert float(about["mask_value"]) == manifest.mask_value
    assert (about["compute_units"], about["minimum_os"]) == (manifest.compute_units, "iOS 18, macOS 15")
    assert about["state"].startswith("kv_cache: ")


def test_a_package_runs_with_the_versions_that_made_it() -> None:
    from lilims.conversion.describe import compatible_runtime

    assert compatible_runtime("0.1.0") == ">=0.1,<0.2"
    assert compatible_runtime("0.9.12rc1") == ">=0.9,<0.10"
    assert compatible_runtime("2.0.dev3+local") == ">=2.0,<2.1"


def test_a_second_conversion_needs_force(checkpoint_of: Callable[[str], Path], tmp_path: Path) -> None:
    from lilims.core.errors import OutputExistsError

    convert(checkpoint_of("gpt2"), tmp_path / "m", quantize="fp16")
    before = read_manifest(tmp_path / "m")
    with pytest.raises(OutputExistsError):
        convert(checkpoint_of("gpt2"), tmp_path / "m", quantize="int4")
    assert read_manifest(tmp_path / "m") == before
    convert(checkpoint_of("gpt2"), tmp_path / "m", quantize="int4", force=True)
    assert read_manifest(tmp_path / "m").quantization.scheme == "int4"
    assert [p.name for p in tmp_path.iterdir()] == ["m"]
