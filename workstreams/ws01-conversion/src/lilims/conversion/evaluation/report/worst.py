"""The places of a text where a model is worst: furthest from its reference, or else most surprised.

Knows scores, windows and the tokenizer. Must not know pages. Texts are given as they are: whoever shows them escapes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lilims.tokenizer import Tokenizer

from ..measure import Evaluation

__all__ = ["Place", "worst"]

_BEFORE, _AFTER = 24, 8  # tokens that are shown around
_APART = 8  # tokens between two places


@dataclass(frozen=True)
class Place:
    """A token that counts, with what stands around it.

    Attributes:
        at: where it stands in the text, in tokens.
        before, token, after: the text.
        nll: nats. `reference_nll`, `divergence`: None without a reference.
    """

    at: int
    before: str
    token: str
    after: str
    nll: float
    reference_nll: float | None
    divergence: float | None


def worst(found: Evaluation, tokenizer: Tokenizer, count: int = 10) -> list[Place]:
    """The worst places, none within 8 tokens of another."""
    scores = found.scores
    values = scores.divergence if scores.compared else scores.nll
    owner = np.repeat(np.arange(len(found.windows)), [len(window.targets) for window in found.windows])
    first = np.concatenate([[0], np.cumsum([len(window.targets) for window in found.windows])])
    places: list[Place] = []
    for index in np.argsort(-values, kind="stable").tolist():
        if len(places) == count:
            break
        window = found.windows[owner[index]]
        inside = window.first + 1 + index - int(first[owner[index]])
        at = window.start + inside
        if any(abs(at - other.at) < _APART for other in places):
            continue
        ids = window.ids
        places.append(
            Place(
                at=at,
                before=_spell(tokenizer, ids[max(0, inside - _BEFORE) : inside]),
                token=_after(tokenizer, ids[max(0, inside - 1) : inside], ids[inside]),
                after=_after(tokenizer, ids[inside : inside + 1], *ids[inside + 1 : inside + 1 + _AFTER]),
                nll=float(scores.nll[index]),
                reference_nll=float(scores.reference_nll[index]) if scores.compared else None,
                divergence=float(scores.divergence[index]) if scores.compared else None,
            )
        )
    return places


def _spell(tokenizer: Tokenizer, ids: tuple[int, ...]) -> str:
    return tokenizer.decode(ids, skip_special_tokens=False)


def _after(tokenizer: Tokenizer, before: tuple[int, ...], *ids: int) -> str:
    """What `ids` spell behind `before`: a decoder may drop the space before a text's first word."""
    whole, head = _spell(tokenizer, (*before, *ids)), _spell(tokenizer, before)
    return whole[len(head) :] if whole.startswith(head) else _spell(tokenizer, ids)
