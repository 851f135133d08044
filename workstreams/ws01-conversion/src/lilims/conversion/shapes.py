"""Shapes of a package: context, rows of the state, functions, and how a model is cut into packages.

Knows the arithmetic of the contract. Must not import coremltools: a plan is made before anything is built.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil
from typing import Literal

from lilims.core.errors import UsageError

from .spec import DecoderSpec, Experts

__all__ = ["STATE", "FunctionPlan", "GraphOptions", "PackagePlan", "Shapes", "plan_packages", "plan_shapes", "round_up"]

STATE = "kv_cache"
_CHUNK = 128  # tokens of a prefill or score call; smaller where the context is
_MULTIPLE = 32  # rows and head dimension of the state
_CHUNKS = (8, 1024)  # the smallest and the largest chunk; multiples of 8
_MB = 1_000_000


@dataclass(frozen=True)
class GraphOptions:
    """How a model is laid out as functions and packages.

    Attributes:
        prefill_chunk: tokens of a `prefill` or `score` call, a multiple of 8; None is the profile's, or less where the
            context is.
        buckets: numbers of rows; for each there is a `decode_<n>` and a `prefill_<n>` that read that many of the state.
        embedding: "host" keeps the embedding in a file beside the package, from which the runtime feeds rows.
        max_chunk_mb: split the model into packages whose weights have at most that many million bytes.
        split_functions: one package for each function, their weights hard links to one file.
        layout: "conv" writes linears as 1×1 convolutions over [1, C, 1, S].

    Raises:
        UsageError: a value is out of range.
    """

    prefill_chunk: int | None = None
    buckets: tuple[int, ...] = ()
    embedding: Literal["package", "host"] = "package"
    max_chunk_mb: float | None = None
    split_functions: bool = False
    layout: Literal["linear", "conv"] = "linear"

    def __post_init__(self) -> None:
        low, high = _CHUNKS
        if self.prefill_chunk is not None and (self.prefill_chunk % 8 or not low <= self.prefill_chunk <= high):
            raise UsageError(f"--prefill-chunk must be a multiple of 8 from {low} to {high}, not {self.prefill_chunk}")
        for bucket in self.buckets:
            if bucket < _MULTIPLE or bucket % _MULTIPLE:
                raise UsageError(f"--buckets must be multiples of {_MULTIPLE}, not {bucket}")
        if len(set(self.buckets)) != len(self.buckets):
            raise UsageError("--buckets names a number twice")
        if self.embedding not in ("package", "host"):
            raise UsageError(f"--embedding must be package or host, not {self.embedding!r}")
        if self.layout not in ("linear", "conv"):
            raise UsageError(f"--layout must be linear or conv, not {self.layout!r}")
        if self.max_chunk_mb is not None and not self.max_chunk_mb > 0:
            raise UsageError(f"--max-chunk-mb must be a number above 0, not {self.max_chunk_mb}")

    @property
    def staged(self) -> bool:
        """Whether tensors end in several files, or in another than weight.bin."""
        return self.max_chunk_mb is not None or self.embedding == "host"


@dataclass(frozen=True)
class FunctionPlan:
    """One function: S tokens at a time, logits of the row that the input `last` names or of all rows.

    `rows` are those of the state that its queries see: all, or the first ones.
    """

    name: str
    tokens: int
    rows: int
    logits: Literal["last", "all"]


@dataclass(frozen=True)
class PackagePlan:
    """A package with the layers from `first` up to `end`."""

    stem: str
    first: int
    end: int

    def names(self, functions: tuple[FunctionPlan, ...], *, split: bool) -> dict[str, list[str]]:
        """Its folders' names, with the functions that each has."""
        if split:
            return {f"{self.stem}_{function.name}.mlpackage": [function.name] for function in functions}
        return {f"{self.stem}.mlpackage": [function.name for function in functions]}

    def roles(self, spec: DecoderSpec, *, host_embedding: bool) -> set[str]:
        """The tensors that it holds. A tied embedding stands in the first package and in the last."""
        found = {f"layers.{index}." for index in range(self.first, self.end)}
        wanted = {role for role, _ in spec.roles() if role.startswith(tuple(found))}
        alone = {role for role, _ in spec.roles() if not role.startswith("layers.")}
        if self.first == 0:
            wanted |= alone & ({"positions"} | (set() if host_embedding else {"embedding"}))
        if self.end == len(spec.layers):
            wanted |= alone - {"embedding", "positions"} | ({"embedding"} if spec.tied else set())
        return wanted


@dataclass(frozen=True)
class Shapes:
    """Shapes of a model: context C, rows R of the state, its padded head dimension, the functions and packages."""

    context: int
    rows: int
    state_dim: int
    functions: tuple[FunctionPlan, ...]
    packages: tuple[PackagePlan, ...]
    options: GraphOptions = GraphOptions()

    def state(self, spec: DecoderSpec, package: PackagePlan | None = None) -> tuple[int, int, int, int]:
        """[2 · layers, kv_heads, R, head_dim], of the whole model or of a package's layers."""
        layers = len(spec.layers) if package is None else package.end - package.first
        return (2 * layers, spec.kv_heads, self.rows, self.state_dim)


def round_up(value: int, multiple: int) -> int:
    """The least multiple that is not below the value."""
    return -(-value // multiple) * multiple


def plan_shapes(spec: DecoderSpec, context: int, chunk: int = _CHUNK, options: GraphOptions | None = None) -> Shapes:
    """C rows of context and one chunk of scratch, so that a padded chunk fits wherever it starts.

    Args:
        chunk: tokens of a `prefill` or `score` call unless the options say so; less where the context is.

    Raises:
        UsageError: a chunk or a bucket does not fit the context.
    """
    options = options or GraphOptions()
    if options.layout == "conv" and any(isinstance(layer.mlp, Experts) for layer in spec.layers):
        raise UsageError("--layout conv has no form for a mixture of experts", hint="leave it out")
    most = round_up(context, _MULTIPLE)
    if options.prefill_chunk is not None and options.prefill_chunk > most:
        raise UsageError(f"--prefill-chunk {options.prefill_chunk} is more than the context of {context}")
    chunk = min(options.prefill_chunk or chunk, most)
    rows = round_up(context + chunk, _MULTIPLE)
    functions = [
        FunctionPlan("decode", 1, rows, "last"),
        FunctionPlan("prefill", chunk, rows, "last"),
        FunctionPlan("score", chunk, rows, "all"),
    ]
    for bucket in sorted(options.buckets):
        if bucket >= context:
            raise UsageError(
                f"--buckets {bucket} is not below the context of {context}",
                hint="a bucket is a part of the context; the functions without a number read all of it",
            )
        functions.append(FunctionPlan(f"decode_{bucket}", 1, bucket, "last"))
        if bucket >= chunk:
            functions.append(FunctionPlan(f"prefill_{bucket}", chunk, bucket, "last"))
    whole = (PackagePlan("model", 0, len(spec.layers)),)
    return Shapes(context, rows, round_up(spec.head_dim, _MULTIPLE), tuple(functions), whole, options)


def plan_packages(spec: DecoderSpec, options: GraphOptions, bytes_of: Mapping[str, int]) -> tuple[PackagePlan, ...]:
    """The packages of a model: as few as hold its layers in order without passing `max_chunk_mb`.

    Args:
        bytes_of: role → bytes that it takes.

    Raises:
        UsageError: a layer alone, with the embedding before the first one and the head behind the last, takes more.
    """
    count = len(spec.layers)
    if options.max_chunk_mb is None:
        return (PackagePlan("model", 0, count),)
    host, limit = options.embedding == "host", options.max_chunk_mb * _MB
    alone = [PackagePlan("", index, index + 1).roles(spec, host_embedding=host) for index in range(count)]
    sizes = [sum(bytes_of[role] for role in roles) for roles in alone]
    largest = max(range(count), key=sizes.__getitem__)
    if sizes[largest] > limit:
        what = {0: " with the embedding", count - 1: " with the head"}.get(largest, "")
        raise UsageError(
            f"layer {largest}{what} takes {sizes[largest] / _MB:.2f} MB, more than --max-chunk-mb "
            f"{options.max_chunk_mb:g}",
            hint=f"--max-chunk-mb {ceil(100 * sizes[largest] / _MB) / 100:g} or more"
            + ("" if host else "; --embedding host takes the embedding out"),
        )
    starts, total = [0], 0
    for index, size in enumerate(sizes):
        if total + size > limit:
            starts.append(index)
            total = 0
        total += size
    if len(starts) == 1:
        return (PackagePlan("model", 0, count),)
    return tuple(
        PackagePlan(f"model_{number:02d}", first, end)
        for number, (first, end) in enumerate(zip(starts, [*starts[1:], count], strict=True))
    )
