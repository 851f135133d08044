"""GPT-Neo (and TinyStories): LayerNorm, learned positions, unscaled attention, every other layer local.

transformers: `models/gpt_neo/modeling_gpt_neo.py`.
"""

from __future__ import annotations

from typing import Any

from lilims.core.errors import CheckpointError, UnsupportedModelError

from ..spec import Attention, DecoderSpec, Layer, Mlp, Norm
from .base import ACTIVATIONS, Architecture, Config


def _attention_kinds(config: Config, layers: int) -> list[str]:
    """Layer kinds from `attention_types`, [[["global", "local"], 4]] for eight layers that alternate."""
    groups: Any = config.values.get("attention_types") or [[["global", "local"], layers // 2]]
    try:
        kinds = [kind for pattern, count in groups for _ in range(min(count, layers)) for kind in pattern]
    except (TypeError, ValueError) as exc:
        raise CheckpointError("'attention_types' is not a list of [pattern, count]", where=config.where) from exc
    if len(kinds) != layers:
        raise CheckpointError(f"'attention_types' names {len(kinds)} layers of {layers}", where=config.where)
    if unknown := [kind for kind in kinds if kind not in ("global", "local")]:
        raise UnsupportedModelError(f"'attention_types' has the unknown kind {unknown[0]!r}", where=config.where)
    return kinds


def _spec(config: Config) -> DecoderSpec:
    hidden, heads, count = config.size("hidden_size"), config.size("num_heads"), config.size("num_layers")
    norm = Norm("layer", config.number("layer_norm_epsilon", 1e-5), bias=True)
    mlp = Mlp(
        kind="plain",
        width=config.size("intermediate_size", default=4 * hidden),
        activation=config.choice("activation_function", ACTIVATIONS, "gelu_new"),
        biases=frozenset({"up", "down"}),
    )
    window = config.size("window_size", 256)

    def attention(kind: str) -> Attention:
        return Attention(
            heads=heads,
            kv_heads=heads,
            head_dim=config.divides("hidden_size", hidden, heads),
            scale=1.0,
            rotary=None,
            window=window if kind == "local" else None,
            biases=frozenset("o"),
        )

    positions = config.size("max_position_embeddings", 2048)
    return DecoderSpec(
        model_type="gpt_neo",
        vocab_size=config.size("vocab_size"),
        hidden_size=hidden,
        max_positions=positions,
        layers=tuple(Layer(norm, attention(kind), norm, mlp) for kind in _attention_kinds(config, count)),
        final_norm=norm,
        tied=config.flag("tie_word_embeddings", True),
        learned_positions=positions,
    )


ARCHITECTURE = Architecture(
    spec=_spec,
    tensors={
        "embedding": "wte.weight",
        "positions": "wpe.weight",
        "attention_norm.weight": "h.{layer}.ln_1.weight",
        "attention_norm.bias": "h.{layer}.ln_1.bias",
        "attention.q.weight": "h.{layer}.attn.attention.q_proj.weight",
        "attention.k.weight": "h.{layer}.attn.attention.k_proj.weight",
        "attention.v.weight": "h.{layer}.attn.attention.v_proj.weight",
        "attention.o.weight": "h.{layer}.attn.attention.out_proj.weight",
        "attention.o.bias": "h.{layer}.attn.attention.out_proj.bias",
        "mlp_norm.weight": "h.{layer}.ln_2.weight",
        "mlp_norm.bias": "h.{layer}.ln_2.bias",
        "mlp.up.weight": "h.{layer}.mlp.c_fc.weight",
        "mlp.up.bias": "h.{layer}.mlp.c_fc.bias",
        "mlp.down.weight": "h.{layer}.mlp.c_proj.weight",
        "mlp.down.bias": "h.{layer}.mlp.c_proj.bias",
        "final_norm.weight": "ln_f.weight",
        "final_norm.bias": "ln_f.bias",
        "head": "lm_head.weight",
    },
    prefixes=("transformer.", ""),
)
