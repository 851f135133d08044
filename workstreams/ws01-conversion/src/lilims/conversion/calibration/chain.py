"""Quantises a model layer by layer, each in view of what the layers before it have become.

Knows the order. Must not know programs, files or arithmetic. Two streams of rows go through the model side by side: one
as the checkpoint has it, one as it is shipped so far. Of each layer the matrices are quantised in the order in which
they are reached, so that each sees what really enters it, and is rounded towards what makes up for earlier errors.

    embedding      before all layers; where it is the head too, its moments come from a pass through the model as it is
    layers         one after another, stage by stage
    head           behind the last, where it is a matrix of its own
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..policy.plan import Plan
from ..prepare import Prepared
from ..quantize import Scheme, check_range, quantize
from ..quantize.compensated import SWEEPS, quantize_compensated
from ..stored import Dense, Stored
from ..weights.tensors import whole
from .moments import Moments
from .opened import Floats, Opened, OpenedModel
from .scales import Fold, best_scales, fold_of, rows_divided

__all__ = ["Chain", "Knobs", "Unit"]

Unit = dict[str, Stored]
_LOOKED_UP = 0.3  # a tied table's rows are also looked up, where every error counts alike: added to its mean moment


@dataclass(frozen=True)
class Knobs:
    """Parts of the method that can be left out, to see what they are worth.

    Attributes:
        compensate: round towards what makes up for earlier errors, not towards the matrix as it is.
        sweeps: of single codes and scales behind the rounding.
    """

    compensate: bool = True
    sweeps: int = SWEEPS


@dataclass
class Chain:
    """The two streams, and the work at hand.

    Args:
        opened: the model.
        plan: which scheme each matrix takes. Its shapes are those of the opened model.
        windows: token ids, all as many as the opened model's tokens.
    """

    opened: OpenedModel
    plan: Plan
    windows: Sequence[Sequence[int]]
    knobs: Knobs = Knobs()

    def __post_init__(self) -> None:
        self.exact: list[Floats] = []
        self.shipped: list[Floats] = []

    @property
    def _given(self) -> Prepared:
        return self.opened.given

    # -- units, in order -------------------------------------------------------------------------------------------

    def embedding(self) -> Unit:
        """The embedding."""
        values = whole(self._given, self.plan, "embedding")
        moments = self._head_moments(self._all_layers()) if self._given.spec.tied else None
        if moments is not None:
            moments.regard_lookups(_LOOKED_UP)
        return self._stored("embedding", values, moments)

    def layer(self, index: int) -> Unit:
        """A layer's matrices, and norms that took scales back; both streams go through it."""
        opened = self.opened.layer(index)
        passed = [opened.run(rows, {}) for rows in self.exact]
        made: Unit = {}
        for stage, roles in opened.stages.items():
            quantised = [role for role in roles if self._taken(role, opened.matrices[role].shape).kind != "fp16"]
            if not quantised:
                continue
            shown = self.matrices(made)
            moments = Moments(opened.matrices[roles[0]].shape[1])
            for rows, (_, seen) in zip(self.shipped, passed, strict=True):
                moments.add(opened.enters(stage, rows, shown), seen.pop(stage))
            scaled = self._scaled(roles, moments, made)
            made |= scaled
            for role in quantised:
                if role not in scaled:
                    made |= self._stored(role, whole(self._given, self.plan, role), moments)
        self.exact = [rows for rows, _ in passed]
        self._ship(opened, made)
        return made

    def all(self) -> Unit:
        """Every matrix, all in memory."""
        made = dict(self.embedding())
        self.begin(made)
        for index in range(len(self._given.spec.layers)):
            made |= self.layer(index)
        return made | self.head()

    def head(self) -> Unit:
        """The head, where it is not the embedding."""
        if self._given.spec.tied:
            return {}
        moments = self._head_moments(self.exact, self.shipped)
        return self._stored("head", whole(self._given, self.plan, "head"), moments)

    def matrices(self, made: Mapping[str, Stored]) -> dict[str, Floats]:
        """What was made, as the model has it whose norms have taken nothing back."""
        found = {role: stored.dequantize() for role, stored in made.items()}
        for role in [role for role in found if role.startswith("layers.")]:
            fold = self._fold(role)
            if fold and fold.norm and (norm := f"{fold.norm}.weight") in found:
                own, new = self.opened.read(norm), found[norm]
                found[role] /= np.divide(own, new, out=np.ones_like(own), where=(own != 0) & (new != 0))
        return found

    # -- parts -----------------------------------------------------------------------------------------------------

    def begin(self, embedding: Mapping[str, Stored]) -> None:
        """Starts both streams."""
        own = self.opened.read("embedding")
        shipped = embedding["embedding"].dequantize() if "embedding" in embedding else own
        self.exact = [self.opened.embedded(ids, own) for ids in self.windows]
        self.shipped = [self.opened.embedded(ids, shipped) for ids in self.windows]

    def follow(self, index: int, made: Mapping[str, Stored]) -> None:
        """Takes both streams through a layer that is quantised already."""
        opened = self.opened.layer(index)
        self.exact = [opened.run(rows, {})[0] for rows in self.exact]
        self._ship(opened, made)

    def _ship(self, opened: Opened, made: Mapping[str, Stored]) -> None:
        matrices = self.matrices(made)
        self.shipped = [opened.run(rows, matrices)[0] for rows in self.shipped]

    def _all_layers(self) -> list[Floats]:
        own = self.opened.read("embedding")
        rows = [self.opened.embedded(ids, own) for ids in self.windows]
        for index in range(len(self._given.spec.layers)):
            opened = self.opened.layer(index)
            rows = [opened.run(one, {})[0] for one in rows]
        return rows

    def _head_moments(self, exact: Sequence[Floats], shipped: Sequence[Floats] | None = None) -> Moments:
        head = self.opened.head()
        (stage,) = head.stages
        moments = Moments(self._given.spec.hidden_size)
        for index, rows in enumerate(exact):
            y = head.enters(stage, rows, {})
            moments.add(y if shipped is None else head.enters(stage, shipped[index], {}), y)
        return moments

    def _fold(self, role: str) -> Fold | None:
        index = int(role.split(".")[1])
        return fold_of(self._given.spec.layers[index], f"layers.{index}.", role)

    def _scaled(self, roles: Sequence[str], moments: Moments, made: Mapping[str, Stored]) -> Unit:
        """All matrices that a value enters, under scales, and what takes these back; nothing where none are wanted."""
        if not any(self.plan.scheme_of(role).method == "awq" for role in roles):
            return {}
        fold = self._fold(roles[0])
        if fold is None or any(role in self.plan.kept for role in (*roles, fold.matrix)):
            return {}
        values = {role: whole(self._given, self.plan, role) for role in roles}
        scales = best_scales(fold, values, self._nearest, moments.hessian)
        found = {} if scales is None else self._taken_back(fold, scales, made)
        if scales is None or not found:
            return {}
        moments = moments.scaled(scales)
        for role, matrix in values.items():
            matrix *= scales
            found |= self._stored(role, matrix, moments) or {role: Dense(matrix.astype(np.float16))}
        return found

    def _nearest(self, role: str, values: Floats) -> Floats:
        taken = replace(self.plan.scheme_of(role).fitted(values.shape), method="rtn")
        return quantize(values, taken, name=self._given.names[role]).dequantize()

    def _taken_back(self, fold: Fold, scales: Floats, made: Mapping[str, Stored]) -> Unit:
        """What has to be divided by the scales; nothing where that cannot be."""
        if fold.norm:
            parts = [role for role in self._given.names if role.rsplit(".", 1)[0] == fold.norm]
            vectors = {role: whole(self._given, self.plan, role) / scales for role in parts}
            return {role: Dense(values.astype(np.float16)) for role, values in vectors.items()}
        before = made.get(fold.matrix) or Dense(whole(self._given, self.plan, fold.matrix).astype(np.float16))
        divided = rows_divided(before, fold.of_rows(scales))
        return {} if divided is None else {fold.matrix: divided}

    def _taken(self, role: str, shape: tuple[int, ...]) -> Scheme:
        """What is to be done with a matrix; fp16 is nothing, and so is it where codes are kept."""
        return Scheme("fp16") if role in self.plan.kept else self.plan.scheme_of(role).fitted(shape)

    def _stored(self, role: str, values: Floats, moments: Moments | None) -> Unit:
        taken = self._taken(role, values.shape)
        if taken.kind == "fp16":
            return {}
        name = self._given.names[role]
        if moments is None and taken.method in ("gptq", "awq"):  # rows are looked up, all alike
            taken = replace(taken, method="search" if taken.kind == "int" else "rtn")
        if moments is None or taken.method != "gptq":
            importance = None if moments is None else moments.hessian.diagonal().copy()
            return {role: quantize(values, taken, name=name, importance=importance)}
        check_range(values, taken, name=name)
        target = moments.target(values) if self.knobs.compensate else values
        check_range(target, taken, name=name)
        return {role: quantize_compensated(target, taken, moments.hessian, sweeps=self.knobs.sweeps)}
