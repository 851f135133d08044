"""A small model in GGUF, made with the package gguf: keys, a vocabulary, and matrices of every type that has codes.

Knows the names of keys and tensors. Must not know the reader.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["write_gguf"]

_WIDTH = 256  # whole blocks of any type


def write_gguf(path: Path) -> None:
    """A Llama of one layer whose matrices are of different types; scales are small, codes are random."""
    from gguf import GGMLQuantizationType as Type
    from gguf import GGUFWriter

    writer: Any = GGUFWriter(path, "llama")
    numbers = {"block_count": 1, "context_length": 64, "embedding_length": _WIDTH, "feed_forward_length": _WIDTH}
    numbers |= {"head_count": 4, "head_count_kv": 2, "rope_dimension_count": 64}
    for key, value in numbers.items():
        getattr(writer, f"add_{key}")(value)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    _vocabulary(writer)
    for norm in ("output_norm", "blk.0.attn_norm", "blk.0.ffn_norm"):
        writer.add_tensor(f"{norm}.weight", np.ones(_WIDTH, np.float32))
    matrices = {
        "token_embd": (40, Type.Q4_0), "output": (40, Type.Q6_K), "blk.0.attn_q": (256, Type.Q4_K),
        "blk.0.attn_k": (128, Type.Q2_K), "blk.0.attn_v": (128, Type.MXFP4), "blk.0.attn_output": (256, Type.Q5_1),
        "blk.0.ffn_gate": (256, Type.IQ4_XS), "blk.0.ffn_up": (256, Type.Q3_K), "blk.0.ffn_down": (256, Type.Q8_0),
    }  # fmt: skip
    for name, (rows, kind) in matrices.items():
        writer.add_tensor(f"{name}.weight", _blocks(rows, kind), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _vocabulary(writer: Any) -> None:
    letters = [chr(code) for code in (*range(0x21, 0x40), *range(0x61, 0x67))]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(["<s>", "<|im_end|>", *letters, "ab"])
    writer.add_token_types([3, 3, *[1] * (len(letters) + 1)])
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_chat_template("{{ messages }}")


def _blocks(rows: int, kind: Any) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Random blocks, their scales below 2^-7."""
    from gguf import GGML_QUANT_SIZES

    block, size = GGML_QUANT_SIZES[kind]
    raw = np.random.default_rng(rows).integers(0, 256, (rows * _WIDTH // block, size), dtype=np.uint8)
    halves = {"Q6_K": (208,), "Q3_K": (108,), "Q2_K": (80, 82), "Q4_K": (0, 2), "Q5_1": (0, 2), "MXFP4": ()}
    if kind.name == "MXFP4":
        raw[:, 0] = 120
    for at in halves.get(kind.name, (0,)):
        raw[:, at + 1] &= 0x1C
    return raw.reshape(rows, -1)
