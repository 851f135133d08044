"""What each part of a model costs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from lilims.conversion import convert, evaluate
from lilims.conversion.commands.eval import command
from lilims.conversion.evaluation.measure import Evaluation
from lilims.conversion.evaluation.mixed import fitted, mixed
from lilims.conversion.evaluation.parts import divergence_by_part, parts_of
from lilims.conversion.evaluation.sources import PackageSpec
from lilims.conversion.evaluation.weights import Weights
from lilims.conversion.evaluation.windows import Window
from lilims.conversion.shapes import GraphOptions
from lilims.core.errors import UsageError
from lilims.core.testing import test_data

from .conftest import TEXT, Made

WINDOW = Window(0, 0, tuple(range(3, 43)), 0)


def logits(spec: PackageSpec) -> np.ndarray:  # type: ignore[type-arg]
    return np.concatenate(list(spec.open().rows(WINDOW)))


@pytest.mark.parametrize("scheme", ["int4", "int4-asym", "lut4-r8"])
def test_a_mixture_of_all_is_the_other_model(scheme: str, made: Made, tmp_path: Path) -> None:
    reference, model = PackageSpec(made("fp16")), PackageSpec(made(scheme))
    weights = Weights(model.folder, model.manifest)
    names = list(model.manifest.quantization.tensors)
    before = {path: path.stat().st_mtime_ns for path in reference.folder.rglob("*")}
    whole = mixed(reference, weights, names, tmp_path / "whole")
    none = mixed(reference, weights, [], tmp_path / "none")
    wanted, plain = logits(model), logits(reference)
    np.testing.assert_array_equal(logits(none), plain)
    assert np.abs(wanted - plain).max() > 0.1
    np.testing.assert_allclose(logits(whole), wanted, atol=0.02 * float(wanted.std()))
    assert {path: path.stat().st_mtime_ns for path in reference.folder.rglob("*")} == before


FORMS = (
    GraphOptions(layout="conv"),
    GraphOptions(embedding="host"),
    GraphOptions(max_chunk_mb=0.3),
    GraphOptions(split_functions=True),
)


@pytest.mark.parametrize("graph", FORMS, ids=["conv", "host", "chunks", "functions"])
def test_other_forms_of_packages(graph: GraphOptions, tmp_path: Path) -> None:
    for scheme in ("fp16", "int4"):
        convert(test_data("models/stories260K"), tmp_path / scheme, quantize=scheme, context=64, graph=graph)
    reference, model = PackageSpec(tmp_path / "fp16"), PackageSpec(tmp_path / "int4")
    names = [name for name in model.manifest.quantization.tensors if name.startswith("layers.2.")]
    one = mixed(reference, Weights(model.folder, model.manifest), names, tmp_path / "one")
    off, whole = (float(np.abs(logits(spec) - logits(reference)).max()) for spec in (one, model))
    assert 0.02 * whole < off < whole, (off, whole)


def test_parts_together_are_about_the_whole(compared: Evaluation) -> None:
    found = divergence_by_part(compared, len(compared.windows), jobs=1)
    assert list(found) == ["embedding", *(f"layer {index}" for index in range(5)), "head"]
    assert compared.summary.comparison is not None
    whole, together = compared.summary.comparison.divergence.value, sum(one.value for one in found.values())
    assert 0.5 * whole < together < 2 * whole, (whole, found)
    assert found["head"].value < 1e-6  # the last norm, in fp16 in both; the matrix is the embedding
    assert all(one.value > 1e-4 for name, one in found.items() if name != "head"), found


def test_parts_in_order() -> None:
    names = ["head", "layers.10.mlp.up.weight", "layers.2.mlp.up.weight", "final_norm.weight", "embedding", "positions"]
    assert parts_of(names) == {
        "embedding": ["embedding"],
        "positions": ["positions"],
        "layer 2": ["layers.2.mlp.up.weight"],
        "layer 10": ["layers.10.mlp.up.weight"],
        "head": ["head", "final_norm.weight"],
    }


def test_padding() -> None:
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    np.testing.assert_array_equal(fitted(values, (3, 4)), np.pad(values, ((0, 1), (0, 1))))  # type: ignore[arg-type]
    np.testing.assert_array_equal(fitted(values, (1, 3)), values[:1])  # type: ignore[arg-type]
    np.testing.assert_array_equal(fitted(values, (2, 3, 1, 1)), values[..., None, None])  # type: ignore[arg-type]
    assert fitted(values, (7,)) is None
    assert fitted(None, (2, 3)) is None


def test_of_a_checkpoint_nothing_can_be_said(made: Made) -> None:
    found = evaluate(made("int4"), TEXT, context=64, jobs=1)
    with pytest.raises(UsageError, match="takes a package as the reference"):
        divergence_by_part(found, 1)


def test_command(made: Made, tmp_path: Path) -> None:
    import json

    (tmp_path / "t.txt").write_text(TEXT.content, "utf-8")
    words = [str(made("int4")), "--text", str(tmp_path / "t.txt"), "--context", "64", "--no-record", "--jobs", "1"]
    done = CliRunner().invoke(command, [*words, "--reference", str(made("fp16")), "--by-layer", "1", "--json"])
    assert done.exit_code == 0, done.output
    rows = json.loads(done.stdout)["by_layer"]
    assert [row["part"] for row in rows][:2] == ["embedding", "layer 0"]
    refused = CliRunner().invoke(command, [*words, "--by-layer", "1"])
    assert isinstance(refused.exception, UsageError)
    assert "--by-layer compares with a reference" in str(refused.exception)
