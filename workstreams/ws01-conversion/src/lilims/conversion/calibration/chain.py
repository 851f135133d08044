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

from ..policy.plan import Plan
from ..prepare import Prepared
from ..quantize import Scheme, check_range, quantize
from ..quantize.compensated import SWEEPS, quantize_compensated
from ..stored import Stored
from ..weights.tensors import whole
from .moments import Moments
from .opened import Floats, Opened, OpenedModel

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
        """A layer's matrices; both streams go through it."""
        opened = self.opened.layer(index)
        passed = [opened.run(rows, {}) for rows in self.exact]
        made: Unit = {}
        for stage, roles in opened.stages.items():
            quantised = [role for role in roles if self._taken(role, opened.matrices[role].shape).kind != "fp16"]
            if not quantised:
                continue
            shown = {role: stored.dequantize() for role, stored in made.items()}
            moments = Moments(opened.matrices[roles[0]].shape[1])
            for rows, (_, seen) in zip(self.shipped, passed, strict=True):
                moments.add(opened.enters(stage, rows, shown), seen.pop(stage))
            for role in quantised:
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
        matrices = {role: stored.dequantize() for role, stored in made.items()}
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

    def _taken(self, role: str, shape: tuple[int, ...]) -> Scheme:
        """What is to be done with a matrix; fp16 is nothing, and so is it where codes are kept."""
        return Scheme("fp16") if role in self.plan.kept else self.plan.scheme_of(role).fitted(shape)

    def _stored(self, role: str, values: Floats, moments: Moments | None) -> Unit:
        taken = self._taken(role, values.shape)
        if taken.kind == "fp16":
            return {}
        name = self._given.names[role]
        if moments is None and taken.method == "gptq":  # rows are looked up, all alike
            taken = replace(taken, method="search" if taken.kind == "int" else "rtn")
        if moments is None or taken.method != "gptq":
            importance = None if moments is None else moments.hessian.diagonal().copy()
            return {role: quantize(values, taken, name=name, importance=importance)}
        check_range(values, taken, name=name)
        target = moments.target(values) if self.knobs.compensate else values
        check_range(target, taken, name=name)
        return {role: quantize_compensated(target, taken, moments.hessian, sweeps=self.knobs.sweeps)}
