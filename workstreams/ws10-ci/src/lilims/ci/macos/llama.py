"""A Llama in NumPy, without a cache: what a package should compute, from the checkpoint and nothing of lilims.

Knows the architecture (transformers' `LlamaForCausalLM`: RMSNorm, rotary halves, grouped heads, SwiGLU) and the form of
a safetensors file. Must not know MIL, packages or executors. Weights are rounded to fp16, as a package stores them; all
arithmetic is in float64.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["logits"]

Array = NDArray[np.float64]


def logits(checkpoint: Path, ids: Sequence[int]) -> Array:
    """Logits of every position, [n, vocab], of a folder with config.json and model.safetensors (F32)."""
    config = json.loads((checkpoint / "config.json").read_text("utf-8"))
    tensors = _tensors(checkpoint / "model.safetensors")
    x = tensors["model.embed_tokens.weight"][np.asarray(ids)]
    for layer in range(config["num_hidden_layers"]):
        own = {
            name.split(".", 3)[3]: value for name, value in tensors.items() if name.startswith(f"model.layers.{layer}.")
        }
        x = x + _attention(_norm(x, own["input_layernorm.weight"], config), own, config)
        h = _norm(x, own["post_attention_layernorm.weight"], config)
        gate = h @ own["mlp.gate_proj.weight"].T
        x = x + (gate / (1 + np.exp(-gate)) * (h @ own["mlp.up_proj.weight"].T)) @ own["mlp.down_proj.weight"].T
    head = "model.embed_tokens.weight" if config["tie_word_embeddings"] else "lm_head.weight"
    result: Array = _norm(x, tensors["model.norm.weight"], config) @ tensors[head].T
    return result


def _attention(x: Array, own: dict[str, Array], config: dict[str, Any]) -> Array:
    heads, groups, width = config["num_attention_heads"], config["num_key_value_heads"], config["head_dim"]
    count = len(x)
    q = _rotated((x @ own["self_attn.q_proj.weight"].T).reshape(count, heads, width), config)
    k = _rotated((x @ own["self_attn.k_proj.weight"].T).reshape(count, groups, width), config)
    v = (x @ own["self_attn.v_proj.weight"].T).reshape(count, groups, width)
    k, v = np.repeat(k, heads // groups, axis=1), np.repeat(v, heads // groups, axis=1)
    scores = np.einsum("ihd,jhd->hij", q, k) / np.sqrt(width)
    scores = np.where(np.tri(count, dtype=bool), scores, -np.inf)
    scores = np.exp(scores - scores.max(axis=-1, keepdims=True))
    mixed = np.einsum("hij,jhd->ihd", scores / scores.sum(axis=-1, keepdims=True), v)
    result: Array = mixed.reshape(count, heads * width) @ own["self_attn.o_proj.weight"].T
    return result


def _rotated(x: Array, config: dict[str, Any]) -> Array:
    """x [n, heads, width] turned by its position: the first half against the second."""
    half = x.shape[-1] // 2
    speed = config["rope_theta"] ** (-np.arange(half) / half)
    angle = (np.arange(len(x))[:, None] * speed)[:, None, :]
    a, b = x[..., :half], x[..., half:]
    return np.concatenate([a * np.cos(angle) - b * np.sin(angle), b * np.cos(angle) + a * np.sin(angle)], axis=-1)


def _norm(x: Array, weight: Array, config: dict[str, Any]) -> Array:
    scale: Array = x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + config["rms_norm_eps"]) * weight
    return scale


def _tensors(path: Path) -> dict[str, Array]:
    """Every tensor: 8 bytes of length, a JSON header, little-endian values."""
    raw = path.read_bytes()
    start = 8 + int.from_bytes(raw[:8], "little")
    found = {}
    for name, entry in json.loads(raw[8:start]).items():
        if name != "__metadata__":
            first, last = entry["data_offsets"]
            values = np.frombuffer(raw[start + first : start + last], "<f4").reshape(entry["shape"])
            found[name] = values.astype(np.float16).astype(np.float64)
    return found
