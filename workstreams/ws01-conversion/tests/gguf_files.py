"""GGUF files of Hugging Face checkpoints, as llama.cpp's `convert_hf_to_gguf.py` writes them, with gguf's own writer.

Names come from gguf's tensor map; what the converter does to rows is repeated here: Llama's family gets the rows of Q
and K turned, Gemma's norms get 1 added, GPT-2's matrices are transposed, GPT-NeoX's QKV is sorted, experts are stacked.
"""

from __future__ import annotations

import json
import math
import struct
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from gguf import (
    MODEL_ARCH,
    MODEL_ARCH_NAMES,
    GGMLQuantizationType,
    GGUFWriter,
    RopeScalingType,
    get_tensor_name_map,
    quants,
)

from lilims.context import RotaryParameters, inverse_frequencies
from lilims.conversion.architectures import Config, architecture_for
from lilims.conversion.sources.checkpoint import Checkpoint
from lilims.conversion.spec import DecoderSpec

ARCHITECTURES = {  # model_type -> gguf's
    "llama": "LLAMA", "mistral": "LLAMA", "mixtral": "LLAMA", "qwen2": "QWEN2", "qwen3": "QWEN3",
    "qwen3_moe": "QWEN3MOE", "gemma": "GEMMA", "gemma2": "GEMMA2", "gemma3_text": "GEMMA3", "phi": "PHI2",
    "phi3": "PHI3", "gpt2": "GPT2", "gpt_neox": "GPTNEOX", "stablelm": "STABLELM", "starcoder2": "STARCODER2",
    "cohere": "COMMAND_R",
    "granite": "GRANITE", "smollm3": "SMOLLM3", "olmo2": "OLMO2", "exaone": "EXAONE", "exaone4": "EXAONE4",
}  # fmt: skip
TURNED = ("llama", "mistral", "mixtral", "granite", "smollm3")
EXPERTS = {"w1": "gate", "w2": "down", "w3": "up", "gate_proj": "gate", "up_proj": "up", "down_proj": "down"}
SAME = {  # config key -> method of the writer that takes its value
    "embedding_multiplier": "add_embedding_scale", "residual_multiplier": "add_residual_scale",
    "attention_multiplier": "add_attention_scale", "logits_scaling": "add_logit_scale",
    "logit_scale": "add_logit_scale", "attn_logit_softcapping": "add_attn_logit_softcapping",
    "final_logit_softcapping": "add_final_logit_softcapping",
    "sliding_window": "add_sliding_window", "use_parallel_residual": "add_parallel_residual",
    "num_experts": "add_expert_count", "num_local_experts": "add_expert_count",
    "num_experts_per_tok": "add_expert_used_count", "moe_intermediate_size": "add_expert_feed_forward_length",
}  # fmt: skip

Pack = Callable[[str, np.ndarray], tuple[np.ndarray, GGMLQuantizationType | None]]


def packer(kind: str) -> Pack:
    """Matrices as a type of ggml's, vectors as F32. What is no multiple of the type's block is F16."""
    wanted = GGMLQuantizationType[kind]

    def pack(name: str, values: np.ndarray) -> tuple[np.ndarray, GGMLQuantizationType | None]:
        if values.ndim == 1 or name == "position_embd.weight" or "ffn_gate_inp" in name:
            return values.astype(np.float32), None
        block = quants.GGML_QUANT_SIZES[wanted][0]
        taken = wanted if values.shape[-1] % block == 0 else GGMLQuantizationType.F16
        packed = quants.quantize(np.ascontiguousarray(values, np.float32), taken)
        return packed, None if packed.dtype != np.uint8 else taken

    return pack


def write_gguf(
    folder: Path, path: Path, pack: Pack, *, extra: Callable[[GGUFWriter], None] | None = None, **options: Any
) -> None:
    """Writes the checkpoint of `folder` as GGUF; `options` are the writer's."""
    checkpoint = Checkpoint(folder)
    config = Config(checkpoint.config, folder)
    spec = architecture_for(checkpoint.config, folder).spec(config)
    kind = MODEL_ARCH[ARCHITECTURES[spec.model_type]]
    writer = GGUFWriter(path, MODEL_ARCH_NAMES[kind], **options)
    _hyperparameters(writer, spec, checkpoint.config)
    if extra is not None:
        extra(writer)
    names = get_tensor_name_map(kind, len(spec.layers))
    stacks: dict[str, list[np.ndarray]] = {}
    for theirs in sorted(checkpoint.names, key=lambda name: [int(p) if p.isdigit() else -1 for p in name.split(".")]):
        values = _converted(theirs, checkpoint.tensor(theirs), spec)
        if ".experts." in theirs:
            layer, part = theirs.split(".")[2], EXPERTS[theirs.split(".")[-2]]
            stacks.setdefault(f"blk.{layer}.ffn_{part}_exps.weight", []).append(values)
            continue
        ours = names.get_name(theirs, try_suffixes=(".weight", ".bias"))
        assert ours is not None, theirs
        _add(writer, ours, values, pack)
    for ours, stack in stacks.items():
        _add(writer, ours, np.stack(stack), pack)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add(writer: GGUFWriter, name: str, values: np.ndarray, pack: Pack) -> None:
    packed, kind = pack(name, values)
    writer.add_tensor(name, packed, raw_dtype=kind)


def _converted(name: str, values: np.ndarray, spec: DecoderSpec) -> np.ndarray:
    family, attention = spec.model_type, spec.layers[0].attention
    if family in TURNED and ("q_proj" in name or "k_proj" in name):
        heads = attention.heads if "q_proj" in name else attention.kv_heads
        return values.reshape(heads, 2, -1, *values.shape[1:]).swapaxes(1, 2).reshape(values.shape)
    if family.startswith("gemma") and name.endswith("norm.weight"):
        return values + 1
    if family == "gpt2" and name.endswith(("c_attn.weight", "c_fc.weight", "c_proj.weight")):
        return values.T
    if "query_key_value" in name:
        by_head = values.reshape(attention.heads, 3, -1, *values.shape[1:])
        return by_head.swapaxes(0, 1).reshape(values.shape)
    return values


def _hyperparameters(writer: GGUFWriter, spec: DecoderSpec, config: Mapping[str, Any]) -> None:
    layer = spec.layers[0]
    writer.add_vocab_size(spec.vocab_size)
    writer.add_block_count(len(spec.layers))
    writer.add_context_length(spec.max_positions)
    writer.add_embedding_length(spec.hidden_size)
    writer.add_feed_forward_length(layer.mlp.width)
    writer.add_head_count(layer.attention.heads)
    writer.add_head_count_kv(layer.attention.kv_heads)
    (writer.add_layer_norm_rms_eps if spec.final_norm.kind == "rms" else writer.add_layer_norm_eps)(spec.final_norm.eps)
    for key, method in SAME.items():
        if config.get(key) is not None:
            getattr(writer, method)(config[key])
    if spec.model_type == "cohere" and "logit_scale" not in config:
        writer.add_logit_scale(spec.logit_scale)
    if any(x.attention.window for x in spec.layers) and spec.window is None and spec.model_type != "gemma2":
        writer.add_sliding_window_pattern([bool(x.attention.window) for x in spec.layers])
    if spec.rotary:
        _rotary(writer, RotaryParameters.from_dict(spec.rotary), spec)


def _rotary(writer: GGUFWriter, rotary: RotaryParameters, spec: DecoderSpec) -> None:
    writer.add_key_length(spec.head_dim)
    writer.add_value_length(spec.head_dim)
    writer.add_rope_dimension_count(rotary.rotary_dim)
    writer.add_rope_freq_base(rotary.theta)
    if spec.local_rotary:
        writer.add_rope_freq_base_swa(spec.local_rotary["theta"])
    if rotary.kind == "llama3":
        base = rotary.theta ** -(np.arange(0, rotary.rotary_dim, 2) / rotary.rotary_dim)
        writer.add_tensor("rope_freqs.weight", (base / inverse_frequencies(rotary)).astype(np.float32))
    elif rotary.kind == "longrope":
        writer.add_rope_scaling_orig_ctx_len(rotary.original_context or 0)
        writer.add_rope_scaling_attn_factors(rotary.attention_factor)
        for kind, factors in (("long", rotary.long_factor), ("short", rotary.short_factor)):
            writer.add_tensor(f"rope_factors_{kind}.weight", np.array(factors, np.float32))
    elif rotary.kind != "default":
        writer.add_rope_scaling_type(RopeScalingType(rotary.kind))
        writer.add_rope_scaling_factor(rotary.factor)
        if rotary.original_context:
            writer.add_rope_scaling_orig_ctx_len(rotary.original_context)


def dequantized_checkpoint(folder: Path, target: Path, pack: Pack) -> None:
    """The checkpoint with every tensor as a GGUF file holds it: packed, unpacked by gguf, turned back, in float32."""
    checkpoint = Checkpoint(folder)
    spec = architecture_for(checkpoint.config, folder).spec(Config(checkpoint.config, folder))
    names = get_tensor_name_map(MODEL_ARCH[ARCHITECTURES[spec.model_type]], len(spec.layers))
    found = {}
    for theirs in checkpoint.names:
        values = _converted(theirs, checkpoint.tensor(theirs), spec)
        ours = names.get_name(theirs, try_suffixes=(".weight", ".bias")) or "one.of.the.experts"
        packed, kind = pack(ours, values)
        unpacked = packed if kind is None else quants.dequantize(packed, kind)
        found[theirs] = _turned_back(theirs, np.asarray(unpacked, np.float32), spec)
    target.mkdir()
    (target / "config.json").write_text(json.dumps(checkpoint.config))
    header, at = {}, 0
    for name, values in found.items():
        header[name] = {"dtype": "F32", "shape": list(values.shape), "data_offsets": [at, at + values.nbytes]}
        at += values.nbytes
    raw = json.dumps(header).encode()
    tensors = b"".join(np.ascontiguousarray(values, "<f4").tobytes() for values in found.values())
    (target / "model.safetensors").write_bytes(struct.pack("<Q", len(raw)) + raw + tensors)


def _turned_back(name: str, values: np.ndarray, spec: DecoderSpec) -> np.ndarray:
    if spec.model_type in TURNED and ("q_proj" in name or "k_proj" in name):
        heads = spec.layers[0].attention.heads if "q_proj" in name else spec.layers[0].attention.kv_heads
        return values.reshape(heads, -1, 2, *values.shape[1:]).swapaxes(1, 2).reshape(values.shape)
    if spec.model_type.startswith("gemma") and name.endswith("norm.weight"):
        return values - 1
    return values


def random_packer(kind: str) -> Pack:
    """Matrices of random blocks, the same for the same name; vectors as F32."""

    def pack(name: str, values: np.ndarray) -> tuple[np.ndarray, GGMLQuantizationType | None]:
        if values.ndim == 1:
            return values.astype(np.float32), None
        return random_blocks(kind, *values.shape, seed=zlib.crc32(name.encode())), GGMLQuantizationType[kind]

    return pack


def random_blocks(kind: str, rows: int, width: int, seed: int) -> np.ndarray:
    """Bytes of random blocks [rows, bytes], their fp16 fields such that values vary by 1 / sqrt(width), as in models.

    gguf cannot quantise to K types: any bytes are valid ones, but for infinite or absurd scales.
    """
    random = np.random.default_rng(seed)
    block, size = quants.GGML_QUANT_SIZES[GGMLQuantizationType[kind]]
    blocks = random.integers(0, 256, (rows * width // block, size), dtype=np.uint8)
    for at in HALVES.get(kind, (0,)):
        scales = random.uniform(0.2, 1, len(blocks))
        if kind in SIGNED:
            scales *= random.choice([-1, 1], len(blocks))
        _put(blocks, at, scales)
    if kind == "MXFP4":
        blocks[:, 0] = random.integers(119, 123, len(blocks))
        return blocks.reshape(rows, -1)
    unit = quants.dequantize(blocks, GGMLQuantizationType[kind]).std() * math.sqrt(width)
    for at in HALVES.get(kind, (0,)):
        _put(blocks, at, blocks[:, at : at + 2].copy().view("<f2")[:, 0] / unit)
    return blocks.reshape(rows, -1)


def _put(blocks: np.ndarray, at: int, values: np.ndarray) -> None:
    blocks[:, at : at + 2] = values.astype("<f2")[:, None].view(np.uint8)


HALVES = {
    "Q4_1": (0, 2), "Q5_1": (0, 2), "Q2_K": (80, 82), "Q3_K": (108,), "Q4_K": (0, 2), "Q5_K": (0, 2), "Q6_K": (208,),
    "MXFP4": (),
}  # fmt: skip
SIGNED = ("Q4_0", "Q5_0", "Q8_0", "IQ4_NL", "Q3_K", "Q6_K", "IQ4_XS")


def write_vocabulary(writer: GGUFWriter, tokens: list[str], kinds: list[int], **special: int) -> None:
    """Byte-level BPE without merges."""
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(kinds)
    writer.add_token_merges([])
    for key, value in special.items():
        getattr(writer, f"add_{key}_token_id")(value)


def metadata_of(path: Path) -> dict[str, Any]:
    """What gguf's own reader finds."""
    from gguf import GGUFReader

    return {key: field.contents() for key, field in GGUFReader(path).fields.items()}


def model_config(name: str, models: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    """A tiny config with changes."""
    config: dict[str, Any] = json.loads(json.dumps(models[name]["config"]))
    return {**config, **changes}
