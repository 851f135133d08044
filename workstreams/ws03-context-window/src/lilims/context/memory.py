"""How many bytes a state takes.

Knows the state's layout. Must not know weights, executors or the machine.
"""

from __future__ import annotations

from .chunks import ROW_MULTIPLE

__all__ = ["kv_state_bytes", "padded_head_dim"]


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
