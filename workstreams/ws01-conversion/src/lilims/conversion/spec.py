"""A decoder described as data: what an architecture file makes of a config, and all that emission needs.

Knows the vocabulary of blocks. Must not know any model family, checkpoint or Core ML.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["Activation", "Attention", "DecoderSpec", "Experts", "Layer", "Mlp", "Norm", "Roles", "TensorSource"]

Activation = Literal["silu", "gelu", "gelu_tanh", "relu"]
Roles = list[tuple[str, tuple[int, ...]]]  # a tensor's role and shape


@dataclass(frozen=True)
class Norm:
    """RMSNorm or LayerNorm over the last dimension; `bias` tells whether it has one."""

    kind: Literal["rms", "layer"]
    eps: float
    bias: bool = False


@dataclass(frozen=True)
class Attention:
    """Causal self-attention over grouped heads.

    Attributes:
        scale: multiplies Q·K (usually head_dim ** -0.5).
        rotary: which of the host's tables turn Q and K: the model's, those of its local layers, or none.
        window: makes the layer local: a query sees that many positions, its own included.
        biases: the projections (q, k, v, o) that have a bias.
        qk_norm: a norm on Q and K before the rotation.
        qk_norm_over: each head with the weights of all ("head") or weights of its own ("each head", a LayerNorm without
            bias), or the whole projection.
        softcap: c·tanh(score / c) before the mask.
    """

    heads: int
    kv_heads: int
    head_dim: int
    scale: float
    rotary: Literal["global", "local"] | None
    window: int | None = None
    biases: frozenset[str] = frozenset()
    qk_norm: Norm | None = None
    qk_norm_over: Literal["head", "each head", "projection"] = "head"
    softcap: float | None = None


@dataclass(frozen=True)
class Mlp:
    """Feed-forward block: gated is down(act(gate(x)) * up(x)), plain is down(act(up(x)))."""

    kind: Literal["gated", "plain"]
    width: int
    activation: Activation
    biases: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Experts:
    """A mixture of gated MLPs: softmax over a router's logits, the `active` largest shares, perhaps normalised to 1.

    Of experts with equal logits the lower index comes first. torch.topk, which transformers takes, promises no order.
    """

    count: int
    active: int
    width: int
    activation: Activation
    normalized: bool


@dataclass(frozen=True)
class Layer:
    """One layer. Norms stand before a block, behind it (before the sum), or both; None is none.

    Serial: x += r·attention(x); x += r·mlp(x), r being `residual_scale`. Parallel: x += attention(x) + mlp(x), where an
    MLP without a norm of its own takes the attention's normed input.
    """

    attention_norm: Norm | None
    attention: Attention
    mlp_norm: Norm | None
    mlp: Mlp | Experts
    attention_output_norm: Norm | None = None
    mlp_output_norm: Norm | None = None
    parallel: bool = False
    residual_scale: float = 1.0


@dataclass(frozen=True)
class DecoderSpec:
    """A decoder-only transformer.

    Attributes:
        rotary, local_rotary: parameters of the host's tables (`lilims.context.RotaryParameters`).
        learned_positions: rows of a learned position table.
        tied: the embedding is the head.
        embedding_scale: multiplies what the embedding gives.
        logit_scale, logit_softcap: logits · scale, then c·tanh(logits / c).
        stream_scale: how much larger the residual stream is than the checkpoint's (`fp16_scale.rescaled`, which has
            put it into all other fields).
    """

    model_type: str
    vocab_size: int
    hidden_size: int
    max_positions: int
    layers: tuple[Layer, ...]
    final_norm: Norm
    tied: bool
    rotary: Mapping[str, Any] | None = None
    local_rotary: Mapping[str, Any] | None = None
    learned_positions: int | None = None
    head_bias: bool = False
    embedding_scale: float = 1.0
    logit_scale: float = 1.0
    logit_softcap: float | None = None
    stream_scale: float = 1.0

    @property
    def kv_heads(self) -> int:
        """KV heads of every layer (the state needs them equal)."""
        return self.layers[0].attention.kv_heads

    @property
    def head_dim(self) -> int:
        """Head dimension of every layer (the state needs them equal)."""
        return self.layers[0].attention.head_dim

    @property
    def window(self) -> int | None:
        """The sliding window that every layer has, None when some are global."""
        windows = {layer.attention.window for layer in self.layers}
        return windows.pop() if len(windows) == 1 else None

    @property
    def local_window(self) -> int | None:
        """The window of the local layers, None when all layers are alike."""
        return None if self.window else next((x.attention.window for x in self.layers if x.attention.window), None)

    def roles(self) -> Roles:
        """Every tensor that the decoder needs: its role and shape, linear weights as [out, in].

        Roles of layer l start with `layers.<l>.`; the rest stand alone (`embedding`, `final_norm.weight`, `head`).
        """
        found: Roles = [("embedding", (self.vocab_size, self.hidden_size))]
        if self.learned_positions:
            found.append(("positions", (self.learned_positions, self.hidden_size)))
        for index, layer in enumerate(self.layers):
            found += [(f"layers.{index}.{role}", shape) for role, shape in _layer_roles(layer, self.hidden_size)]
        found += _norm_roles("final_norm", self.final_norm, self.hidden_size)
        if not self.tied:
            found.append(("head", (self.vocab_size, self.hidden_size)))
        if self.head_bias:
            found.append(("head.bias", (self.vocab_size,)))
        return found

    def roles_of_layer(self, role: str) -> Roles:
        """The roles of the layer that `role` belongs to, or all that belong to none."""
        if not role.startswith("layers."):
            return [entry for entry in self.roles() if not entry[0].startswith("layers.")]
        index = role.split(".")[1]
        return [(f"layers.{index}.{r}", shape) for r, shape in _layer_roles(self.layers[int(index)], self.hidden_size)]


def _norm_roles(role: str, norm: Norm | None, size: int) -> Roles:
    parts = () if norm is None else ("weight", "bias") if norm.bias else ("weight",)
    return [(f"{role}.{part}", (size,)) for part in parts]


def _linear_roles(block: str, shapes: Mapping[str, tuple[int, int]], biases: frozenset[str]) -> Roles:
    found: Roles = []
    for name, shape in shapes.items():
        found.append((f"{block}.{name}.weight", shape))
        if name in biases:
            found.append((f"{block}.{name}.bias", shape[:1]))
    return found


def _attention_roles(spec: Attention, hidden: int) -> Roles:
    queries, keys = spec.heads * spec.head_dim, spec.kv_heads * spec.head_dim
    shapes = {"q": (queries, hidden), "k": (keys, hidden), "v": (keys, hidden), "o": (hidden, queries)}
    found = _linear_roles("attention", shapes, spec.biases)
    for name, heads in (("q", spec.heads), ("k", spec.kv_heads)):
        if spec.qk_norm_over == "each head":
            norms = [f"attention.{name}_norm.{head}" for head in range(heads)]
        else:
            norms = [f"attention.{name}_norm"]
        over = heads * spec.head_dim if spec.qk_norm_over == "projection" else spec.head_dim
        found += [role for norm in norms for role in _norm_roles(norm, spec.qk_norm, over)]
    return found


def _mlp_roles(spec: Mlp | Experts, hidden: int) -> Roles:
    wide, narrow = (spec.width, hidden), (hidden, spec.width)
    gated = {"gate": wide, "up": wide, "down": narrow}
    if isinstance(spec, Mlp):
        shapes = gated if spec.kind == "gated" else {"up": wide, "down": narrow}
        return _linear_roles("mlp", shapes, spec.biases)
    found: Roles = [("mlp.router.weight", (spec.count, hidden))]
    return found + [role for e in range(spec.count) for role in _linear_roles(f"mlp.experts.{e}", gated, frozenset())]


def _layer_roles(layer: Layer, hidden: int) -> Roles:
    return [
        *_norm_roles("attention_norm", layer.attention_norm, hidden),
        *_norm_roles("attention_output_norm", layer.attention_output_norm, hidden),
        *_norm_roles("mlp_norm", layer.mlp_norm, hidden),
        *_norm_roles("mlp_output_norm", layer.mlp_output_norm, hidden),
        *_attention_roles(layer.attention, hidden),
        *_mlp_roles(layer.mlp, hidden),
    ]


@dataclass(frozen=True)
class TensorSource:
    """Where a role's tensor lies in a checkpoint.

    Args:
        name: tensor name; `{layer}`, `{expert}` and `{head}` stand for indices.
        transpose: stored as [in, out] (GPT-2's Conv1D).
        stack: roles of its block (q, k, v) whose outputs this tensor holds one after another, this role's among them.
        by_head: the stack is repeated for each head (GPT-NeoX), each holding that head's rows of every role.
        add: is added to every value (Gemma's norms store w − 1).
        interleaved: rotary pairs are neighbours (Cohere); rows are put into the halves layout, which changes no result.
        row: which row this role is of a tensor [heads, head_dim]; the head's index is filled in.
    """

    name: str
    transpose: bool = False
    stack: tuple[str, ...] = ()
    by_head: bool = False
    add: float = 0.0
    interleaved: bool = False
    row: int | None = None
