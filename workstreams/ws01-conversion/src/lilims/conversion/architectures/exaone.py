"""EXAONE 3 and 3.5: Llama under other names.

The modelling code lies in the models' own repositories (LGAI-EXAONE, `modeling_exaone.py`), not in transformers.
"""

from __future__ import annotations

from ..spec import DecoderSpec, Layer, Norm
from .base import Architecture, Config
from .common import attention, gated_mlp, rotary


def _spec(config: Config) -> DecoderSpec:
    renamed = {"num_hidden_layers": "num_layers", "hidden_act": "activation_function"}
    values = {**config.values, **{ours: config.values.get(theirs) for ours, theirs in renamed.items()}}
    config = Config(values, config.where)
    norm = Norm("rms", config.number("layer_norm_epsilon", 1e-5))
    heads = attention(config)
    return DecoderSpec(
        model_type="exaone",
        vocab_size=config.size("vocab_size"),
        hidden_size=config.size("hidden_size"),
        max_positions=config.size("max_position_embeddings", 2048),
        layers=(Layer(norm, heads, norm, gated_mlp(config)),) * config.size("num_hidden_layers"),
        final_norm=norm,
        tied=config.flag("tie_word_embeddings", False),
        rotary=rotary(config, heads.head_dim),
    )


ARCHITECTURE = Architecture(
    spec=_spec,
    tensors={
        "embedding": "wte.weight",
        "attention_norm.weight": "h.{layer}.ln_1.weight",
        "attention.q.weight": "h.{layer}.attn.attention.q_proj.weight",
        "attention.k.weight": "h.{layer}.attn.attention.k_proj.weight",
        "attention.v.weight": "h.{layer}.attn.attention.v_proj.weight",
        "attention.o.weight": "h.{layer}.attn.attention.out_proj.weight",
        "mlp_norm.weight": "h.{layer}.ln_2.weight",
        "mlp.gate.weight": "h.{layer}.mlp.c_fc_0.weight",
        "mlp.up.weight": "h.{layer}.mlp.c_fc_1.weight",
        "mlp.down.weight": "h.{layer}.mlp.c_proj.weight",
        "final_norm.weight": "ln_f.weight",
        "head": "lm_head.weight",
    },
    prefixes=("transformer.", ""),
)
