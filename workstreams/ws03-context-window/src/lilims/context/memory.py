"""How many bytes a decoder takes at a context length, before anything is loaded.

Knows sizes and the state's layout. Must not know executors, files or what the machine has.

    state     2 · layers · kv_heads · R · D · b       R = C + S rounded up to 32, D = head_dim rounded up to 32
    scratch   4 · (S · R · (heads + masks) + S · vocab + 8 · S · hidden)
    total     copies · weights + state + scratch

with S the largest chunk. The 2 of the state is for K and V. Scratch is what one call of S tokens has in float32 at its
largest: the scores of one layer's attention and the masks [S, R], logits of every row, and eight vectors of the hidden
size (the residual stream, its norm, queries, keys, values, and the halves of the feed-forward part in turn).
A prompt that is not padded may go in longer chunks where it sees fewer rows; their queries × rows stay within S · R.

b and `copies` depend on who runs the package (`DEVICE`, `PORTABLE`): a device keeps the state in fp16 and maps weights;
the portable executor keeps it in float32, and its kernels' packed weights beside the mapped file are 0.4 of it at most.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lilims.core.console import bytes_text
from lilims.core.errors import OutOfMemoryError

from .chunks import ROW_MULTIPLE, state_rows

if TYPE_CHECKING:
    from lilims.core.manifest import Manifest

__all__ = [
    "DEVICE",
    "PORTABLE",
    "DecoderSizes",
    "ExecutorMemory",
    "MemoryPlan",
    "check_memory",
    "kv_state_bytes",
    "longest_context",
    "padded_head_dim",
    "plan_memory",
]


@dataclass(frozen=True, slots=True)
class ExecutorMemory:
    """What an executor makes of a package.

    Attributes:
        state_bytes: b, bytes of one value of the state.
        weight_copies: how often the bytes of the weights are held.
    """

    state_bytes: int
    weight_copies: float


DEVICE = ExecutorMemory(2, 1.0)
"""Core ML on a device: the state in fp16, the weights once."""
PORTABLE = ExecutorMemory(4, 1.4)
"""The portable executor: the state in float32, weights packed again for its kernels."""


@dataclass(frozen=True, slots=True)
class DecoderSizes:
    """The sizes that memory depends on.

    Attributes:
        chunk: S, the most tokens of a call.
        masks: how many masks a call takes: 2 where layers differ in their window.
        weights: bytes of the weights that are loaded; an embedding that is read row by row is not among them.
        context: C of the package.
    """

    layers: int
    kv_heads: int
    heads: int
    head_dim: int
    hidden: int
    vocab: int
    chunk: int
    masks: int
    weights: int
    context: int

    @classmethod
    def of(cls, manifest: Manifest) -> DecoderSizes:
        """The sizes of a model folder."""
        sizes, chunk = manifest.architecture, max(f.tokens for f in manifest.functions.values())
        return cls(
            layers=sizes.layers,
            kv_heads=sizes.kv_heads,
            heads=sizes.heads,
            head_dim=sizes.head_dim,
            hidden=sizes.hidden_size,
            vocab=sizes.vocab_size,
            chunk=chunk,
            masks=1 if manifest.local_window is None else 2,
            weights=_weight_bytes({name: record.bytes for name, record in manifest.files.items()}),
            context=manifest.context,
        )


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Bytes by what they are for, at a context of `context` tokens."""

    context: int
    weights: int
    state: int
    scratch: int

    @property
    def total(self) -> int:
        """Bytes of weights, state and scratch together."""
        return self.weights + self.state + self.scratch


def _weight_bytes(files: Mapping[str, int]) -> int:
    return sum(size for name, size in files.items() if ".mlpackage/" in name and name.endswith("weight.bin"))


def padded_head_dim(head_dim: int) -> int:
    """`head_dim` rounded up to a multiple of 32, as it stands in the state."""
    return -(-head_dim // ROW_MULTIPLE) * ROW_MULTIPLE


def kv_state_bytes(*, layers: int, kv_heads: int, rows: int, head_dim: int, bytes_per_value: int = 2) -> int:
    """Bytes of the state `kv_cache`, [2 · layers, kv_heads, R, D] with D = head_dim rounded up to a multiple of 32.

        bytes = 2 · layers · kv_heads · R · D · bytes_per_value

    The 2 is for K and V; fp16 takes 2 bytes per value. Example: 22 layers, 4 KV heads, head_dim 64 and
    R = 8,192 + 64 rows take 2 · 22 · 4 · 8,256 · 64 · 2 = 185,991,168 bytes.
    """
    if min(layers, kv_heads, rows, head_dim, bytes_per_value) < 1:
        raise ValueError("every size of a state is at least 1")
    return 2 * layers * kv_heads * rows * padded_head_dim(head_dim) * bytes_per_value


def plan_memory(sizes: DecoderSizes, context: int | None = None, executor: ExecutorMemory = DEVICE) -> MemoryPlan:
    """What a decoder takes at a context length, by the formulas at the top of this file.

    Args:
        context: C; None is the package's own. Another one needs another package (`lilims retarget`).
    """
    length = sizes.context if context is None else context
    rows = state_rows(length, [sizes.chunk])
    state = kv_state_bytes(
        layers=sizes.layers,
        kv_heads=sizes.kv_heads,
        rows=rows,
        head_dim=sizes.head_dim,
        bytes_per_value=executor.state_bytes,
    )
    scratch = 4 * sizes.chunk * (rows * (sizes.heads + sizes.masks) + sizes.vocab + 8 * sizes.hidden)
    return MemoryPlan(length, round(executor.weight_copies * sizes.weights), state, scratch)


def longest_context(sizes: DecoderSizes, available: int, executor: ExecutorMemory = DEVICE) -> int | None:
    """The most tokens of context that `available` bytes allow; None where not even one fits. No bound but memory."""

    def fits(context: int) -> bool:
        return plan_memory(sizes, context, executor).total <= available

    if not fits(1):
        return None
    low, high = 1, 2
    while fits(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def check_memory(
    sizes: DecoderSizes, available: int, *, context: int | None = None, executor: ExecutorMemory = DEVICE
) -> MemoryPlan:
    """Refuses what cannot fit, before anything is loaded.

    Returns:
        the plan, where it fits.

    Raises:
        OutOfMemoryError: it does not. The hint names the context that would fit, or the bytes where none would.
    """
    plan = plan_memory(sizes, context, executor)
    if plan.total <= available:
        return plan
    parts = ", ".join(f"{name} {bytes_text(getattr(plan, name))}" for name in ("weights", "state", "scratch"))
    fitting = longest_context(sizes, available, executor)
    if fitting is None:
        least = plan_memory(sizes, 1, executor).total
        hint = f"even one token of context takes {bytes_text(least)}: close other programs, or take a smaller model"
    else:
        hint = f"a context of {fitting} fits: lilims retarget MODEL --context {fitting}"
    raise OutOfMemoryError(
        f"a context of {plan.context} takes {bytes_text(plan.total)} ({parts}); {bytes_text(available)} are available",
        hint=f"{hint}; LILIMS_MEMORY_MB sets another limit",
    )
