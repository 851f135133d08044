"""Where the tensors of a role lie in a GGUF file.

Knows ggml's names, which are the same for all families, and which families turn neighbouring rows (`permute` in
llama.cpp's converter). Must not know hyperparameters or bytes. An architecture's own table is replaced by this one.
Source: `MODEL_TENSORS` of the package `gguf` (its `tensor_mapping.py` maps Hugging Face names to the same).
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import replace

from ..architectures import Architecture
from ..spec import TensorSource

__all__ = ["EXPERTS", "ROTARY_TENSORS", "gguf_architecture"]

ROTARY_TENSORS = ("rope_freqs.weight", "rope_factors_long.weight", "rope_factors_short.weight")
EXPERTS = ("ffn_gate_exps", "ffn_up_exps", "ffn_down_exps")  # [experts, rows, columns]

_STEMS = {
    "embedding": "token_embd",
    "positions": "position_embd",
    "attention_norm": "blk.{layer}.attn_norm",
    "attention.q": "blk.{layer}.attn_q",
    "attention.k": "blk.{layer}.attn_k",
    "attention.v": "blk.{layer}.attn_v",
    "attention.o": "blk.{layer}.attn_output",
    "attention.q_norm": "blk.{layer}.attn_q_norm",
    "attention.k_norm": "blk.{layer}.attn_k_norm",
    "attention_output_norm": "blk.{layer}.post_attention_norm",
    "mlp_norm": "blk.{layer}.ffn_norm",
    "mlp.gate": "blk.{layer}.ffn_gate",
    "mlp.up": "blk.{layer}.ffn_up",
    "mlp.down": "blk.{layer}.ffn_down",
    "mlp_output_norm": "blk.{layer}.post_ffw_norm",
    "mlp.router": "blk.{layer}.ffn_gate_inp",
    "mlp.experts.gate": "blk.{layer}.ffn_gate_exps.{expert}",
    "mlp.experts.up": "blk.{layer}.ffn_up_exps.{expert}",
    "mlp.experts.down": "blk.{layer}.ffn_down_exps.{expert}",
    "final_norm": "output_norm",
    "head": "output",
}
_QKV = ("attention.q", "attention.k", "attention.v")
_ALONE = {"embedding", "positions", "head"}  # roles that are their weight's name


def gguf_architecture(
    architecture: Architecture, names: Container[str], *, interleaved: bool, gate_in_up: bool
) -> Architecture:
    """The architecture with its tensors under ggml's names.

    Args:
        architecture: the family's own.
        names: tensors of the file; Q, K and V are one there or three.
        interleaved: the rotary pairs of Q and K are neighbours.
        gate_in_up: gate and up are one tensor.
    """
    fused = {role: TensorSource("blk.{layer}.attn_qkv", stack=("q", "k", "v")) for role in _QKV}
    fused = fused if "blk.0.attn_qkv.weight" in names else {}
    if gate_in_up:
        fused |= {role: TensorSource("blk.{layer}.ffn_up", stack=("gate", "up")) for role in ("mlp.gate", "mlp.up")}
    tensors: dict[str, str | TensorSource] = {}
    for role, stem in _STEMS.items():
        source = replace(fused.get(role, TensorSource(stem)), interleaved=interleaved and role in _QKV[:2])
        for part in ("weight", "bias"):
            key = role if role in _ALONE and part == "weight" else f"{role}.{part}"
            tensors[key] = replace(source, name=f"{source.name}.{part}")
    return replace(architecture, tensors=tensors, prefixes=("",))
