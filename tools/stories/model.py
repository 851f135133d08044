"""The story model: a small Llama in plain torch, with the parameter names of transformers' ``LlamaForCausalLM``.

It knows shapes and the forward pass, and how weights are rounded to int4 and int8. It knows nothing about training.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BLOCK = 32  # quantisation block along the input dimension
Rounding = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Config:
    """Sizes under the keys of a Hugging Face ``config.json``."""

    vocab_size: int = 2048
    hidden_size: int = 256
    intermediate_size: int = 672
    num_hidden_layers: int = 5
    num_attention_heads: int = 8
    num_key_value_heads: int = 4
    head_dim: int = 32
    max_position_embeddings: int = 512
    rms_norm_eps: float = 1e-5
    rope_theta: float = 10000.0

    def hugging_face(self) -> dict[str, object]:
        """The whole ``config.json``; rope_theta in both the older and the newer place."""
        return {
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            **asdict(self),
            "hidden_act": "silu",
            "attention_bias": False,
            "attention_dropout": 0.0,
            "mlp_bias": False,
            "tie_word_embeddings": True,
            "initializer_range": 0.02,
            "bos_token_id": 0,
            "eos_token_id": 0,
            "pad_token_id": None,
            "pretraining_tp": 1,
            "rope_scaling": None,
            "torch_dtype": "float16",
            "use_cache": True,
        }


class _StraightThrough(torch.autograd.Function):
    """Rounded weights forward, the gradient of the unrounded weights backward."""

    @staticmethod
    def forward(ctx: object, weight: Tensor, rounding: Rounding) -> Tensor:
        return rounding(weight)

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient, None


def int4(weight: Tensor) -> Tensor:
    """Symmetric int4, blocks of 32 along the input dimension: fp16 scale max|w|/7, codes in [-8, 7]."""
    blocks = weight.reshape(-1, BLOCK)
    scale = (blocks.abs().amax(1, keepdim=True) / 7).half().float().clamp_min(2.0**-24)
    return (torch.round(blocks / scale).clamp_(-8, 7) * scale).reshape(weight.shape)


def int8(weight: Tensor) -> Tensor:
    """Symmetric int8, one fp16 scale max|w|/127 per output row, codes in [-127, 127]."""
    scale = (weight.abs().amax(1, keepdim=True) / 127).half().float().clamp_min(2.0**-24)
    return torch.round(weight / scale).clamp_(-127, 127) * scale


class Linear(nn.Linear):
    """A linear layer without bias whose weight may be rounded on the way in."""

    rounding: Rounding | None = None

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, rounded(self.weight, self.rounding))


def rounded(weight: Tensor, rounding: Rounding | None) -> Tensor:
    """The weight itself, or its rounding with a straight-through gradient."""
    if rounding is None:
        return weight
    result: Tensor = _StraightThrough.apply(weight, rounding)  # type: ignore[no-untyped-call]
    return result


class RMSNorm(nn.Module):
    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, (x.shape[-1],), self.weight, self.eps)


class Attention(nn.Module):
    def __init__(self, c: Config) -> None:
        super().__init__()
        self.heads, self.kv_heads, self.head_dim = c.num_attention_heads, c.num_key_value_heads, c.head_dim
        self.q_proj = Linear(c.hidden_size, self.heads * c.head_dim)
        self.k_proj = Linear(c.hidden_size, self.kv_heads * c.head_dim)
        self.v_proj = Linear(c.hidden_size, self.kv_heads * c.head_dim)
        self.o_proj = Linear(self.heads * c.head_dim, c.hidden_size)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        batch, length, _ = x.shape
        q, k, v = (
            proj(x).view(batch, length, -1, self.head_dim).transpose(1, 2)
            for proj in (self.q_proj, self.k_proj, self.v_proj)
        )
        q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        groups = self.heads // self.kv_heads
        k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        out: Tensor = self.o_proj(y.transpose(1, 2).reshape(batch, length, -1))
        return out


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary embedding, halves paired as in transformers. x: [batch, heads, length, head_dim]."""
    first, second = x.chunk(2, -1)
    return x * cos + torch.cat((-second, first), -1) * sin


class MLP(nn.Module):
    def __init__(self, c: Config) -> None:
        super().__init__()
        self.gate_proj = Linear(c.hidden_size, c.intermediate_size)
        self.up_proj = Linear(c.hidden_size, c.intermediate_size)
        self.down_proj = Linear(c.intermediate_size, c.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))
        return out


class Layer(nn.Module):
    def __init__(self, c: Config) -> None:
        super().__init__()
        self.self_attn, self.mlp = Attention(c), MLP(c)
        self.input_layernorm = RMSNorm(c.hidden_size, c.rms_norm_eps)
        self.post_attention_layernorm = RMSNorm(c.hidden_size, c.rms_norm_eps)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        out: Tensor = x + self.mlp(self.post_attention_layernorm(x))
        return out


class Decoder(nn.Module):
    def __init__(self, c: Config) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(c.vocab_size, c.hidden_size)
        self.layers = nn.ModuleList(Layer(c) for _ in range(c.num_hidden_layers))
        self.norm = RMSNorm(c.hidden_size, c.rms_norm_eps)


class Llama(nn.Module):
    """Token ids [batch, length] to logits [batch, length, vocabulary], float32."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.model = Decoder(config)
        self.rounding: Rounding | None = None
        frequency = config.rope_theta ** (-torch.arange(0, config.head_dim, 2) / config.head_dim)
        angle = torch.outer(torch.arange(config.max_position_embeddings), frequency).repeat(1, 2)
        self.register_buffer("cos", angle.cos(), persistent=False)
        self.register_buffer("sin", angle.sin(), persistent=False)
        for parameter in self.parameters():
            if parameter.ndim == 2:
                nn.init.normal_(parameter, std=0.02)

    def round_weights(self, rounding: Rounding | None) -> None:
        """From now on, run with every linear and embedding weight rounded (None: as they are)."""
        self.rounding = rounding
        for module in self.modules():
            if isinstance(module, Linear):
                module.rounding = rounding

    def forward(self, ids: Tensor) -> Tensor:
        length = ids.shape[1]
        table = rounded(self.model.embed_tokens.weight, self.rounding)
        x = F.embedding(ids, table)
        cos, sin = self.get_buffer("cos")[:length], self.get_buffer("sin")[:length]
        for layer in self.model.layers:
            x = layer(x, cos, sin)
        return F.linear(self.model.norm(x), table)
