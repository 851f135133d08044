"""A model opened layer by layer computes what its package computes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lilims.conversion import convert
from lilims.conversion.calibration.opened import Floats, OpenedModel
from lilims.conversion.policy.plan import make_plan, read_wishes
from lilims.conversion.prepare import prepare
from lilims.conversion.weights.tensors import whole
from lilims.core.errors import ExecutionError
from lilims.runtime import load

TOKENS = 24
# Learned positions, biases; tied and scaled embedding, soft-caps, local layers; parallel blocks; experts; no gate.
MODELS = ("llama", "gpt2", "gemma2", "cohere", "qwen3_moe", "gpt_neox", "exaone4", "phi")


@contextmanager
def opened(folder: Path) -> Iterator[OpenedModel]:
    given = prepare(folder)
    plan = make_plan(read_wishes("fp16"), given.spec, given.names)
    with closing(OpenedModel(given, plan, TOKENS, 64, threads=1)) as model:
        yield model


def logits(model: OpenedModel, ids: list[int]) -> Floats:
    rows = model.embedded(ids, model.read("embedding"))
    for index in range(len(model.given.spec.layers)):
        rows, _ = model.layer(index).run(rows, {})
    return model.head().run(rows, {})[0][:, : model.given.spec.vocab_size]


@pytest.mark.parametrize("name", MODELS)
def test_logits_are_the_packages(name: str, checkpoint_of: Callable[[str], Path], tmp_path: Path) -> None:
    package = load(convert(checkpoint_of(name), tmp_path / "m", quantize="fp16", context=64).folder, precision="exact")
    ids = np.random.default_rng(1).integers(0, package.vocab_size, TOKENS).tolist()
    with opened(checkpoint_of(name)) as model:
        found = logits(model, ids)
    wanted = package.logits(ids)
    assert np.sqrt(np.mean((found - wanted) ** 2) / np.mean(wanted**2)) < 1e-3  # fp16 rounding of K and V


def test_what_enters_a_matrix_is_multiplied_with_it(checkpoint_of: Callable[[str], Path]) -> None:
    with opened(checkpoint_of("llama")) as model:
        layer = model.layer(1)
        rows = np.random.default_rng(1).standard_normal((TOKENS, 64), dtype=np.float32)
        out, seen = layer.run(rows, {})
        assert list(layer.stages.values()) == [
            [f"layers.1.attention.{part}.weight" for part in "qkv"],
            ["layers.1.attention.o.weight"],
            ["layers.1.mlp.up.weight", "layers.1.mlp.gate.weight"],
            ["layers.1.mlp.down.weight"],
        ]
        for stage in layer.stages:
            np.testing.assert_allclose(layer.enters(stage, rows, {}), seen[stage], atol=1e-6)
        down = "layers.1.mlp.down.weight"
        (last,) = layer.stages.keys() - list(layer.stages)[:3]
        without = layer.run(rows, {down: np.zeros_like(layer.matrices[down])})[0]
        np.testing.assert_allclose(out - without, seen[last] @ layer.matrices[down].T, atol=1e-4)


def test_a_replaced_matrix_is_used_and_others_are_ignored(checkpoint_of: Callable[[str], Path]) -> None:
    with opened(checkpoint_of("llama")) as model:
        layer = model.layer(0)
        rows = np.random.default_rng(1).standard_normal((TOKENS, 64), dtype=np.float32)
        value = "layers.0.attention.v.weight"
        out = layer.run(rows, {})[0]
        np.testing.assert_array_equal(layer.run(rows, {"layers.1.attention.v.weight": layer.matrices[value]})[0], out)
        assert not np.array_equal(layer.run(rows, {value: 2 * layer.matrices[value]})[0], out)


def test_values_that_are_not_finite_name_the_layer(checkpoint_of: Callable[[str], Path]) -> None:
    with (
        opened(checkpoint_of("llama")) as model,
        pytest.raises(ExecutionError, match="layer 2 gives values that are not"),
    ):
        model.layer(2).run(np.full((TOKENS, 64), np.nan, np.float32), {})


def test_shapes_are_those_that_are_stored(checkpoint_of: Callable[[str], Path]) -> None:
    given = prepare(checkpoint_of("llama"))
    plan = make_plan(replace(read_wishes("int4"), group_size=128), given.spec, given.names)
    assert whole(given, plan, "layers.0.mlp.down.weight").shape == (64, 128)  # 112, padded to a group
    assert whole(given, plan, "head").shape == (128, 64)  # 100, padded to 64
    assert not whole(given, plan, "layers.0.mlp.down.weight")[:, 112:].any()
