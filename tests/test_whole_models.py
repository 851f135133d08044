"""Whole models of transformers, converted by coremltools, on the portable executor: what torch computes comes out.

tools/whole_models.py makes the models and has the ways around what coremltools cannot trace. Bounds are of relative
root mean squares, a few times what was measured (docs/running-packages.md).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import whole_models as whole
from lilims.core.errors import UsageError
from lilims.runtime.portable import MLModel, describe_package

pytestmark = pytest.mark.parity
Converted = Callable[..., tuple[Any, whole.Arrays, whole.Arrays]]


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with whole.quiet():
        yield


@pytest.fixture(scope="module")
def made() -> Callable[[str], tuple[Any, whole.Arrays]]:
    """A module and its inputs, by name."""
    return cache(lambda name: whole.MODELS[name].make())


@pytest.fixture(scope="module")
def package(made: Any) -> Callable[[str, str], Any]:
    """coremltools' package, by name and precision."""
    return cache(lambda name, precision: whole.convert(*made(name), whole.MODELS[name].outputs, precision))


def saved(package: Any, folder: Path) -> Path:
    path = folder / "model.mlpackage"
    package.save(str(path))
    return path


@pytest.mark.parametrize("name", whole.MODELS)
def test_in_float32(name: str, made: Any, package: Any, tmp_path: Path) -> None:
    module, inputs = made(name)
    wanted = whole.expected(module, inputs, whole.MODELS[name].outputs)
    path = saved(package(name, "fp32"), tmp_path)
    for options in ({"precision": "exact"}, {"precision": "fast"}, {"precision": "exact", "fused": False}):
        found = MLModel(path, **options).predict(inputs)
        assert {key: array.shape for key, array in found.items()} == {k: a.shape for k, a in wanted.items()}
        assert whole.error(found, wanted) < 1e-5, options


@pytest.mark.parametrize("name", whole.MODELS)
def test_in_fp16(name: str, made: Any, package: Any, tmp_path: Path) -> None:
    """Weights are rounded; with "fp16" every result is."""
    module, inputs = made(name)
    wanted = whole.expected(module, inputs, whole.MODELS[name].outputs)
    path = saved(package(name, "fp16"), tmp_path)
    exact, rounded = MLModel(path, precision="exact"), MLModel(path, precision="fp16")
    assert 1e-6 < whole.error(exact.predict(inputs), wanted) < 1e-2
    assert 1e-6 < whole.error(rounded.predict(inputs), wanted) < 2e-2
    assert rounded.overflows == []


@pytest.mark.parametrize("kind", ["range", "enumerated"])
def test_bert_of_any_length(kind: str, made: Any, tmp_path: Path) -> None:
    import coremltools as ct

    module, inputs = made("bert")
    lengths = (1, 7, 12, 24)
    enumerated = ct.EnumeratedShapes(shapes=[(1, n) for n in lengths], default=(1, 12))
    shape = enumerated if kind == "enumerated" else ct.Shape((1, ct.RangeDim(1, 24, default=12)))
    outputs = whole.MODELS["bert"].outputs
    converted = whole.convert(module, inputs, outputs, "fp32", {"ids": shape, "mask": shape})
    model = MLModel(saved(converted, tmp_path), precision="exact")
    for length in lengths if kind == "enumerated" else (*lengths, 2, 23):
        given = {"ids": np.resize(inputs["ids"], (1, length)), "mask": np.ones((1, length), np.float32)}
        given["mask"][:, length // 2 + 1 :] = 0
        error = whole.error(model.predict(given), whole.expected(module, given, outputs))
        assert error < 1e-5, f"length {length}"
    with pytest.raises(UsageError, match="has shape"):
        model.predict({"ids": np.zeros((1, 25), np.int32), "mask": np.ones((1, 25), np.float32)})


SCHEMES = {"int8 per channel": "int8 per-channel", "4-bit table": "lut-4", "sparse": "sparse"}


@pytest.mark.parametrize("how", whole.COMPRESSIONS)
@pytest.mark.parametrize("name", ["bert", "whisper encoder"])
def test_with_compressed_weights(name: str, how: str, made: Any, package: Any, tmp_path: Path) -> None:
    """As coremltools' own decompression of the package; and not as the weights before it."""
    import coremltools.optimize.coreml as cto

    _, inputs = made(name)
    compressed = whole.compress(package(name, "fp32"), how)
    plain = saved(cto.decompress_weights(compressed), tmp_path)
    wanted = MLModel(plain, precision="exact").predict(inputs)
    (tmp_path / "compressed").mkdir()
    path = saved(compressed, tmp_path / "compressed")
    schemes = {group.scheme for group in describe_package(path).weights}
    assert any(scheme.startswith(SCHEMES[how]) for scheme in schemes), schemes
    assert whole.error(MLModel(path, precision="exact").predict(inputs), wanted) < 1e-5
    assert whole.error(MLModel(path, precision="fast").predict(inputs), wanted) < 5e-2
    (tmp_path / "before").mkdir()
    before = MLModel(saved(package(name, "fp32"), tmp_path / "before"), precision="exact").predict(inputs)
    assert whole.error(before, wanted) > 1e-3
