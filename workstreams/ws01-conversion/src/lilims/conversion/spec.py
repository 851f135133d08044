"""A decoder described as data: what an architecture file makes of a config, and all that emission needs.

Knows the vocabulary of blocks. Must not know any model family, checkpoint or Core ML.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["Activation", "Attention", "DecoderSpec", "Layer", "Mlp", "Norm", "TensorSource"]

Activation = Literal["silu", "gelu", "gelu_tanh", "relu"]


@dataclass(frozen=True)
class Norm:
    """RMSNorm or LayerNorm over the hidden dimension; `bias` tells whether it has one."""

    kind: Literal["rms", "layer"]
    eps: float
    bias: bool = False


@dataclass(frozen=True)
class Attention:
    """Causal self-attention over grouped heads.

    `scale` multiplies Q·K (usually head_dim ** -0.5). `window` makes the layer local: a query sees that many
    positions, its own included. `biases` names the projections (q, k, v, o) that have a bias.
    """

    heads: int
    kv_heads: int
    head_dim: int
    scale: float
    rotary: bool
    window: int | None = None
    biases: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Mlp:
    """Feed-forward block: gated is down(act(gate(x)) * up(x)), plain is down(act(up(x)))."""

    kind: Literal["gated", "plain"]
    width: int
    activation: Activation
    biases: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Layer:
    """A pre-norm residual layer: x += attention(norm(x)); x += mlp(norm(x))."""

    attention_norm: Norm
    attention: Attention
    mlp_norm: Norm
    mlp: Mlp


@dataclass(frozen=True)
class DecoderSpec:
    """A decoder-only transformer.

    `rotary` holds the parameters of the host's tables (see `lilims.context.RotaryParameters`), `learned_positions`
    the rows of a learned position table; both None means no positions. `tied` shares the embedding with the head.
    """

    model_type: str
    vocab_size: int
    hidden_size: int
    max_positions: int
    layers: tuple[Layer, ...]
    final_norm: Norm
    tied: bool
    rotary: Mapping[str, Any] | None = None
    learned_positions: int | None = None

    @property
    def kv_heads(self) -> int:
        """KV heads of every layer (the state needs them equal)."""
        return self.layers[0].attention.kv_heads

    @property
    def head_dim(self) -> int:
        """Head dimension of every layer (the state needs them equal)."""
        return self.layers[0].attention.head_dim

    @property
    def local_window(self) -> int | None:
        """The window of the local layers, None when all are global."""
        return next((layer.attention.window for layer in self.layers if layer.attention.window), None)

    def roles(self) -> list[tuple[str, tuple[int, ...]]]:
        """Every tensor that the decoder needs: its role and shape, linear weights as [out, in].

        Roles of layer l start with `layers.<l>.`; the rest stand alone (`embedding`, `final_norm.weight`, `head`).
        """
        found: list[tuple[str, tuple[int, ...]]] = [("embedding", (self.vocab_size, self.hidden_size))]
        if self.learned_positions:
            found.append(("positions", (self.learned_positions, self.hidden_size)))
        for index, layer in enumerate(self.layers):
            found += [(f"layers.{index}.{role}", shape) for role, shape in _layer_roles(layer, self.hidden_size)]
        found += _norm_roles("final_norm", self.final_norm, self.hidden_size)
        if not self.tied:
            found.append(("head", (self.vocab_size, self.hidden_size)))
        return found


def _norm_roles(role: str, norm: Norm, size: int) -> list[tuple[str, tuple[int, ...]]]:
    shape: tuple[int, ...] = (size,)
    return [(f"{role}.{part}", shape) for part in (("weight", "bias") if norm.bias else ("weight",))]


def _layer_roles(layer: Layer, hidden: int) -> list[tuple[str, tuple[int, ...]]]:
    attention, mlp = layer.attention, layer.mlp
    queries, keys = attention.heads * attention.head_dim, attention.kv_heads * attention.head_dim
    projections = {"q": (queries, hidden), "k": (keys, hidden), "v": (keys, hidden), "o": (hidden, queries)}
    wide = {"up": (mlp.width, hidden), "down": (hidden, mlp.width)}
    if mlp.kind == "gated":
        wide = {"gate": (mlp.width, hidden), **wide}
    found = _norm_roles("attention_norm", layer.attention_norm, hidden)
    found += _norm_roles("mlp_norm", layer.mlp_norm, hidden)
    for block, biases, shapes in (("attention", attention.biases, projections), ("mlp", mlp.biases, wide)):
        for name, shape in shapes.items():
            found.append((f"{block}.{name}.weight", shape))
            if name in biases:
                found.append((f"{block}.{name}.bias", shape[:1]))
    return found


@dataclass(frozen=True)
class TensorSource:
    """Where a role's tensor lies in a checkpoint.

    Args:
        name: tensor name; `{layer}` stands for the layer's index.
        transpose: stored as [in, out] (GPT-2's Conv1D).
        part: (index, count): the index-th of `count` equal parts along the output dimension, after transposing.
    """

    name: str
    transpose: bool = False
    part: tuple[int, int] = (0, 1)
