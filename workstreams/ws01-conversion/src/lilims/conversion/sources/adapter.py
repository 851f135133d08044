"""LoRA adapters: what they add to which tensor.

    W' = W + scale · B·A    scale = alpha / r, or alpha / sqrt(r) with use_rslora    (arXiv:2106.09685, 2312.03732)

Knows peft's layout: adapter_config.json and adapter_model.safetensors. Must not know a family of models, or when
tensors are read. What changes the arithmetic and is not done here is refused by name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lilims.core.errors import CheckpointError, UnsupportedModelError
from lilims.core.files import read_json

from .tensor_files import TensorFiles, find_files, hash_of

__all__ = ["Adapter", "Update"]

_CONFIG = "adapter_config.json"
_AGAIN = "fetch the adapter again, all files of it"
_MERGE = "merge it with peft (merge_and_unload), save the model and convert that"
_ROOT = "base_model.model."  # peft wraps the model twice
# Parts of a layer in an adapter's file: which matrix of the product, and how the layer's weight lies to B·A.
_PARTS = {
    ".lora_A.weight": ("A", False),
    ".lora_B.weight": ("B", False),
    ".lora_embedding_A": ("A", True),
    ".lora_embedding_B": ("B", True),
}
# Options that change the arithmetic or the base model, with the values that do not.
_REFUSED: dict[str, tuple[Any, ...]] = {
    "bias": ("none",),
    "init_lora_weights": (True, False, "gaussian", "eva", "orthogonal"),  # others change the base model's weights too
    "lora_bias": (False,),
    "layer_replication": (),
    "trainable_token_indices": (),
    "target_parameters": ([],),
    "alora_invocation_tokens": ([],),
    "arrow_config": (),
    "megatron_config": ({},),
}


class Update(Protocol):
    """What an adapter makes of a tensor, or of some rows of it: float32 in, float32 out.

    Attributes:
        replaces: whether what was there before does not matter.
    """

    @property
    def replaces(self) -> bool: ...
    def __call__(self, values: NDArray[np.float32], rows: slice | None) -> NDArray[np.float32]: ...


@dataclass(frozen=True)
class _LowRank:
    """W + scale · B·A, B·A transposed where the weight lies as [in, out]."""

    files: TensorFiles
    a: str
    b: str
    scale: float
    transposed: bool
    replaces: bool = False

    def __call__(self, values: NDArray[np.float32], rows: slice | None) -> NDArray[np.float32]:
        every = slice(None)
        if self.transposed:
            left, right = self.files.read(self.a)[:, rows or every].T, self.files.read(self.b).T
        else:
            left, right = self.files.read(self.b, rows), self.files.read(self.a)
        values += np.float32(self.scale) * (left @ right)
        return values


@dataclass(frozen=True)
class _Replaced:
    """Another tensor in W's place."""

    files: TensorFiles
    name: str
    replaces: bool = True

    def __call__(self, values: NDArray[np.float32], rows: slice | None) -> NDArray[np.float32]:
        return self.files.read(self.name, rows)


@dataclass(frozen=True)
class _Both:
    """One after the other: a new base weight, and what LoRA adds to it."""

    first: Update
    second: Update

    @property
    def replaces(self) -> bool:
        return self.first.replaces

    def __call__(self, values: NDArray[np.float32], rows: slice | None) -> NDArray[np.float32]:
        return self.second(self.first(values, rows), rows)


class Adapter:
    """A folder with a LoRA adapter.

    Raises:
        CheckpointError: it is none, or damaged.
        UnsupportedModelError: it is of another kind, or with an option that is not supported.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if not folder.is_dir():
            raise CheckpointError(
                "no such folder", where=folder, hint=f"--adapter takes a folder with {_CONFIG} and its tensors"
            )
        config = read_json(folder / _CONFIG, error=CheckpointError)
        if not isinstance(config, dict):
            raise CheckpointError("not a JSON object", where=folder / _CONFIG, hint=_AGAIN)
        self._config = config
        self._check_options()
        self._files = find_files(folder, "adapter_model", "adapter_model")

    def _error(self, message: str, hint: str = _AGAIN) -> CheckpointError:
        return CheckpointError(message, where=self.folder, hint=hint)

    def _refused(self, message: str) -> UnsupportedModelError:
        return UnsupportedModelError(message, where=self.folder / _CONFIG, hint=_MERGE)

    def _check_options(self) -> None:
        kind = self._config.get("peft_type")
        if kind != "LORA":
            raise self._refused(f"'peft_type' is {kind!r}; lilims merges LORA only")
        if self._config.get("use_dora"):
            raise self._refused("uses DoRA, which lilims does not merge")
        for key, value in self._config.items():
            if key.startswith("use_") and key != "use_rslora" and value:
                raise self._refused(f"{key!r} is {value!r}, which lilims does not merge")
        for key in ("use_rslora", "fan_in_fan_out"):
            if not isinstance(self._config.get(key, False), (bool, type(None))):
                message = f"{key!r} must be true or false, not {self._config[key]!r:.50}"
                raise CheckpointError(message, where=self.folder / _CONFIG, hint=_AGAIN)
        for key, allowed in _REFUSED.items():
            value = self._config.get(key)
            if value is not None and value not in allowed:
                raise self._refused(f"{key!r} is {value!r}, which lilims does not merge")

    @property
    def _base(self) -> str:
        """What messages call the model that the adapter was made for."""
        name = self._config.get("base_model_name_or_path")
        return f"the adapter is for {name!r}" if isinstance(name, str) and name else "the adapter is for another model"

    @cached_property
    def sha256(self) -> str:
        """SHA-256 over the config and all tensor files: each one's name and hash, in name order."""
        return hash_of(sorted({self.folder / _CONFIG, *self._files.paths}))

    def _number(self, key: str, value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 1e9:
            raise CheckpointError(
                f"{key!r} must be a positive number, not {value!r}", where=self.folder / _CONFIG, hint=_AGAIN
            )
        return float(value)

    def _pattern(self, key: str, module: str) -> float | None:
        """What `rank_pattern` or `alpha_pattern` say of a module. Their keys are the ends of modules' names.

        peft takes them as regular expressions; only those that are plain names are taken here.
        """
        table = self._config.get(key) or {}
        if not isinstance(table, dict):
            raise CheckpointError(f"{key!r} is not an object", where=self.folder / _CONFIG, hint=_AGAIN)
        for pattern, value in table.items():
            name = pattern.removeprefix("^").replace("\\.", ".")
            if not re.fullmatch(r"[\w.]+", name):
                raise self._refused(f"{key!r} has {pattern!r}; lilims takes names of modules there, no expressions")
            if module == name or (not pattern.startswith("^") and module.endswith("." + name)):
                return self._number(key, value)
        return None

    def _scale(self, module: str, rank: int) -> float:
        wanted = self._pattern("rank_pattern", module) or self._number("r", self._config.get("r"))
        if rank != wanted:
            raise self._error(f"{module} has rank {rank}, {_CONFIG} says {wanted:g}")
        alpha = self._pattern("alpha_pattern", module) or self._number("lora_alpha", self._config.get("lora_alpha"))
        return alpha / (rank**0.5 if self._config.get("use_rslora") else rank)

    def updates(self, shapes: Mapping[str, tuple[int, ...]], prefixes: tuple[str, ...]) -> dict[str, Update]:
        """What becomes of the tensors of a model that the adapter changes.

        Args:
            shapes: of all tensors of the model.
            prefixes: what may stand before names; the adapter and the model may differ in it.

        Raises:
            CheckpointError, UnsupportedModelError: a target that the model has not, or of another shape; a tensor
                that is neither LoRA's nor of `modules_to_save`.
        """
        bare = {_without(name, prefixes): name for name in shapes}
        pairs: dict[str, dict[str, tuple[str, bool]]] = {}
        found: dict[str, Update] = {}
        for name in self._files.names:
            module, part = self._split(name)
            target = bare.get(_without(f"{module}.weight" if part else module, prefixes))
            if target is None:
                raise self._error(f"changes {module!r}, which the model does not have: {self._base}", _OTHER)
            if part:
                kind, embedding = _PARTS[part]
                pairs.setdefault(f"{target}\n{module}", {})[kind] = (name, embedding)
            else:
                self._check(target, shapes[target], self._files.shape(name))
                found[target] = _Replaced(self._files, name)
        for both, halves in pairs.items():
            target, module = both.split("\n")
            update: Update = self._low_rank(module, target, shapes[target], halves)
            found[target] = _Both(found[target], update) if target in found else update
        if not found:
            raise self._error("changes nothing: it has no tensors")
        return found

    def _low_rank(
        self, module: str, target: str, shape: tuple[int, ...], halves: Mapping[str, tuple[str, bool]]
    ) -> Update:
        if len(halves) != 2 or halves["A"][1] != halves["B"][1]:
            raise self._error(f"{module} has one matrix of two")
        (a, embedding), (b, _) = halves["A"], halves["B"]
        first, second = self._files.shape(a), self._files.shape(b)
        if len(first) != 2 or len(second) != 2 or first[0] != second[1]:
            raise self._error(f"{module}: its matrices have shapes {list(first)} and {list(second)}")
        transposed = embedding or bool(self._config.get("fan_in_fan_out"))
        product = (second[0], first[1])
        self._check(target, shape, product[::-1] if transposed else product)
        return _LowRank(self._files, a, b, self._scale(module, first[0]), transposed)

    def _split(self, name: str) -> tuple[str, str]:
        """A tensor's module and which part of LoRA it is; for one that replaces the model's, its name and nothing."""
        bare = name.removeprefix(_ROOT)
        for part in _PARTS:
            if bare.endswith(part):
                return bare.removesuffix(part), part
        saved = self._config.get("modules_to_save") or []
        module, _, kind = bare.rpartition(".")
        if module.endswith(".base_layer"):  # the weight beneath LoRA, stored because the vocabulary grew
            return f"{module.removesuffix('.base_layer')}.{kind}", ""
        if isinstance(saved, list) and any(isinstance(s, str) and _ends(module, s) for s in saved):
            return bare, ""
        raise self._refused(f"tensor {name!r} is neither LoRA's nor of 'modules_to_save'")

    def _check(self, target: str, shape: tuple[int, ...], given: tuple[int, ...]) -> None:
        if shape != given:
            raise self._error(
                f"changes {target!r} of shape {list(shape)} by one of {list(given)}: {self._base}", _OTHER
            )


_OTHER = "name the adapter of this model"


def _ends(module: str, name: str) -> bool:
    return module == name or module.endswith("." + name)


def _without(name: str, prefixes: tuple[str, ...]) -> str:
    return next((name.removeprefix(p) for p in prefixes if p and name.startswith(p)), name)
