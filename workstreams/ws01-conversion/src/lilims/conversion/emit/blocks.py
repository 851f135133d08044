"""The parts of a decoder as MIL ops: norm, rotary, attention over the state, MLP.

Knows MIL ops and the contract of the state. Must not know which functions there are or how weights are stored.
The residual stream is [1, S, D], or in the layout of convolutions [1, D, 1, S]: a linear is then a 1×1 convolution, the
form that the Neural Engine is said to like best (machinelearning.apple.com/research/neural-engine-transformers). What a
block does follows from the rank of what it is given. Q, K and V of single heads are the same in both.
Shapes: S tokens, D hidden, H heads, G = H / KV query heads a KV head, E head_dim, R rows of the state.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from coremltools.converters.mil import Builder as mb

from ..spec import Activation, Attention, Experts, Layer, Mlp, Norm
from .bank import Bank

__all__ = [
    "StepInputs",
    "attention",
    "conv",
    "decoder_layer",
    "from_conv",
    "is_conv",
    "linear",
    "mlp",
    "norm",
    "scaled",
    "softcap",
    "to_conv",
]

_NORM_FLOOR = np.float16(1e-4)  # the least max|x| that RMSNorm divides by


@dataclass
class StepInputs:
    """Values that all layers of a function share. `cache` is the newest content of the state.

    The state is read once, at the top of the function; every write hands on what `coreml_update_state` returns, because
    coremltools merges two reads of one state and the second would then see stale data.
    """

    tokens: int
    rows: int  # of the state that the queries see: its first ones
    first_layer: int  # whose K is the state's first row
    state: Any
    cache: Any
    slot: Any
    slot_end: Any
    masks: dict[bool, Any]  # is the layer local? -> additive mask [1, 1, S, rows]
    rotary: dict[str, tuple[Any, Any]]  # "global" and "local" -> cos and sin, [1, 1, S, rotary_dim]
    state_dim: int  # head_dim of the state, E padded to a multiple of 32
    fused: bool  # scaled_dot_product_attention, else matmul, softmax, matmul


def is_conv(x: Any) -> bool:
    """Whether a residual stream (or a projection) is in the layout of convolutions."""
    return len(x.shape) == 4


def to_conv(x: Any) -> Any:
    """[1, S, D] → [1, D, 1, S]."""
    return mb.expand_dims(x=mb.transpose(x=x, perm=[0, 2, 1]), axes=[2])


def from_conv(x: Any) -> Any:
    """[1, D, 1, S] → [1, S, D]."""
    return mb.transpose(x=mb.squeeze(x=x, axes=[2]), perm=[0, 2, 1])


def norm(x: Any, spec: Norm | None, bank: Bank, role: str, *, over_heads: bool = False) -> Any:
    """LayerNorm, an RMSNorm that cannot overflow in fp16, or x itself; over D, or over E of x [1, heads, S, E].

    RMSNorm: x / sqrt(mean(x²) + eps) with y = x / m, m = max|x|, equals y / sqrt(mean(y²) + eps / m²). All of y lies in
    [-1, 1], so no square overflows, and eps / m² is computed as (sqrt(eps) / m)², since an eps of 1e-6 is subnormal.
    """
    if spec is None:
        return x
    conv = is_conv(x) and not over_heads
    axis = 1 if conv else -1
    if spec.kind == "layer":
        gamma = bank.use(f"{role}.weight")
        beta = bank.use(f"{role}.bias") if spec.bias else bank.zeros(gamma.shape[0])
        return mb.layer_norm(x=x, axes=[axis], gamma=gamma, beta=beta, epsilon=np.float16(spec.eps))
    peak = mb.maximum(x=mb.reduce_max(x=mb.abs(x=x), axes=[axis], keep_dims=True), y=_NORM_FLOOR)
    y = mb.real_div(x=x, y=peak)
    root = mb.real_div(x=np.float16(np.sqrt(spec.eps)), y=peak)
    mean = mb.reduce_mean(x=mb.mul(x=y, y=y), axes=[axis], keep_dims=True)
    inverse = mb.rsqrt(x=mb.add(x=mean, y=mb.mul(x=root, y=root)), epsilon=np.float16(0))
    return mb.mul(x=mb.mul(x=y, y=inverse), y=bank.use(f"{role}.weight", trailing=2 if conv else 0))


def linear(x: Any, bank: Bank, role: str) -> Any:
    """x [1, S, in] → [1, S, out], or [1, in, 1, S] → [1, out, 1, S]."""
    weight, bias = f"{role}.weight", f"{role}.bias"
    return conv(x, bank, weight, bias) if is_conv(x) else bank.linear(x, weight, bias)


def conv(x: Any, bank: Bank, weight: str, bias: str) -> Any:
    """A linear as a 1×1 convolution, [1, in, 1, S] → [1, out, 1, S]."""
    given = {"bias": bank.use(bias)} if bank.has(bias) else {}
    return mb.conv(x=x, weight=bank.use(weight, trailing=2), pad_type="valid", **given)


def _heads(x: Any, heads: int, dim: int, tokens: int) -> Any:
    """[1, S, heads · E], or [1, heads · E, 1, S], → [1, heads, S, E]."""
    if is_conv(x):
        return mb.transpose(x=mb.reshape(x=x, shape=[1, heads, dim, tokens]), perm=[0, 1, 3, 2])
    return mb.transpose(x=mb.reshape(x=x, shape=[1, tokens, heads, dim]), perm=[0, 2, 1, 3])


def _rotate(x: Any, cos: Any, sin: Any) -> Any:
    """Rotary embedding on the first rotary_dim of E, in the halves layout: x·cos + (−x₂, x₁)·sin."""
    dim, rotated = x.shape[-1], cos.shape[-1]
    parts = mb.split(x=x, split_sizes=[rotated, dim - rotated], axis=-1) if rotated < dim else (x,)
    first, second = mb.split(x=parts[0], num_splits=2, axis=-1)
    turned = mb.concat(values=[mb.mul(x=second, y=np.float16(-1)), first], axis=-1)
    result = mb.add(x=mb.mul(x=parts[0], y=cos), y=mb.mul(x=turned, y=sin))
    return mb.concat(values=[result, *parts[1:]], axis=-1) if rotated < dim else result


def _widen(x: Any, dim: int) -> Any:
    """Zeros behind the head dimension, up to the state's."""
    missing = dim - x.shape[-1]
    if missing == 0:
        return x
    return mb.pad(x=x, pad=[0, 0, 0, 0, 0, 0, 0, missing], mode="constant", constant_val=np.float16(0))


def _write(step: StepInputs, index: int, rows: Any) -> None:
    """Writes K or V [1, KV, S, E] at `slot` of the state's index-th layer."""
    heads, dim = rows.shape[1], step.state_dim
    begin = mb.concat(values=[np.array([index, 0], np.int32), step.slot, np.zeros(1, np.int32)], axis=0)
    end = mb.concat(values=[np.array([index + 1, heads], np.int32), step.slot_end, np.array([dim], np.int32)], axis=0)
    written = mb.slice_update(x=step.cache, update=rows, begin=begin, end=end)
    step.cache = mb.coreml_update_state(state=step.state, value=written)


def _read(step: StepInputs, index: int) -> Any:
    """What the queries see of the state's index-th layer, [1, KV, rows, E]."""
    heads = step.cache.shape[1]
    return mb.slice_by_index(x=step.cache, begin=[index, 0, 0, 0], end=[index + 1, heads, step.rows, step.state_dim])


def attention(x: Any, spec: Attention, bank: Bank, role: str, layer: int, step: StepInputs) -> Any:
    """Self-attention of S tokens over the state's rows: writes their K and V, then attends to all rows by the mask.

    Q is reshaped to [1, KV, G · S, E] instead of repeating K and V for each of the G query heads.
    """
    tokens, dim, groups = step.tokens, spec.head_dim, spec.heads // spec.kv_heads
    query = _project(x, spec, bank, f"{role}.q", spec.heads, tokens)
    key = _project(x, spec, bank, f"{role}.k", spec.kv_heads, tokens)
    value = _heads(linear(x, bank, f"{role}.v"), spec.kv_heads, dim, tokens)
    if spec.rotary:
        query, key = _rotate(query, *step.rotary[spec.rotary]), _rotate(key, *step.rotary[spec.rotary])
    _write(step, 2 * layer, _widen(key, step.state_dim))
    _write(step, 2 * layer + 1, _widen(value, step.state_dim))
    query = mb.reshape(x=_widen(query, step.state_dim), shape=[1, spec.kv_heads, groups * tokens, step.state_dim])
    mixed = _attend(query, _read(step, 2 * layer), _read(step, 2 * layer + 1), spec, step)
    mixed = mb.reshape(x=mixed, shape=[1, spec.heads, tokens, step.state_dim])
    if step.state_dim != dim:
        mixed = mb.slice_by_index(x=mixed, begin=[0, 0, 0, 0], end=[1, spec.heads, tokens, dim])
    if is_conv(x):
        mixed = mb.reshape(x=mb.transpose(x=mixed, perm=[0, 1, 3, 2]), shape=[1, spec.heads * dim, 1, tokens])
    else:
        mixed = mb.reshape(x=mb.transpose(x=mixed, perm=[0, 2, 1, 3]), shape=[1, tokens, spec.heads * dim])
    return linear(mixed, bank, f"{role}.o")


def _project(x: Any, spec: Attention, bank: Bank, role: str, heads: int, tokens: int) -> Any:
    """Q or K, [1, heads, S, E], normed where the model norms them."""
    flat = linear(x, bank, role)
    if spec.qk_norm_over == "projection":
        return _heads(norm(flat, spec.qk_norm, bank, f"{role}_norm"), heads, spec.head_dim, tokens)
    x = _heads(flat, heads, spec.head_dim, tokens)
    if spec.qk_norm is not None and spec.qk_norm_over == "each head":
        return _norm_each_head(x, spec.qk_norm, bank, f"{role}_norm")
    return norm(x, spec.qk_norm, bank, f"{role}_norm", over_heads=True)


def _norm_each_head(x: Any, spec: Norm, bank: Bank, role: str) -> Any:
    """A LayerNorm without bias over E of x [1, heads, S, E], each head with weights of its own."""
    assert spec.kind == "layer" and not spec.bias
    heads, dim = x.shape[1], x.shape[-1]
    gamma = mb.concat(values=[bank.use(f"{role}.{head}.weight") for head in range(heads)], axis=0)
    ones = mb.const(val=np.ones(dim, np.float16))
    normed = mb.layer_norm(x=x, axes=[-1], gamma=ones, beta=bank.zeros(dim), epsilon=np.float16(spec.eps))
    return mb.mul(x=normed, y=mb.reshape(x=gamma, shape=[heads, 1, dim]))


def softcap(x: Any, cap: float | None) -> Any:
    """c · tanh(x / c), or x itself."""
    if cap is None:
        return x
    return mb.mul(x=mb.tanh(x=mb.mul(x=x, y=np.float16(1 / cap))), y=np.float16(cap))


def _attend(query: Any, keys: Any, values: Any, spec: Attention, step: StepInputs) -> Any:
    """softmax(cap(Q·Kᵀ · scale) + mask) · V for Q [1, KV, G·S, E]; the op itself scales by 1/sqrt(E of the state).

    The op has no place for a soft-cap: a layer with one is always decomposed.
    """
    mask = step.masks[spec.window is not None]
    fused = step.fused and spec.softcap is None
    query = scaled(query, spec.scale * (step.state_dim**0.5 if fused else 1.0))
    if fused:
        return mb.scaled_dot_product_attention(query=query, key=keys, value=values, attn_mask=mask)
    scores = softcap(mb.matmul(x=query, y=keys, transpose_y=True), spec.softcap)
    return mb.matmul(x=mb.softmax(x=mb.add(x=scores, y=mask), axis=-1), y=values)


def scaled(x: Any, factor: float) -> Any:
    """x · factor, and x itself where the factor is 1."""
    return x if abs(factor - 1) < 1e-9 else mb.mul(x=x, y=np.float16(factor))


_ACTIVATIONS: dict[Activation, Any] = {
    "silu": lambda x: mb.silu(x=x),
    "gelu": lambda x: mb.gelu(x=x, mode="EXACT"),
    "gelu_tanh": lambda x: mb.gelu(x=x, mode="TANH_APPROXIMATION"),
    "relu": lambda x: mb.relu(x=x),
}


def mlp(x: Any, spec: Mlp | Experts, bank: Bank, role: str) -> Any:
    """down(act(gate(x)) · up(x)), down(act(up(x))), or a mixture of the former."""
    if isinstance(spec, Experts):
        return _experts(x, spec, bank, role)
    activate = _ACTIVATIONS[spec.activation]
    up = linear(x, bank, f"{role}.up")
    wide = activate(up) if spec.kind == "plain" else mb.mul(x=activate(linear(x, bank, f"{role}.gate")), y=up)
    return linear(wide, bank, f"{role}.down")


def _experts(x: Any, spec: Experts, bank: Bank, role: str) -> Any:
    """Every expert on every token, weighted by the router's share, which is 0 but for the `active` largest ones.

    ML Programs cannot choose weights at run time without copying them, so this reads all experts for each token. The
    choice is by index: comparing with the least of the largest would take more than `active` where some are equal.
    """
    logits = linear(x, bank, f"{role}.router")  # [1, S, experts]
    _, chosen = mb.topk(x=logits, k=spec.active, axis=-1)
    on, off = np.float16(1), np.float16(0)
    marks = mb.one_hot(indices=chosen, one_hot_vector_size=spec.count, axis=-1, on_value=on, off_value=off)
    shares = mb.mul(x=mb.softmax(x=logits, axis=-1), y=mb.reduce_sum(x=marks, axes=[2], keep_dims=False))
    if spec.normalized:
        shares = mb.real_div(x=shares, y=mb.reduce_sum(x=shares, axes=[-1], keep_dims=True))
    dense = Mlp("gated", spec.width, spec.activation)
    weights = mb.split(x=shares, num_splits=spec.count, axis=-1) if spec.count > 1 else [shares]
    parts = [mb.mul(x=mlp(x, dense, bank, f"{role}.experts.{e}"), y=w) for e, w in enumerate(weights)]
    total = parts[0]
    for part in parts[1:]:
        total = mb.add(x=total, y=part)
    return total


def decoder_layer(x: Any, spec: Layer, bank: Bank, index: int, step: StepInputs) -> Any:
    """One layer: norms before and behind the blocks, serial or parallel, as `Layer` says."""
    role = f"layers.{index}"
    normed = norm(x, spec.attention_norm, bank, f"{role}.attention_norm")
    mixed = attention(normed, spec.attention, bank, f"{role}.attention", index - step.first_layer, step)
    mixed = norm(mixed, spec.attention_output_norm, bank, f"{role}.attention_output_norm")
    if not spec.parallel:
        x = mb.add(x=x, y=scaled(mixed, spec.residual_scale))
        normed = norm(x, spec.mlp_norm, bank, f"{role}.mlp_norm")
    elif spec.mlp_norm is not None:
        normed = norm(x, spec.mlp_norm, bank, f"{role}.mlp_norm")
    wide = norm(mlp(normed, spec.mlp, bank, f"{role}.mlp"), spec.mlp_output_norm, bank, f"{role}.mlp_output_norm")
    x = mb.add(x=x, y=mixed) if spec.parallel else x
    return mb.add(x=x, y=scaled(wide, spec.residual_scale))
