"""Hyperparameters of a GGUF file as a Hugging Face config, which the architecture files read.

Knows the keys of both and which of ggml's families is which `model_type`. Must not know tensors' bytes or tokenizers.
Source: `llama_model::load_hparams` of llama.cpp and `set_gguf_parameters` of its converter; values that llama.cpp takes
for granted stand here as the family's `fixed` ones.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lilims.core.errors import CheckpointError, UnsupportedModelError

__all__ = ["FAMILIES", "Facts", "Family", "family_of", "hf_config"]

_COMMON = {
    "hidden_size": "embedding_length",
    "num_hidden_layers": "block_count",
    "intermediate_size": "feed_forward_length",
    "num_attention_heads": "attention.head_count",
    "num_key_value_heads": "attention.head_count_kv",
    "head_dim": "attention.key_length",
    "max_position_embeddings": "context_length",
    "rope_theta": "rope.freq_base",
}
_RMS = {**_COMMON, "rms_norm_eps": "attention.layer_norm_rms_epsilon"}
_LAYER_NORM = {**_COMMON, "layer_norm_eps": "attention.layer_norm_epsilon"}
_EXPERTS = {"num_experts_per_tok": "expert_used_count"}
# Keys that change what a model computes: a family that does not read them must not be given them.
_WEIGHTY = (
    "attention.clamp_kqv", "attention.max_alibi_bias", "attention.sliding_window", "attention.scale", "logit_scale",
    "attention.temperature_length", "attention.output_scale", "attn_logit_softcapping", "final_logit_softcapping",
    "embedding_scale", "residual_scale", "expert_count", "expert_shared_count", "leading_dense_block_count",
    "expert_weights_scale", "rope.scaling.alpha", "nextn_predict_layers",
)  # fmt: skip


@dataclass(frozen=True)
class Facts:
    """A file's metadata below its architecture's name, and the tensors that it has.

    Attributes:
        name: `general.architecture`.
        vectors: the small tensors of rotary factors, by name.
    """

    path: Path
    name: str
    metadata: Mapping[str, Any]
    tensors: Container[str]
    vectors: Mapping[str, list[float]] = field(default_factory=dict)

    def get(self, key: str, default: Any = None) -> Any:
        """The value of `<architecture>.<key>`. An array that has a value for each layer must have the same for all."""
        value = self.metadata.get(f"{self.name}.{key}", default)
        if isinstance(value, np.ndarray):
            values = value.tolist()
            if not values or any(other != values[0] for other in values):
                raise UnsupportedModelError(
                    f"'{self.name}.{key}' differs from layer to layer", where=self.path, hint="lilims needs them equal"
                )
            return values[0]
        return value

    def size(self, key: str, default: int | None = None) -> int:
        """A positive whole number."""
        value = self.get(key, default)
        if type(value) is not int or not 0 < value < 1 << 24:
            raise self.error(f"'{self.name}.{key}' is {value!r}, not a number above 0")
        return value

    def error(self, message: str) -> CheckpointError:
        return CheckpointError(message, where=self.path, hint="the metadata is damaged: fetch the file again")

    @property
    def head_dim(self) -> int:
        """Of Q and K, and of V."""
        heads = self.size("attention.head_count")
        given = self.size("attention.key_length", self.size("embedding_length") // heads or 1)
        if self.size("attention.value_length", given) != given:
            raise UnsupportedModelError("keys and values differ in length", where=self.path)
        return given


@dataclass(frozen=True)
class Family:
    """What ggml calls an architecture.

    Attributes:
        model_type: the architecture file that converts it.
        keys: config key → key of the file, below the architecture's name. One that the file has not is left out.
        fixed: config values that no file says.
        also: further config values.
        interleaved: rotary pairs of Q and K are neighbours.
        gate_in_up: gate and up are one tensor.
    """

    model_type: str
    keys: Mapping[str, str]
    fixed: Mapping[str, Any] = field(default_factory=dict)
    also: Callable[[Facts], Mapping[str, Any]] = lambda facts: {}
    interleaved: bool = False
    gate_in_up: bool = False


def _biases(facts: Facts) -> dict[str, Any]:
    return {
        "attention_bias": "blk.0.attn_q.bias" in facts.tensors,
        "mlp_bias": "blk.0.ffn_gate.bias" in facts.tensors,
    }


def _window(facts: Facts) -> dict[str, Any]:
    """A window of 0 is none."""
    return {"sliding_window": facts.get("attention.sliding_window") or None}


def _query_scale(largest: int) -> Callable[[Facts], dict[str, Any]]:
    """Gemma's scores are divided by the root of the head dimension, in its largest model of that of hidden / heads."""

    def also(facts: Facts) -> dict[str, Any]:
        whole = facts.size("embedding_length") // facts.size("attention.head_count")
        return {"query_pre_attn_scalar": whole if facts.get("block_count") == largest else facts.head_dim}

    return also


def _layer_types(facts: Facts) -> dict[str, Any]:
    """Local and global layers: a flag for each, or the distance from one global layer to the next."""
    key = f"{facts.name}.attention.sliding_window_pattern"
    pattern = facts.metadata.get(key)
    window = facts.get("attention.sliding_window") or None
    if isinstance(pattern, np.ndarray):
        kinds = ["sliding_attention" if local else "full_attention" for local in pattern.tolist()]
        return {"sliding_window": window, "layer_types": kinds if window else None}
    return {"sliding_window": window, **({} if pattern is None else {"sliding_window_pattern": pattern})}


_GEMMA2 = {
    **_RMS,
    "attn_logit_softcapping": "attn_logit_softcapping",
    "final_logit_softcapping": "final_logit_softcapping",
}
_GRANITE = {
    **_RMS,
    "attention_multiplier": "attention.scale",
    "embedding_multiplier": "embedding_scale",
    "residual_multiplier": "residual_scale",
    "logits_scaling": "logit_scale",
}
_GPT2 = {
    "n_embd": "embedding_length",
    "n_layer": "block_count",
    "n_head": "attention.head_count",
    "n_inner": "feed_forward_length",
    "n_positions": "context_length",
    "layer_norm_epsilon": "attention.layer_norm_epsilon",
}
_EXAONE = {**_COMMON, "num_layers": "block_count", "layer_norm_epsilon": "attention.layer_norm_rms_epsilon"}

FAMILIES: Mapping[str, Family] = {
    "llama": Family("llama", _RMS, also=_biases, interleaved=True),
    "llama with a window": Family("mistral", _RMS, also=_window, interleaved=True),
    "llama with experts": Family(
        "mixtral", {**_RMS, **_EXPERTS, "num_local_experts": "expert_count"}, also=_window, interleaved=True
    ),
    "qwen2": Family("qwen2", _RMS),
    "qwen3": Family("qwen3", _RMS, also=_biases),
    "qwen3moe": Family(
        "qwen3_moe",
        {**_RMS, **_EXPERTS, "num_experts": "expert_count", "moe_intermediate_size": "expert_feed_forward_length"},
        fixed={"norm_topk_prob": True},
        also=_biases,
    ),
    "gemma": Family("gemma", _RMS),
    "gemma2": Family("gemma2", _GEMMA2, also=lambda facts: {**_window(facts), **_query_scale(46)(facts)}),
    "gemma3": Family(
        "gemma3_text",
        {**_GEMMA2, "rope_local_base_freq": "rope.freq_base_swa"},
        also=lambda facts: {**_layer_types(facts), **_query_scale(62)(facts)},
    ),
    "phi2": Family("phi", _LAYER_NORM),
    "phi3": Family("phi3", _RMS, also=_window, gate_in_up=True),
    "gpt2": Family("gpt2", _GPT2),
    "gptneox": Family(
        "gpt_neox",
        {**_LAYER_NORM, "use_parallel_residual": "use_parallel_residual"},
        also=lambda facts: {"attention_bias": "blk.0.attn_qkv.bias" in facts.tensors},
    ),
    "stablelm": Family(
        "stablelm",
        {**_LAYER_NORM, "use_parallel_residual": "use_parallel_residual"},
        also=lambda facts: {"use_qkv_bias": "blk.0.attn_q.bias" in facts.tensors},
    ),
    "starcoder2": Family(
        "starcoder2",
        {**_COMMON, "norm_epsilon": "attention.layer_norm_epsilon"},
        also=lambda facts: {**_window(facts), "use_bias": "blk.0.attn_q.bias" in facts.tensors},
    ),
    "command-r": Family("cohere", {**_LAYER_NORM, "logit_scale": "logit_scale"}, interleaved=True),
    "granite": Family("granite", _GRANITE, also=_biases, interleaved=True),
    "smollm3": Family("smollm3", _RMS, fixed={"no_rope_layer_interval": 4}, also=_biases, interleaved=True),
    "olmo2": Family("olmo2", _RMS),
    "exaone": Family("exaone", _EXAONE),
    "exaone4": Family("exaone4", _RMS, also=_layer_types),
}


def family_of(facts: Facts) -> Family:
    """The family of a file.

    Raises:
        UnsupportedModelError: there is none, or the file says something that its architecture file does not know.
    """
    name = facts.name
    if name == "llama" and facts.get("expert_count"):
        name = "llama with experts"
    elif name == "llama" and facts.get("attention.sliding_window"):
        name = "llama with a window"
    if name not in FAMILIES:
        known = sorted(family for family in FAMILIES if " " not in family)
        raise UnsupportedModelError(
            f"general.architecture {name!r} is not supported", where=facts.path, hint=f"supported: {', '.join(known)}"
        )
    return FAMILIES[name]


def hf_config(facts: Facts, family: Family, vocab_size: int) -> dict[str, Any]:
    """The config.json that the file's model would have.

    Raises:
        CheckpointError: a value makes no sense.
        UnsupportedModelError: a value means something that lilims would leave out.
    """
    found = {ours: facts.get(theirs) for ours, theirs in family.keys.items()}
    config: dict[str, Any] = {
        "model_type": family.model_type,
        "vocab_size": vocab_size,
        "tie_word_embeddings": "output.weight" not in facts.tensors,
        **{key: value for key, value in found.items() if value is not None},
        **family.fixed,
        **family.also(facts),
    }
    unread = [key for key in _WEIGHTY if facts.get(key) and not _is_read(key, family, config)]
    if unread:
        raise UnsupportedModelError(
            f"'{facts.name}.{unread[0]}' is {facts.get(unread[0])!r}, which lilims does not know for this family",
            where=facts.path,
            hint="converting would silently leave it out; please report it with the model's name",
        )
    return {**config, **_rotary(facts)}


def _is_read(key: str, family: Family, config: Mapping[str, Any]) -> bool:
    return key in family.keys.values() or (key == "attention.sliding_window" and "sliding_window" in config)


def _rotary(facts: Facts) -> dict[str, Any]:
    """How far heads are turned, and the scaling rule; factors for each frequency lie in tensors."""
    if "position_embd.weight" in facts.tensors:
        return {}
    head_dim = facts.head_dim
    dimensions = facts.size("rope.dimension_count", head_dim)
    part = {} if dimensions == head_dim else {"partial_rotary_factor": (dimensions + 0.25) / head_dim}  # rounded down
    return {**part, **_scaling(facts)}


def _scaling(facts: Facts) -> dict[str, Any]:
    long, short = (facts.vectors.get(f"rope_factors_{kind}.weight") for kind in ("long", "short"))
    original = facts.get("rope.scaling.original_context_length") or facts.get("context_length")
    rule: dict[str, Any] = {"original_max_position_embeddings": original}
    if "rope_freqs.weight" in facts.vectors:  # llama3's rule, worked out: divisors that hold for any length
        factors = facts.vectors["rope_freqs.weight"]
        rule |= {"rope_type": "longrope", "short_factor": factors, "long_factor": factors, "attention_factor": 1.0}
        return {"rope_scaling": {**rule, "factor": 1.0}}
    if long is not None or short is not None:
        attention = facts.get("rope.scaling.attn_factor")
        rule |= {"rope_type": "longrope", "short_factor": short, "long_factor": long, "attention_factor": attention}
        return {"rope_scaling": rule}
    kind = facts.get("rope.scaling.type", "linear" if facts.get("rope.scale_linear") else "none")
    factor = facts.get("rope.scaling.factor") or facts.get("rope.scale_linear")
    if kind in ("none", None) or (kind == "linear" and factor in (None, 1.0)):
        return {}
    if kind == "linear":
        return {"rope_scaling": {"rope_type": "linear", "factor": factor}}
    if kind == "yarn" and not facts.get("rope.scaling.attn_factor"):
        ramp = {f"beta_{end}": facts.get(f"rope.scaling.yarn_beta_{end}") for end in ("fast", "slow")}
        given = {key: value for key, value in ramp.items() if value is not None}
        return {"rope_scaling": {**rule, **given, "rope_type": "yarn", "factor": factor}}
    raise UnsupportedModelError(f"'{facts.name}.rope.scaling.type' is {kind!r}", where=facts.path)
