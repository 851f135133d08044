"""Matrix products, attention and normalisations against NumPy."""

from __future__ import annotations

import numpy as np
import pytest

from .harness import Case, Const, case, check, floats

X, W, B = floats(2, 3, 4, seed=1), floats(5, 4, seed=2), floats(5, seed=3)
IMAGE = floats(2, 4, 3, 5, seed=4)
VOLUME = floats(2, 4, 3, 2, 2, seed=15)
GAMMA, BETA = floats(4, seed=5), floats(4, seed=6)
INT = np.random.default_rng(0).integers(-5, 6, (2, 3, 4)).astype(np.int32)
swap = (0, 2, 1)
IOS17 = {"opset": "CoreML7"}

PRODUCTS = [
    case("linear", "linear", X @ W.T + B, x=X, weight=Const(W), bias=Const(B)),
    case("linear-no-bias", "linear", X @ W.T, x=X, weight=Const(W)),
    case("linear-rank-1", "linear", X[0, 0] @ W.T + B, x=X[0, 0], weight=Const(W), bias=Const(B)),
    case("linear-rank-2", "linear", X[0] @ W.T + B, x=X[0], weight=Const(W), bias=Const(B)),
    case("linear-weight-at-run-time", "linear", X @ W.T + B, x=X, weight=W, bias=Const(B)),
    case("linear-int32", "linear", INT @ INT[0].T, x=INT, weight=Const(INT[0])),
    case("linear-int32-weight", "linear", (X @ INT[0].T).astype("f"), like=IOS17, x=X, weight=Const(INT[0])),
    case("matmul", "matmul", X @ W.T, x=X, y=np.ascontiguousarray(W.T)),
    case("matmul-transpose-y", "matmul", X @ W.T, x=X, y=W, transpose_y=Const(True), transpose_x=Const(False)),
    case("matmul-transpose-x", "matmul", X.transpose(swap) @ X, x=X, y=X, transpose_x=Const(True)),
    case("matmul-both", "matmul", X.transpose(swap) @ floats(2, 5, 3).transpose(swap), x=X, y=floats(2, 5, 3),
         transpose_x=Const(True), transpose_y=Const(True)),
    case("matmul-broadcast", "matmul", floats(2, 1, 3, 4) @ floats(5, 4, 2), x=floats(2, 1, 3, 4), y=floats(5, 4, 2)),
    case("matmul-vector-x", "matmul", W[0] @ floats(2, 4, 3), x=W[0], y=floats(2, 4, 3)),
    case("matmul-vector-y", "matmul", X @ W[0], x=X, y=W[0], transpose_y=Const(True)),
    case("matmul-transposed-by-vector", "matmul", X.transpose(swap) @ X[0, :, 0], x=X, y=X[0, :, 0],
         transpose_x=Const(True)),
    case("matmul-vector-by-transposed", "matmul", W[0] @ X.transpose(swap), x=W[0], y=X, transpose_y=Const(True)),
    case("matmul-vectors", "matmul", np.asarray(W[0] @ W[1]), x=W[0], y=W[1]),
    case("matmul-int32", "matmul", INT @ INT.transpose(swap), x=INT, y=INT, transpose_y=Const(True)),
    case("matmul-int32-constant", "matmul", (X @ INT[0].T).astype("f"), like=IOS17, x=X, y=Const(INT[0]),
         transpose_y=Const(True)),
    case("einsum-rank-4", "einsum", np.einsum("nchw,nwhu->nchu", floats(2, 3, 4, 5), floats(2, 5, 4, 6)),
         values=[floats(2, 3, 4, 5), floats(2, 5, 4, 6)], equation=Const("nchw,nwhu->nchu")),
    case("einsum-rank-3", "einsum", np.einsum("chw,whr->chr", floats(3, 4, 5), floats(5, 4, 6)),
         values=[floats(3, 4, 5), floats(5, 4, 6)], equation=Const("chw,whr->chr")),
    case("einsum-broadcast", "einsum",
         np.einsum("nchw,nwhu->nchu", floats(2, 3, 4, 5), np.broadcast_to(floats(1, 5, 1, 6), (2, 5, 4, 6))),
         values=[floats(2, 3, 4, 5), floats(1, 5, 1, 6)], equation=Const("nchw,nwhu->nchu")),
]  # fmt: skip


def attend(q, k, v, mask=None):
    scores = q @ np.swapaxes(k, -1, -2) / np.sqrt(q.shape[-1])
    if mask is not None:
        scores = np.where(mask, scores, -np.inf) if mask.dtype == bool else scores + mask
    e = np.exp(scores - scores.max(-1, keepdims=True))
    return (e / e.sum(-1, keepdims=True) @ v).astype(np.float32)


Q, K, V = floats(1, 2, 3, 8, seed=7), floats(1, 2, 6, 8, seed=8), floats(1, 2, 6, 5, seed=9)
CAUSAL = np.tril(np.ones((3, 6), bool), 3)
ADDITIVE = np.where(CAUSAL, 0, -1e4).astype(np.float32)
ATTENTION = [
    case("attention", "scaled_dot_product_attention", attend(Q, K, V), query=Q, key=K, value=V),
    case("attention-rank-3", "scaled_dot_product_attention", attend(Q[0], K[0], V[0]),
         query=Q[0], key=K[0], value=V[0]),
    case("attention-bool-mask", "scaled_dot_product_attention", attend(Q, K, V, CAUSAL),
         query=Q, key=K, value=V, attn_mask=CAUSAL),
    case("attention-float-mask", "scaled_dot_product_attention", attend(Q, K, V, ADDITIVE),
         query=Q, key=K, value=V, attn_mask=ADDITIVE),
    case("attention-constant-mask", "scaled_dot_product_attention", attend(Q, K, V, ADDITIVE[None, None]),
         query=Q, key=K, value=V, attn_mask=Const(ADDITIVE[None, None])),
]  # fmt: skip


def standard(x, axes, epsilon=1e-5):
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + epsilon)


def channels(v, rank=4):
    return v.reshape(-1, *[1] * (rank - 2))


def local_response(x, size, alpha, beta, k):
    squares = np.pad(x**2, ((0, 0), (size // 2, (size - 1) // 2), *((0, 0),) * (x.ndim - 2)))
    sums = sum(squares[:, i : i + x.shape[1]] for i in range(size))
    return x / (k + alpha / size * sums) ** beta


MEAN, VARIANCE = floats(4, seed=10), floats(4, seed=11, low=0.2, high=2)
NORMED = (IMAGE - channels(MEAN)) / np.sqrt(channels(VARIANCE) + 1e-5)
statistics = {"mean": Const(MEAN), "variance": Const(VARIANCE)}
affine = {"gamma": Const(GAMMA), "beta": Const(BETA)}
G5, B5 = floats(3, 5, seed=12), floats(3, 5, seed=13)
NORMALISATIONS = [
    case("batch_norm", "batch_norm", NORMED * channels(GAMMA) + channels(BETA), x=IMAGE, **statistics, **affine),
    case("batch_norm-plain", "batch_norm", NORMED, x=IMAGE, **statistics),
    case("batch_norm-epsilon", "batch_norm", (IMAGE - channels(MEAN)) / np.sqrt(channels(VARIANCE) + 0.5),
         x=IMAGE, epsilon=Const(0.5), **statistics),
    case("batch_norm-rank-3", "batch_norm", NORMED[:, :, 0], x=IMAGE[:, :, 0], **statistics),
    case("batch_norm-rank-5", "batch_norm", NORMED[..., None], x=IMAGE[..., None], **statistics),
    case("instance_norm", "instance_norm", standard(IMAGE, (2, 3)) * channels(GAMMA) + channels(BETA),
         x=IMAGE, **affine),
    case("instance_norm-plain", "instance_norm", standard(IMAGE, (2, 3), 0.1), x=IMAGE, epsilon=Const(0.1)),
    case("instance_norm-rank-3", "instance_norm", standard(X, (2,)) * GAMMA[:3, None], x=X, gamma=Const(GAMMA[:3])),
    case("layer_norm-last", "layer_norm", standard(X, (-1,)) * GAMMA + BETA, x=X, axes=Const([-1]), **affine),
    case("layer_norm-plain", "layer_norm", standard(X, (2,)), x=X, axes=Const([2])),
    case("layer_norm-gamma-only", "layer_norm", standard(X, (2,)) * GAMMA, x=X, axes=Const([2]), gamma=Const(GAMMA)),
    case("layer_norm-beta-only", "layer_norm", standard(X, (2,)) + BETA, x=X, axes=Const([2]), beta=Const(BETA)),
    case("layer_norm-epsilon", "layer_norm", standard(X, (2,), 0.3), x=X, axes=Const([2]), epsilon=Const(0.3)),
    case("layer_norm-two", "layer_norm", standard(IMAGE, (2, 3)) * G5 + B5, x=IMAGE, axes=Const([2, 3]),
         gamma=Const(G5), beta=Const(B5)),
    case("layer_norm-all", "layer_norm", standard(X, (0, 1, 2)), x=X),
    case("layer_norm-channels", "layer_norm", standard(IMAGE, (1,)) * channels(GAMMA) + channels(BETA),
         x=IMAGE, axes=Const([1]), **affine),
    case("layer_norm-unlike", "layer_norm", standard(IMAGE, (1, 3)) * floats(4, 1, 5) + floats(4, 1, 5, seed=1),
         x=IMAGE, axes=Const([1, 3]), gamma=Const(floats(4, 5)), beta=Const(floats(4, 5, seed=1))),
    case("layer_norm-far-from-zero", "layer_norm", standard(X.astype("d") + 300, (2,)).astype("f"), x=X + 300,
         axes=Const([2]), like={"rtol": 1e-3, "atol": 1e-4}),
    case("l2_norm", "l2_norm", X / np.sqrt((X**2).sum() + 1e-6), x=X),
    case("l2_norm-batch", "l2_norm", IMAGE / np.sqrt((IMAGE**2).sum((1, 2, 3), keepdims=True) + 0.5),
         x=IMAGE, epsilon=Const(0.5)),
    *(case(f"local_response_norm-{size}", "local_response_norm", local_response(IMAGE, size, 0.3, 0.6, 2),
           x=IMAGE, size=Const(size), alpha=Const(0.3), beta=Const(0.6), k=Const(2.0)) for size in (1, 2, 3, 5)),
    case("local_response_norm-rank-5", "local_response_norm", local_response(VOLUME, 3, 1e-4, 0.75, 1), x=VOLUME,
         size=Const(3)),
    case("local_response_norm-defaults", "local_response_norm", local_response(X, 3, 1e-4, 0.75, 1),
         x=X, size=Const(3)),
]  # fmt: skip

CASES = PRODUCTS + ATTENTION + NORMALISATIONS


@pytest.mark.parametrize("example", CASES, ids=lambda c: c.id)
def test_fixed(example: Case) -> None:
    check(example)


@pytest.mark.parametrize("example", CASES, ids=lambda c: c.id)
def test_flexible(example: Case) -> None:
    check(example, flexible=True)
