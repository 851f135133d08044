"""How far each stored weight is from the reference's, by name.

Knows one formula. Must not know logits, or how weights are stored. One tensor is in memory at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lilims.core.manifest import read_manifest

from ..weights import Weights

__all__ = ["tensor_errors"]

Floats = NDArray[np.float32]


def tensor_errors(model: Path, reference: Path) -> dict[str, float]:
    """‖w − w_ref‖ / ‖w_ref‖ of each matrix that both packages store, by the manifest's name of it.

    Left out are vectors, what is stored beside a package, shapes that differ beyond padding, and layers whose channels
    were scaled (their norms differ from the reference's): there the matrices are not meant to be equal.
    """
    manifest = read_manifest(model)
    mine, theirs = Weights(model, manifest), Weights(reference, read_manifest(reference))
    shapes = {name: tensor.shape for name, tensor in manifest.quantization.tensors.items()}
    scaled = {_layer(name) for name, shape in shapes.items() if len(shape) == 1 and _differ(mine, theirs, name)} - {""}
    errors = {}
    for name, shape in shapes.items():
        if len(shape) < 2 or _layer(name) in scaled:
            continue
        found, wanted = mine.values(name), theirs.values(name)
        if found is None or wanted is None or found.size != wanted.size and found.ndim != wanted.ndim:
            continue
        if found.shape != wanted.shape and found.size == wanted.size:  # a linear as a convolution
            found = found.reshape(wanted.shape)
        if found.ndim != wanted.ndim:
            continue
        common = tuple(slice(0, min(a, b)) for a, b in zip(found.shape, wanted.shape, strict=True))
        scale = float(np.linalg.norm(wanted[common].astype(np.float64)))
        if scale > 0:
            errors[name] = float(np.linalg.norm(found[common].astype(np.float64) - wanted[common])) / scale
    return errors


def _layer(name: str) -> str:
    parts = name.split(".")
    return parts[1] if parts[0] == "layers" else ""


def _differ(mine: Weights, theirs: Weights, name: str) -> bool:
    one, other = mine.values(name), theirs.values(name)
    return one is not None and other is not None and one.shape == other.shape and not np.allclose(one, other, rtol=5e-3)


def by_layer(errors: dict[str, float]) -> tuple[list[str], list[str], NDArray[np.float64]]:
    """Errors as a table: layers, roles within a layer, and values [layers, roles], NaN where there is none."""
    split = dict(_layered(errors))
    layers = sorted({layer for layer, _ in split.values()})
    roles = list(dict.fromkeys(role for _, role in split.values()))
    table = np.full((len(layers), len(roles)), np.nan)
    for name, (layer, role) in split.items():
        table[layers.index(layer), roles.index(role)] = errors[name]
    return [str(layer) for layer in layers], roles, table


def _layered(errors: dict[str, float]) -> Iterator[tuple[str, tuple[int, str]]]:
    for name in errors:
        parts = name.split(".")
        if len(parts) > 2 and parts[0] == "layers" and parts[1].isdigit():
            yield name, (int(parts[1]), ".".join(parts[2:]).removesuffix(".weight"))
