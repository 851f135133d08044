"""Random programs: their values and steps, and how one is drawn.

Knows what a program is. Must not know what any op does (the tables beside this file do, in `KNOWN`) nor how a package
is written (package.py does) or run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from math import prod
from typing import Any

import numpy as np

OPSETS = {15: "CoreML5", 16: "CoreML6", 17: "CoreML7", 18: "CoreML8"}
FLOATS = ("fp32", "fp16")
NUMBERS = (*FLOATS, "int32")
ANY = (*NUMBERS, "bool")
MOST = 600  # elements of a value
LARGEST = 1e4  # of a result: beyond it nothing is compared sensibly


KNOWN: dict[str, Callable[[Maker], None]] = {}


def known(*names: str) -> Callable[[Callable[[Maker, str], None]], Callable[[Maker, str], None]]:
    """Registers a function for these ops: it takes values from a `Maker`, computes in float64 and gives the result.

    It raises Skip where nothing fits.
    """

    def register(make: Callable[[Maker, str], None]) -> Callable[[Maker, str], None]:
        KNOWN.update((name, partial(make, op=name)) for name in names)
        return make

    return register


class Skip(Exception):
    """An op that nothing so far can be given to, or whose result would be no use."""


@dataclass(frozen=True)
class Tensor:
    """A value with what it holds.

    Attributes:
        array: float64, int64 or bool.
        exact: whether float32 holds it to the last bit, so that an op may jump at it.
        literal: whether it is known before running.
        fixed: whether its shape is known even where shapes are flexible.
    """

    name: str
    dtype: str
    array: Any
    exact: bool = True
    literal: bool = False
    fixed: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.array.shape)

    @property
    def rank(self) -> int:
        return int(self.array.ndim)

    def __str__(self) -> str:
        content = f" = {self.array.tolist()!r}" if self.literal else ""
        return f"{self.name}: {self.dtype}{list(self.shape)}{content}"


@dataclass(frozen=True)
class Step:
    """One op: the values that it is given, variadic ones as lists, and those that it makes."""

    op: str
    inputs: dict[str, Any]
    outputs: tuple[Tensor, ...]

    def given(self) -> list[Tensor]:
        return [v for given in self.inputs.values() for v in (given if isinstance(given, list) else [given])]

    def __str__(self) -> str:
        def shown(value: Any) -> str:
            if isinstance(value, list):
                return f"[{', '.join(map(shown, value))}]"
            short = value.literal and value.array.size <= 8
            return repr(value.array.tolist()) if short else value.name

        inputs = ", ".join(f"{key}={shown(value)}" for key, value in self.inputs.items())
        return f"{', '.join(map(str, self.outputs))} = {self.op}({inputs})"


@dataclass
class Program:
    """A program and what it must give. Printed, it is all that one needs to write it again."""

    opset: str
    flexible: bool
    inline: bool
    inputs: list[Tensor] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)

    @property
    def outputs(self) -> list[Tensor]:
        """What no op reads."""
        read = {value.name for step in self.steps for value in step.given()}
        return [value for step in self.steps for value in step.outputs if value.name not in read]

    def __repr__(self) -> str:
        long = {v.name: v for s in self.steps for v in s.given() if v.literal and v.array.size > 8}
        lines = [f"{v}  # input: {v.array.tolist()!r}" for v in self.inputs] + list(map(str, long.values()))
        kind = f"opset {self.opset}{', flexible' if self.flexible else ''}{', inline literals' if self.inline else ''}"
        return "\n    ".join([f"program of {kind}", *lines, *map(str, self.steps)])

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(repr(self))  # hypothesis would print every field


class Maker:
    """Draws one program. An op's function takes values from it, computes, and gives the result back by `result`.

    Args:
        integer: draws a whole number between two, both included; all choices come from it, and 0 is the simplest.
    """

    def __init__(self, integer: Callable[[int, int], int]) -> None:
        self.integer = integer
        self.year = self.choice((18, 17, 16, 15))
        self.program = Program(OPSETS[self.year], self.flag(), self.flag())
        self.pool: list[Tensor] = []
        self._count = 0

    # -- choices ------------------------------------------------------------------------------------------------------

    def choice(self, options: Sequence[Any]) -> Any:
        return options[self.integer(0, len(options) - 1)]

    def flag(self) -> bool:
        return bool(self.integer(0, 1))

    def shape(self, low: int = 1, high: int = 5) -> tuple[int, ...]:
        sizes = [self.choice((2, 3, 1, 5)) for _ in range(self.integer(low, high))]
        while prod(sizes) > MOST // 4:
            sizes[sizes.index(max(sizes))] = 2
        return tuple(sizes)

    def axis(self, rank: int) -> int:
        """An axis, perhaps counted from the end."""
        return self.integer(-rank, rank - 1)

    def axes(self, rank: int) -> list[int]:
        """Some axes, at least one, each once, perhaps counted from the end."""
        chosen = self.order(rank)[: self.integer(1, rank)]
        return [axis - rank if self.flag() else axis for axis in chosen]

    def order(self, rank: int) -> list[int]:
        """The axes in some order."""
        return self.shuffled(list(range(rank)))

    def shuffled(self, values: list[Any]) -> list[Any]:
        rest = list(values)
        return [rest.pop(self.integer(0, len(rest) - 1)) for _ in values]

    def numbers(self, shape: tuple[int, ...], dtype: str, low: int = -4, high: int = 4) -> Any:
        """Random content: multiples of an eighth in that range, which fp16 holds too; integers; or truths."""
        random = np.random.default_rng(self.integer(0, 1000))
        if dtype == "bool":
            return random.integers(0, 2, shape).astype(bool)
        step = 8 if dtype in FLOATS else 1
        drawn = random.integers(low * step, high * step + 1, shape)
        return drawn / 8.0 if dtype in FLOATS else drawn

    # -- values -------------------------------------------------------------------------------------------------------

    def fresh(self) -> str:
        self._count += 1
        return f"v{self._count}"

    def input(self, array: Any, dtype: str, *, fixed: bool = False) -> Tensor:
        """A new input of the function."""
        value = Tensor(self.fresh(), dtype, np.asarray(array), fixed=fixed)
        self.program.inputs.append(value)
        return value

    def literal(self, array: Any, dtype: str = "") -> Tensor:
        """A value known before running; numbers are int32 or bool unless a type is named, text is a string."""
        made = np.asarray(array)
        if made.dtype.kind == "U":
            return Tensor(self.fresh(), "string", made, literal=True)
        found = dtype or {"b": "bool", "i": "int32", "f": "fp32"}[made.dtype.kind]
        return Tensor(self.fresh(), found, made.astype(float) if found in FLOATS else made, literal=True)

    def operand(self, array: Any, dtype: str) -> Tensor:
        """A value that an op may be given either way: as a literal, or as an input of the function."""
        runtime = dtype != "bool" and np.ndim(array) > 0 and self.flag()
        return self.input(array, dtype) if runtime else self.literal(array, dtype)

    def parameter(self, numbers: list[int]) -> Tensor:
        """A vector of sizes or bounds. Where shapes are flexible it may come at run time; its length is known."""
        if self.program.flexible and self.flag():
            return self.input(np.array(numbers), "int32", fixed=True)
        return self.literal(np.array(numbers), "int32")

    def new(self, shape: tuple[int, ...], dtypes: Sequence[str]) -> Tensor:
        """A value of that shape: one of the program, or a new input."""
        found = [v for v in self.pool if v.shape == shape and v.dtype in dtypes]
        if found and self.flag():
            return self.choice(found)
        dtype = self.choice(dtypes)
        return self.input(self.numbers(shape, dtype), dtype)

    def pick(
        self, *dtypes: str, low: int = 1, high: int = 5, exact: bool = False, where: Callable[[Any], bool] | None = None
    ) -> Tensor:
        """A value of the program so far that fits.

        Args:
            low, high: bounds of the rank.
            where: what its array has to satisfy.
        """
        fitting = [
            v
            for v in reversed(self.pool)
            if v.dtype in (dtypes or FLOATS)
            and low <= v.rank <= high
            and (v.exact or not exact)
            and (where is None or where(v.array))
        ]
        if not fitting:
            raise Skip
        return self.choice(fitting)

    def partner(
        self, x: Tensor, *, low: int = -4, high: int = 4, exact: bool = False, positive: bool = False
    ) -> Tensor:
        """A value that is broadcast with x: another of the program, or a new one."""
        if self.flag():
            found = [
                v
                for v in self.pool
                if v.dtype == x.dtype
                and _broadcasts(v.shape, x.shape)
                and (v.exact or not exact)
                and not (positive and (v.array.min() < 0.125 or v.array.max() > high))
            ]
            if found:
                return self.choice(found)
        shape = [1 if self.integer(0, 3) == 0 else size for size in x.shape]
        shape = shape[self.integer(0, x.rank) :]
        array = self.numbers(tuple(shape), x.dtype, low, high)
        return self.operand(np.maximum(np.abs(array), 0.5 if x.dtype in FLOATS else 1) if positive else array, x.dtype)

    # -- results ------------------------------------------------------------------------------------------------------

    def result(self, op: str, *arrays: Any, like: Tensor | str, exact: bool, **inputs: Any) -> None:
        """Adds the op and what it gives.

        Args:
            like: the value whose type the result has, or a type; "a,b" for several results.
            exact: whether the op itself loses nothing: a result is exact if its inputs are, too.
            inputs: values; anything else becomes a literal.
        """
        dtypes = like.dtype.split(",") if isinstance(like, Tensor) else like.split(",")
        given = {key: self._given(value) for key, value in inputs.items() if value is not None}
        everything = Step(op, given, ()).given()
        exact = exact and all(value.exact for value in everything)
        outputs = []
        for array, dtype in zip(arrays, dtypes * (len(arrays) // len(dtypes)), strict=True):
            made = np.asarray(array)
            made = made.astype(float if dtype in FLOATS else bool if dtype == "bool" else np.int64)
            if not 0 < made.size <= MOST or made.ndim > 5:
                raise Skip
            if made.dtype.kind != "b" and not np.abs(made).max() <= LARGEST:
                raise Skip
            held = exact and (dtype not in FLOATS or bool((made == made.astype(np.float32)).all()))
            outputs.append(Tensor(self.fresh(), dtype, made, held or dtype not in FLOATS))
        self.program.steps.append(Step(op, given, tuple(outputs)))
        self.pool.extend(outputs)

    def _given(self, value: Any) -> Any:
        if isinstance(value, Tensor):
            return value
        if isinstance(value, list) and value and isinstance(value[0], Tensor):
            return value
        return self.literal(value)

    def attempt(self, make: Callable[[Maker], None]) -> bool:
        """One op, if it can be had; else nothing."""
        inputs = len(self.program.inputs)
        try:
            make(self)
        except Skip:
            del self.program.inputs[inputs:]
            return False
        return True


def _broadcasts(shape: tuple[int, ...], other: tuple[int, ...]) -> bool:
    return all(a == b or 1 in (a, b) for a, b in zip(reversed(shape), reversed(other), strict=False))


def make_program(integer: Callable[[int, int], int], most: int = 8) -> Program:
    """A program of one to `most` known ops; see `Maker`."""
    maker = Maker(integer)
    for _ in range(maker.integer(1, 2)):
        dtype = maker.choice(("fp32", "fp32", "fp16", "int32"))
        maker.pool.append(maker.input(maker.numbers(maker.shape(), dtype), dtype))
    names = list(KNOWN)
    for _ in range(maker.integer(1, most)):
        tries = (maker.attempt(KNOWN[maker.choice(names)]) for _ in range(4))
        if not any(tries):
            maker.attempt(KNOWN["identity"])
    return maker.program
