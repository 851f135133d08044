"""OLMo 2: norms behind the blocks instead of before them, and on the whole of Q and K.

transformers: `models/olmo2/modeling_olmo2.py`.
"""

from __future__ import annotations

from ..spec import DecoderSpec, Layer
from .base import Architecture, Config
from .common import LLAMA_TENSORS, attention, gated_mlp, rms, rotary, with_biases
from .qwen3 import QK_NORM


def _spec(config: Config) -> DecoderSpec:
    norm = rms(config, 1e-5)
    biases = "qkvo" if config.flag("attention_bias", False) else ""
    heads = attention(config, biases=biases, qk_norm=norm, qk_norm_over="projection")
    layer = Layer(None, heads, None, gated_mlp(config), attention_output_norm=norm, mlp_output_norm=norm)
    return DecoderSpec(
        model_type="olmo2",
        vocab_size=config.size("vocab_size"),
        hidden_size=config.size("hidden_size"),
        max_positions=config.size("max_position_embeddings", 2048),
        layers=(layer,) * config.size("num_hidden_layers"),
        final_norm=norm,
        tied=config.flag("tie_word_embeddings", False),
        rotary=rotary(config, heads.head_dim),
    )


POST_NORMS = {
    "attention_output_norm.weight": "layers.{layer}.post_attention_layernorm.weight",
    "mlp_output_norm.weight": "layers.{layer}.post_feedforward_layernorm.weight",
}
UNNORMED = {
    role: name for role, name in LLAMA_TENSORS.items() if role not in ("attention_norm.weight", "mlp_norm.weight")
}
ARCHITECTURE = Architecture(
    spec=_spec, tensors={**with_biases(UNNORMED, "attention."), **QK_NORM, **POST_NORMS}, prefixes=("model.", "")
)
