"""Random checkpoints of any supported config: for tests, references and benchmarks.

Knows how to write a Hugging Face folder of the shapes that a config asks for. Must not be used by a conversion.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from .architectures import Config, architecture_for
from .weights.tensors import stored_shape

__all__ = ["write_random_checkpoint"]

_CHUNK = 1 << 22


def write_random_checkpoint(
    config: Mapping[str, Any], folder: Path, *, seed: int = 0, dtype: Literal["F16", "F32"] = "F32"
) -> int:
    """Writes config.json and model.safetensors into `folder`; returns the number of parameters.

    Matrices are normal with variance 1 / in-features, embeddings with deviation 0.3 and positions with 1, norm weights
    about 1, biases about 0. The same seed gives the same bytes (numpy's PCG64), drawn chunk by chunk so that a model of
    billions fits in memory.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "config.json"
    path.write_text(json.dumps(dict(config), indent=2) + "\n", "utf-8")
    architecture = architecture_for(config, path)
    spec = architecture.spec(Config(config, path))
    shapes: dict[str, tuple[int, ...]] = {}
    for role, shape in spec.roles():
        source = architecture.source(role)
        prefix = "" if role.startswith("head") else architecture.prefixes[0]
        shapes[prefix + source.name] = stored_shape(spec, source, role, shape)
    _write(folder / "model.safetensors", shapes, np.random.default_rng(seed), dtype)
    return sum(math.prod(shape) for _, shape in spec.roles())


def _write(path: Path, shapes: dict[str, tuple[int, ...]], random: np.random.Generator, dtype: str) -> None:
    numpy_dtype = np.dtype({"F16": "<f2", "F32": "<f4"}[dtype])
    header, offset = {}, 0
    for name, shape in shapes.items():
        end = offset + numpy_dtype.itemsize * math.prod(shape)
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [offset, end]}
        offset = end
    raw = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(raw)) + raw)
        for name, shape in shapes.items():
            mean, scale = _distribution(name, shape)
            left = math.prod(shape)
            while left:
                part = random.standard_normal(min(left, _CHUNK), dtype=np.float32) * np.float32(scale) + np.float32(
                    mean
                )
                file.write(part.astype(numpy_dtype).tobytes())
                left -= len(part)


def _distribution(name: str, shape: tuple[int, ...]) -> tuple[float, float]:
    """Mean and standard deviation of a tensor's values."""
    if len(shape) == 1 or "norm" in name:
        return (0.0, 0.1) if name.endswith("bias") else (1.0, 0.1)
    if any(part in name for part in ("embed", "wte", "wpe")):
        # Small beside positions and what the layers add, or a tied model only repeats its last token.
        return 0.0, 1.0 if "wpe" in name else 0.3
    return 0.0, max(shape) ** -0.5
