"""StarCoder2: LayerNorm, rotary positions, plain MLP, biases everywhere, perhaps a sliding window.

transformers: `models/starcoder2/modeling_starcoder2.py`.
"""

from __future__ import annotations

from ..spec import DecoderSpec, Layer, Mlp, Norm
from .base import ACTIVATIONS, Architecture, Config
from .common import LLAMA_TENSORS, attention, rotary, with_biases


def _spec(config: Config) -> DecoderSpec:
    norm = Norm("layer", config.number("norm_epsilon", 1e-5), bias=True)
    biased = config.flag("use_bias", True)
    window = None if config.values.get("sliding_window") is None else config.size("sliding_window")
    heads = attention(config, biases="qkvo" if biased else "", window=window)
    mlp = Mlp(
        kind="plain",
        width=config.size("intermediate_size"),
        activation=config.choice("hidden_act", ACTIVATIONS, "gelu_pytorch_tanh"),
        biases=frozenset({"up", "down"}) if biased else frozenset(),
    )
    return DecoderSpec(
        model_type="starcoder2",
        vocab_size=config.size("vocab_size"),
        hidden_size=config.size("hidden_size"),
        max_positions=config.size("max_position_embeddings", 4096),
        layers=(Layer(norm, heads, norm, mlp),) * config.size("num_hidden_layers"),
        final_norm=norm,
        tied=config.flag("tie_word_embeddings", True),
        rotary=rotary(config, heads.head_dim),
    )


_TENSORS = {
    **{role: name for role, name in LLAMA_TENSORS.items() if not role.startswith("mlp.")},
    "mlp.up.weight": "layers.{layer}.mlp.c_fc.weight",
    "mlp.down.weight": "layers.{layer}.mlp.c_proj.weight",
}
ARCHITECTURE = Architecture(
    spec=_spec,
    tensors=with_biases(_TENSORS, "attention", "mlp", "final_norm"),
    prefixes=("model.", ""),
)
