"""manifest.json: what is accepted, what is refused and how, and that the published schema is current."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from lilims.core import manifest as module
from lilims.core.errors import ManifestError
from lilims.core.manifest import (
    Manifest,
    identity,
    read_manifest,
    schema,
    write_manifest,
)


def example() -> dict[str, Any]:
    """A manifest of a small model with every field set."""
    return {
        "schema_version": 1,
        "contract": "lilims.decoder/1",
        "name": "tiny-int4",
        "version": "1.0.0",
        "licence": "MIT",
        "source": {
            "kind": "huggingface", "name": "org/tiny", "sha256": "0" * 64,
            "hub": {"repo": "org/tiny", "commit": "0" * 40},
            "adapters": [{"name": "stories", "sha256": "0" * 64}],
        },
        "architecture": {
            "model_type": "llama", "layers": 2, "hidden_size": 8, "heads": 2, "kv_heads": 1, "head_dim": 4,
            "vocab_size": 50, "parameters": 1000,
        },
        "positions": {"kind": "rotary", "rotary": {"rotary_dim": 4, "theta": 10000.0, "kind": "default"}},
        "tokens": {"bos": 1, "eos": [2], "padding": 0},
        "context": 64,
        "mask_value": -10000.0,
        "state": {
            "name": "kv_cache", "dtype": "fp16", "shape": [4, 1, 96, 32], "layout": "layer-kv/heads/rows/head_dim",
        },
        "functions": {
            "decode": {"tokens": 1, "rows": 96, "logits": "last"},
            "prefill": {"tokens": 16, "rows": 96, "logits": "last"},
            "score": {"tokens": 16, "rows": 96, "logits": "all"},
        },
        "quantization": {
            "scheme": "int4", "group_size": 32, "bits_per_weight": 4.6,
            "tensors": {"embedding": {"scheme": "int4", "shape": [50, 8], "bits": 4.5}},
        },
        "profile": "gpu",
        "compute_units": "CPU_AND_GPU",
        "minimum_os": {"iOS": "18", "macOS": "15"},
        "compatible_runtime": ">=0.1,<0.2",
        "tools": {"coremltools": "9.0"},
        "package": "model.mlpackage",
        "parts": [
            {"package": "model.mlpackage", "first_layer": 0, "layers": 2, "functions": ["decode", "prefill", "score"]}
        ],
        "embedding": {
            "file": "embedding.bin", "rows": 64, "columns": 8, "codes": "int4", "group_size": 4, "offset": False,
        },
        "layout": "conv",
        "files": {"model.mlpackage/Manifest.json": {"bytes": 3, "sha256": "0" * 64}},
        "quality": [{
            "text": "story.txt", "text_sha256": "0" * 64, "ids": "0" * 64, "model": "0" * 64, "windowing": "strided",
            "context": 64, "stride": 32, "windows": 3, "tokens": 127, "perplexity": 7.5, "nll": 2.01, "nll_error": 0.1,
            "bits_per_byte": 0.9, "tools": {"lilims": "0.1.0"},
            "reference": {
                "name": "tiny", "kind": "package", "sha256": "0" * 64, "perplexity": 7.4, "log_ratio": 0.01,
                "log_ratio_error": 0.002, "divergence": 0.05, "divergence_error": 0.001, "divergence_median": 0.01,
                "divergence_p99": 0.5, "divergence_max": 2.0, "same_top": 0.93, "logits_rms": 0.4,
            },
        }],
    }  # fmt: skip


def changed(path: str, value: Any) -> dict[str, Any]:
    """The example with one value replaced, or removed where `value` is ...; `path` is dotted."""
    raw = example()
    *above, last = path.split(".")
    target = raw
    for key in above:
        target = target[key]
    if value is ...:
        del target[last]
    else:
        target[last] = value
    return raw


def write(folder: Path, raw: Any) -> None:
    (folder / "manifest.json").write_text(json.dumps(raw))


def test_it_survives_a_round_trip(tmp_path: Path) -> None:
    write(tmp_path, example())
    read = read_manifest(tmp_path)
    (tmp_path / "again").mkdir()
    write_manifest(tmp_path / "again", read)
    assert read_manifest(tmp_path / "again") == read
    assert read.functions["prefill"].tokens == 16
    assert read.state.shape == [4, 1, 96, 32]


def part(package: str) -> dict[str, Any]:
    return {"package": package, "first_layer": 0, "layers": 2, "functions": ["decode"]}


BAD = {
    "no-name": ("name", ..., "name: Field required"),
    "name-is-a-path": ("name", "../x", "name: String should match"),
    "version": ("version", "1.0", "version: String should match"),
    "unknown-key": ("surprise", 1, "surprise: Extra inputs are not permitted"),
    "unknown-key-inside": ("state.surprise", 1, "state.surprise: Extra inputs"),
    "commit": ("source.hub.commit", "main", "source.hub.commit: String should match"),
    "hash": ("source.sha256", "xyz", "source.sha256: String should match"),
    "layers": ("architecture.layers", 0, "architecture.layers: Input should be greater than 0"),
    "huge": ("context", 1 << 60, "context: Input should be less than"),
    "rank": ("state.shape", [4, 1, 96], "state.shape: List should have at least 4 items"),
    "no-tables": ("positions.rotary", None, "positions: Value error, positions of kind 'rotary' need 'rotary'"),
    "two-kinds": ("positions.learned", 64, "positions: Value error, positions of kind 'rotary' need 'rotary'"),
    "logits": ("functions.decode.logits", "first", "functions.decode.logits: Input should be 'last' or 'all'"),
    "mask-nan": ("mask_value", float("nan"), "mask_value: Input should be a finite number"),
    "package-outside": ("package", "../model.mlpackage", "is not a path inside the model folder"),
    "package-absolute": ("package", "/model.mlpackage", "is not a path inside the model folder"),
    "part-outside": ("parts", [part("../x")], "not a path inside the model folder"),
    "parts-of-another": ("parts", [part("x.mlpackage")], "package is 'model.mlpackage', the first of the parts 'x"),
    "embedding-outside": ("embedding.file", "/etc/passwd", "not a path inside the model folder"),
    "embedding-groups": ("embedding.group_size", 3, "a group size of 3 does not fit 8 columns of int4"),
    "embedding-fp16": ("embedding.codes", "fp16", "a group size of 4 does not fit 8 columns of fp16"),
    "embedding-odd": (
        "embedding",
        {"file": "e", "rows": 1, "columns": 3, "codes": "int4", "group_size": 3},
        "3 codes of 4 bits do not fill whole bytes",
    ),
    "later-schema": ("schema_version", 2, "schema version 2 is later than this lilims knows (1)"),
    "other-contract": ("contract", "lilims.decoder/9", "contract 'lilims.decoder/9' is not 'lilims.decoder/1'"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_values_are_named(case: str, tmp_path: Path) -> None:
    path, value, words = BAD[case]
    write(tmp_path, changed(path, value))
    with pytest.raises(ManifestError) as caught:
        read_manifest(tmp_path)
    assert words in str(caught.value)
    assert caught.value.where == str(tmp_path / "manifest.json")
    assert caught.value.hint


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/passwd", "a\\b", "C:x", "", "a\nb", "x" * 256, "\ud800"])
def test_a_file_outside_is_refused(name: str, tmp_path: Path) -> None:
    write(tmp_path, changed("files", {name: {"bytes": 1, "sha256": "0" * 64}}))
    with pytest.raises(ManifestError, match="not a path inside the model folder"):
        read_manifest(tmp_path)


@pytest.mark.parametrize("raw", [[], 1, "x", None])
def test_not_an_object(raw: Any, tmp_path: Path) -> None:
    write(tmp_path, raw)
    with pytest.raises(ManifestError, match="not an object"):
        read_manifest(tmp_path)


def test_absent(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="no such file"):
        read_manifest(tmp_path)


def test_the_published_schema_is_current() -> None:
    published = Path(module.__file__).with_name("schema") / "manifest.schema.json"
    assert json.loads(published.read_text()) == schema(), "python -m lilims.core.manifest > schema/manifest.schema.json"


def test_the_schema_names_every_field() -> None:
    assert set(schema()["properties"]) == set(example()) | {"window", "local_window", "digest"}


def test_the_identity_is_of_what_decides_the_logits() -> None:
    """Name, version, licence and figures do not; a byte of a file, the positions and the mask do."""
    same = Manifest.model_validate(example())
    for path, value in (("name", "x"), ("version", "2.0.0"), ("licence", None), ("quality", [])):
        assert identity(Manifest.model_validate(changed(path, value))) == identity(same), path
    for path, value in (("mask_value", -1.0), ("positions.rotary.theta", 5.0), ("context", 32), ("files", {})):
        assert identity(Manifest.model_validate(changed(path, value))) != identity(same), path


@pytest.mark.parametrize("value", [float("nan"), float("inf"), "7"])
def test_figures_are_finite_numbers(value: object) -> None:
    raw = example()
    raw["quality"][0]["perplexity"] = value if value != "7" else [7]
    with pytest.raises(ValidationError):
        Manifest.model_validate(raw)
