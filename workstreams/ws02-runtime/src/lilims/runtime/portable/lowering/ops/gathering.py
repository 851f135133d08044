"""`gather`, `gather_along_axis`, `gather_nd`.

Indices below zero count from the end in all of them. From iOS 17 on they are an error with `validate_indices`, and
without it undefined, so this is one of the permitted outcomes. An index outside the dimension is an error when the
program runs.
"""

from __future__ import annotations

from ...program import Op
from ..scope import Scope, lowers
from .common import axis_input, integer_index


@lowers("gather")
def gather(scope: Scope, op: Op) -> None:
    rank = scope.type(op, "x").rank
    axis, batch = axis_input(scope, op, "axis", rank, 0), int(scope.scalar(op, "batch_dims", 0))
    x = scope.input(op, "x")
    if not batch:
        return scope.bind(op, scope.emit("Gather", x, integer_index(scope, op, "indices"), axis=axis))
    # [B, P, axis, S] -> [B, axis, P, S]; GatherND gives [B, N, P, S] -> [B, P, N, S]
    order = [*range(batch), axis, *range(batch, axis), *range(axis + 1, rank)]
    last = scope.array([-1], "int64")
    places = scope.emit("Unsqueeze", integer_index(scope, op, "indices", wide=True), last)
    taken = scope.emit("GatherND", scope.emit("Transpose", x, perm=order), places, batch_dims=batch)
    free, before = scope.type(op, "indices").rank - batch, axis - batch
    result_rank = rank - 1 + free
    back = [
        *range(batch),
        *range(batch + free, batch + free + before),
        *range(batch, batch + free),
        *range(batch + free + before, result_rank),
    ]
    return scope.bind(op, scope.emit("Transpose", taken, perm=back))


@lowers("gather_along_axis")
def gather_along_axis(scope: Scope, op: Op) -> None:
    axis = axis_input(scope, op, "axis", scope.type(op, "x").rank, 0)
    indices = integer_index(scope, op, "indices")
    scope.bind(op, scope.emit("GatherElements", scope.input(op, "x"), indices, axis=axis))


@lowers("gather_nd")
def gather_nd(scope: Scope, op: Op) -> None:
    batch = int(scope.scalar(op, "batch_dims", 0))
    indices = integer_index(scope, op, "indices", wide=True)
    scope.bind(op, scope.emit("GatherND", scope.input(op, "x"), indices, batch_dims=batch))
