"""Initial weights that can copy: a previous-token head in the first layer, induction heads in the second.

A story keeps its names because the model looks back for what followed a token before ("induction heads": Elhage et
al., A Mathematical Framework for Transformer Circuits, 2021). A run of a few million tokens ends before such heads
have formed by themselves, so they are built in and training goes on from there. The residual stream is laid out as

    0-127    what the token is (random)
    128-159  what the token before it was, in the first 32 of those numbers
    224-255  one constant, the same for every token, by which the first layer attends by position alone
"""

from __future__ import annotations

from typing import Any

import torch
from model import Llama
from torch import Tensor

SPREAD = 0.1  # standard deviation of the random part of an embedding
CONSTANT = slice(224, 256)
BEFORE = slice(128, 160)
POSITION, MATCH, WRITE, CARRY = 6.0, 8.0, 5.0, 1.0  # gains, tried on repeated random tokens: any near these copy
SLOW = 7  # rotary pairs from here on turn too slowly to disturb a match within a story


@torch.no_grad()
def build_in(model: Llama) -> None:
    """Overwrites the embedding and parts of the first two attention layers. Random numbers: torch's generator."""
    c = model.config
    half, size = c.head_dim // 2, c.head_dim
    table = model.model.embed_tokens.weight
    table.normal_(std=SPREAD)
    table[:, 128:] *= 0.2
    table[:, CONSTANT] += 0.8 / size**0.5
    x = table / table.square().mean(1, keepdim=True).sqrt()  # as the first layer's norm delivers it
    constant, spread = float(x[:, CONSTANT].sum(1).mean()), float(x[:, 1:128].std())

    # Previous token: the score is the sum over pairs of cos(frequency · (distance - 1)), whatever the tokens are.
    frequency = c.rope_theta ** (-torch.arange(half) / half)
    gain = torch.where(torch.arange(half) < 6, POSITION / constant, 0.0)[:, None]
    first: Any = model.model.layers[0].self_attn
    key, value = first.k_proj.weight[:size], first.v_proj.weight[:size]
    key *= 0.1
    key[:half, CONSTANT], key[half:, CONSTANT] = gain, 0.0
    _read(value, slice(0, size))
    for head in (0, 1):
        query = first.q_proj.weight[head * size : (head + 1) * size]
        query *= 0.1
        query[:half, CONSTANT], query[half:, CONSTANT] = (
            gain * frequency.cos()[:, None],
            -gain * frequency.sin()[:, None],
        )
        _write(first.o_proj.weight[:, head * size : (head + 1) * size], BEFORE, 3 * SPREAD / spread)

    # Induction: this token against the token before each earlier one; then write what that earlier one is.
    second: Any = model.model.layers[1].self_attn
    pairs = torch.arange(SLOW, half)
    rows = torch.cat((pairs, pairs + half))
    for group in (0, 1):
        match = MATCH**0.5 * torch.linalg.qr(torch.randn(size, size))[0][: len(rows)]
        span = slice(size * group, size * (group + 1))
        key = second.k_proj.weight[span]
        key *= 0.1
        key[rows, BEFORE] += match
        _read(second.v_proj.weight[span], span)
        for head in (2 * group, 2 * group + 1):
            query = second.q_proj.weight[head * size : (head + 1) * size]
            query *= 0.1
            query[rows, :size] += match
            _write(second.o_proj.weight[:, head * size : (head + 1) * size], span, WRITE * SPREAD / spread)

    # Later layers: attention that is still even and carries over what the tokens are, so that what has been in the
    # story is likelier to come again, and to learn where to look is all that is left.
    for layer in model.model.layers[2:]:
        later: Any = layer.self_attn
        for group in range(c.num_key_value_heads):
            span = slice(size * group, size * (group + 1))
            _read(later.v_proj.weight[span], span)
            for head in (2 * group, 2 * group + 1):
                _write(later.o_proj.weight[:, head * size : (head + 1) * size], span, CARRY * SPREAD / spread)


def _read(value: Tensor, source: slice) -> None:
    """value: [head_dim, hidden]: the head carries the numbers of ``source``."""
    value.zero_()
    value[:, source] = torch.eye(len(value))


def _write(output: Tensor, target: slice, gain: float) -> None:
    """output: [hidden, head_dim]: what the head carries is added to ``target``."""
    output.zero_()
    output[target] = gain * torch.eye(output.shape[1])
