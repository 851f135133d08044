"""Ops that move elements between dimensions: blocks, pixel shuffles, windows, reversed sequences.

The moves are TensorFlow's (`depth_to_space`, `space_to_batch`, `reverse_sequence`) and PyTorch's (`pixel_shuffle`).
"""

from __future__ import annotations

import numpy as np

from ...program import Op
from ..scope import Scope, lowers
from .common import axis_input, bounded, dimension, int64_input, static_shape, unsupported


@lowers("depth_to_space")
def depth_to_space(scope: Scope, op: Op) -> None:
    block = int(scope.scalar(op, "block_size"))
    scope.bind(op, scope.emit("DepthToSpace", scope.input(op, "x"), blocksize=block, mode="DCR"))


@lowers("pixel_shuffle")
def pixel_shuffle(scope: Scope, op: Op) -> None:
    factor = int(scope.scalar(op, "upscale_factor"))
    scope.bind(op, scope.emit("DepthToSpace", scope.input(op, "x"), blocksize=factor, mode="CRD"))


@lowers("space_to_depth")
def space_to_depth(scope: Scope, op: Op) -> None:
    block = int(scope.scalar(op, "block_size"))
    scope.bind(op, scope.emit("SpaceToDepth", scope.input(op, "x"), blocksize=block))


@lowers("pixel_unshuffle")
def pixel_unshuffle(scope: Scope, op: Op) -> None:
    """[n, C, H·f, W·f] -> [n, C·f·f, H, W], the channel outermost (ONNX's SpaceToDepth has it innermost)."""
    f = int(scope.scalar(op, "downscale_factor"))
    x, depth = scope.input(op, "x"), scope.emit("SpaceToDepth", scope.input(op, "x"), blocksize=f)
    spread = scope.emit("Concat", *_sizes(scope, depth, [(0, 1)]), scope.array([f * f], "int64"),
                        *_sizes(scope, x, [(1, 2)]), *_sizes(scope, depth, [(2, 4)]), axis=0)  # fmt: skip
    swapped = scope.emit("Transpose", scope.emit("Reshape", depth, spread), perm=[0, 2, 1, 3, 4])
    scope.bind(op, scope.emit("Reshape", swapped, scope.emit("Shape", depth)))


def _sizes(scope: Scope, value: str, ranges: list[tuple[int, int]]) -> list[str]:
    return [scope.emit("Shape", value, start=start, end=end) for start, end in ranges]


@lowers("space_to_batch")
def space_to_batch(scope: Scope, op: Op) -> None:
    """[n, C, H, W] padded, cut into blocks; the place within a block becomes the outer part of the batch."""
    _, channels, *sizes = static_shape(scope, op, "x")
    block, paddings = scope.ints(op, "block_shape"), scope.constant(op, "paddings")
    (top, bottom), (left, right) = paddings.tolist()
    padded = scope.emit("Pad", scope.input(op, "x"), scope.array([0, 0, top, left, 0, 0, bottom, right], "int64"))
    height, width = ((size + int(pads.sum())) // b for size, pads, b in zip(sizes, paddings, block, strict=True))
    cut = scope.array([-1, channels, height, block[0], width, block[1]], "int64")
    moved = scope.emit("Transpose", scope.emit("Reshape", padded, cut), perm=[3, 5, 0, 1, 2, 4])
    scope.bind(op, scope.emit("Reshape", moved, scope.array([-1, channels, height, width], "int64")))


@lowers("batch_to_space")
def batch_to_space(scope: Scope, op: Op) -> None:
    """The inverse of space_to_batch, with crops in the place of paddings."""
    batch, channels, height, width = static_shape(scope, op, "x")
    block = scope.ints(op, "block_shape")
    (top, bottom), (left, right) = scope.constant(op, "crops").tolist()
    blocks = scope.array([*block, batch // (block[0] * block[1]), channels, height, width], "int64")
    moved = scope.emit("Transpose", scope.emit("Reshape", scope.input(op, "x"), blocks), perm=[2, 3, 4, 0, 5, 1])
    joined = scope.emit("Reshape", moved, scope.array([-1, channels, height * block[0], width * block[1]], "int64"))
    ends = [height * block[0] - bottom, width * block[1] - right]
    bounds = (scope.array(v, "int64") for v in ([top, left], ends, [2, 3]))
    scope.bind(op, scope.emit("Slice", joined, *bounds))


@lowers("sliding_windows")
def sliding_windows(scope: Scope, op: Op) -> None:
    """Windows gathered by the matrix of their indices: [windows, size] takes the place of the axis."""
    kind = scope.type(op, "x")
    axis = axis_input(scope, op, "axis", kind.rank, 0)
    size, stride = int(scope.scalar(op, "size")), int(scope.scalar(op, "stride", 1))
    x, length = scope.input(op, "x"), kind.shape[axis]
    bounded(op, size, 1 if length is None else max(1, (length - size) // stride + 1))
    if length is not None:
        starts = scope.array(np.arange((length - size) // stride + 1)[:, None] * stride, "int64")
    else:
        zero, one = scope.array(0, "int64"), scope.array(1, "int64")
        room = scope.emit("Sub", scope.emit("Squeeze", dimension(scope, x, axis)), scope.array(size - 1, "int64"))
        starts = scope.emit("Range", zero, room, scope.array(stride, "int64"))
        starts = scope.emit("Unsqueeze", starts, scope.emit("Unsqueeze", one, zero))
    indices = scope.emit("Add", starts, scope.array(np.arange(size), "int64"))
    scope.bind(op, scope.emit("Gather", x, indices, axis=axis))


@lowers("reverse_sequence")
def reverse_sequence(scope: Scope, op: Op) -> None:
    """ONNX wants the sequence and the batch in the first two dimensions."""
    rank = scope.type(op, "x").rank
    time, batch = (axis_input(scope, op, key, rank, 0) for key in ("seq_axis", "batch_axis"))
    if time == batch:
        raise unsupported(scope, op, "the same dimension as sequence and batch")
    order = [time, batch, *(axis for axis in range(rank) if axis not in (time, batch))]
    front = scope.emit("Transpose", scope.input(op, "x"), perm=order)
    lengths = int64_input(scope, op, "lengths")
    turned = scope.emit("ReverseSequence", front, lengths, time_axis=0, batch_axis=1)
    scope.bind(op, scope.emit("Transpose", turned, perm=np.argsort(order).tolist()))
