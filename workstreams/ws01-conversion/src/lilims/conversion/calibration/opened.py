"""A model layer by layer, run by the portable executor with matrices that are given at each call.

Knows how a layer is opened and what goes into it. Must not know why a matrix is replaced, or what is done with what is
seen. Arithmetic is float32, K and V are rounded to fp16 as the state holds them, vectors to fp16 as the package does.
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lilims.context import Chunk, RotaryParameters, StateRows, Visibility, attention_mask, rotary_tables
from lilims.core.errors import ExecutionError

from ..policy.plan import Plan
from ..prepare import Prepared
from ..shapes import round_up
from ..stored import Dense
from ..weights.placing import Part, Placed
from ..weights.tensors import whole

if TYPE_CHECKING:
    from lilims.runtime.portable import MLModel, MLState

__all__ = ["Floats", "Opened", "OpenedModel", "Seen"]

_WORTH = 512  # wide enough that a second thread of an op is worth waking

Floats = NDArray[np.float32]
Seen = dict[str, Floats]


@dataclass(frozen=True)
class Opened:
    """A layer or the head.

    Attributes:
        stages: what enters matrices → these matrices, in the order in which they are reached.
        matrices: as the checkpoint has them, rounded to fp16.
    """

    name: str
    stages: dict[str, list[str]]
    matrices: dict[str, Floats]
    _package: Path
    _options: dict[str, Any]
    _inputs: dict[str, NDArray[Any]]
    _models: dict[str, tuple[MLModel, MLState | None]] = field(default_factory=dict)

    def run(self, hidden: Floats, matrices: Mapping[str, Floats]) -> tuple[Floats, Seen]:
        """Rows [S, D] through it: what comes out [S, …], and what entered its matrices by the names in `stages`.

        Args:
            matrices: in the place of its own; others' are ignored.

        Raises:
            ExecutionError: what comes out is not finite.
        """
        from ..emit.opened import HIDDEN_OUT, LOGITS, WHOLE

        out = self._call(WHOLE, hidden, matrices)
        found = out.pop(HIDDEN_OUT, None)
        found = out.pop(LOGITS) if found is None else found
        if not np.isfinite(found).all():
            raise ExecutionError(
                f"{self.name} gives values that are not finite",
                hint="the checkpoint is damaged, or its residual stream overflows: try --fp16-scale auto",
            )
        return found, out

    def enters(self, stage: str, hidden: Floats, matrices: Mapping[str, Floats]) -> Floats:
        """What enters the matrices of a stage, and nothing behind it is computed."""
        return self._call(stage, hidden, matrices)[stage]

    def _call(self, function: str, hidden: Floats, matrices: Mapping[str, Floats]) -> Seen:
        from lilims.runtime.portable import MLModel

        from ..emit.opened import input_name

        if function not in self._models:
            model = MLModel(self._package, function, **self._options)
            self._models[function] = (model, model.make_state() if "slot" in self._inputs else None)
        model, state = self._models[function]
        given = {input_name(role): matrices.get(role, own) for role, own in self.matrices.items()}
        given |= {"hidden": hidden[None], **self._inputs}
        out = model.predict({name: given[name] for name in _input_names(model)}, state)
        return {name: value[0] for name, value in out.items()}


class OpenedModel:
    """Opens what is asked for; its programs lie in a temporary folder until `close`.

    Args:
        given: the checkpoint.
        plan: for the shapes in which tensors are stored.
        tokens: S of every run: each begins a text.
        context: of the package, by which some rotary tables are scaled.
        threads: of an op; None is one a core. A small model takes one.
        keep: layers stay open, and in memory.
    """

    def __init__(
        self, given: Prepared, plan: Plan, tokens: int, context: int, threads: int | None = None, *, keep: bool = False
    ) -> None:
        self.given, self.plan, self.tokens, self._context = given, plan, tokens, context
        self._threads = 1 if given.spec.hidden_size < _WORTH else threads
        self._stages: dict[str, dict[str, list[str]]] = {}  # of what was written already
        self._held: dict[str, Opened] | None = {} if keep else None
        self._folder = Path(tempfile.mkdtemp(prefix="lilims-opened-"))
        self._finalizer = weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)

    def close(self) -> None:
        """Removes the programs' files, and lets go of what is held."""
        self._held = None if self._held is None else {}
        self._finalizer()

    def read(self, role: str) -> Floats:
        """A tensor in the shape in which it is stored, rounded to fp16."""
        return whole(self.given, self.plan, role).astype(np.float16).astype(np.float32)

    @cached_property
    def _positions(self) -> Floats | None:
        return self.read("positions")[: self.tokens] if self.given.spec.learned_positions else None

    def embedded(self, ids: Sequence[int], embedding: Floats) -> Floats:
        """What enters the first layer, [S, D]."""
        scale = self.given.spec.embedding_scale
        rows: Floats = embedding[np.asarray(ids)]
        if abs(scale - 1) >= 1e-9:
            rows = rows * np.float32(np.float16(scale))
        return rows if self._positions is None else rows + self._positions

    def layer(self, index: int) -> Opened:
        """A layer of the model."""
        roles = [role for role, _ in self.given.spec.roles_of_layer(f"layers.{index}.")]
        return self._open(f"layer {index}", roles, index)

    def head(self) -> Opened:
        """The last norm and the head; S rows of logits, as wide as the head is stored."""
        outside = [role for role, _ in self.given.spec.roles() if not role.startswith("layers.")]
        others = {"positions", *(() if self.given.spec.tied else ("embedding",))}
        return self._open("the head", [role for role in outside if role not in others], None)

    def _open(self, name: str, roles: Sequence[str], index: int | None) -> Opened:
        if self._held and name in self._held:
            return self._held[name]
        tensors = {role: self.read(role) for role in roles}
        matrices = {role: values for role, values in tensors.items() if values.ndim == 2}
        vectors = {role: _vector(values) for role, values in tensors.items() if values.ndim == 1}
        package = self._folder / f"{'head' if index is None else index}.mlpackage"
        if name not in self._stages:
            shapes = {role: values.shape for role, values in matrices.items()}
            self._stages[name] = _write(self, package, index, vectors, shapes)
        options = {"precision": "exact", "threads": self._threads}
        found = Opened(name, self._stages[name], matrices, package, options, {} if index is None else self._inputs)
        if self._held is not None:
            self._held[name] = found
        return found

    @cached_property
    def _inputs(self) -> dict[str, NDArray[Any]]:
        """All that a layer takes besides rows and matrices."""
        spec, chunk = self.given.spec, Chunk(0, self.tokens, self.tokens)
        rows = StateRows(round_up(self.tokens, 32))
        found: dict[str, NDArray[Any]] = {"slot": np.zeros(1, np.int32)}
        for name, window in (("attention_mask", spec.window), ("local_attention_mask", spec.local_window)):
            found[name] = attention_mask(chunk, rows, Visibility(self.tokens, window=window))
        for prefix, rotary in (("", spec.rotary), ("local_", spec.local_rotary)):
            if rotary:
                parameters = RotaryParameters.from_dict(dict(rotary))
                tables = rotary_tables(parameters, np.arange(self.tokens), length=self._context)
                found[f"{prefix}cos"], found[f"{prefix}sin"] = tables
        return found


def _vector(values: Floats) -> Placed:
    stored = values.astype(np.float16)
    return Placed(Dense(stored), {"values": Part("fp16", stored.shape, None, stored)})


def _write(
    model: OpenedModel,
    package: Path,
    index: int | None,
    vectors: Mapping[str, Placed],
    matrices: Mapping[str, tuple[int, ...]],
) -> dict[str, list[str]]:
    """Writes the program of a layer or the head; `Opened.stages`."""
    from .._quiet import quiet_coremltools
    from ..weights.weight_file import WeightFile

    with quiet_coremltools():
        from ..emit.export import forget_names
        from ..emit.opened import OpenBank, add_stages, build_head, build_layer
        from ..emit.program import save, weights_path

        forget_names()
        bank, spec = OpenBank(vectors, matrices), model.given.spec
        if index is None:
            program, stages = build_head(spec, bank, model.tokens)
        else:
            program, stages = build_layer(spec, index, bank, model.tokens)
        path = weights_path(package)
        path.parent.mkdir(parents=True)
        with WeightFile(path) as file:
            save(program, package, {}, file)
        add_stages(package, stages)
    return stages


def _input_names(model: MLModel) -> list[str]:
    """The inputs of a model's function."""
    description = model.get_spec().description
    functions = {one.name: one for one in description.functions}
    return [one.name for one in functions[model.function_name].input]
