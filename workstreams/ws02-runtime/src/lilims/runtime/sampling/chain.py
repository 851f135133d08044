"""The order in which logits become the distribution that a token is drawn from.

Knows the table of steps. Must not know formulas (penalties.py, filters.py) nor random numbers.

The order is that of transformers' `generate` (5.x):

    1. logit_bias           added to the logits
    2. repetition_penalty   tokens of prompt and answer
    3. frequency_penalty    tokens of the answer, by their count    (OpenAI's; transformers has neither)
    4. presence_penalty     tokens of the answer
    5. constraint           what a grammar does not allow is -inf   (as transformers' prefix_allowed_tokens_fn)
    --- greedy (temperature 0) ends here: the largest logit, of equal ones the lowest id
    6. temperature          (logits - max) / T
    7. top_k                the k likeliest
    8. top_p                the fewest likeliest that reach p
    9. min_p                those at least p times as likely as the likeliest
    10. typical_p           the fewest of typical information content that reach p

Step 7 is computed before step 6, on fewer numbers: temperature keeps the order, so the same tokens remain.

llama.cpp's default order is another one: penalties, top-k, typical, top-p, min-p, temperature. There the temperature
comes last, so its top-p and min-p look at the distribution at temperature 1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .candidates import Candidates, Values, precise
from .filters import keep_min_p, keep_top_k, keep_top_p, keep_typical, scale
from .parameters import SamplingParameters
from .penalties import History, add_bias, penalise_frequency, penalise_presence, penalise_repetition

__all__ = ["PROCESSORS", "WARPERS", "process", "warp"]

PROCESSORS: dict[str, Callable[[Values, History, Any], None]] = {
    "logit_bias": lambda logits, history, value: add_bias(logits, value),
    "repetition_penalty": penalise_repetition,
    "frequency_penalty": penalise_frequency,
    "presence_penalty": penalise_presence,
}
"""Field of `SamplingParameters` → what it does to the logits of a whole vocabulary, in place."""

WARPERS: dict[str, Callable[[Candidates, Any], Candidates]] = {
    "top_k": keep_top_k,
    "temperature": scale,
    "top_p": keep_top_p,
    "min_p": keep_min_p,
    "typical_p": keep_typical,
}
"""Field of `SamplingParameters` → what it leaves of the candidates."""


def process(
    logits: Values, parameters: SamplingParameters, history: History, allowed: NDArray[np.bool_] | None = None
) -> Values:
    """Steps 1 to 5, on a copy of the logits [vocab].

    Args:
        allowed: bool [vocab], what a constraint lets through.
    """
    copied = precise(logits, copy=True)
    for name, step in PROCESSORS.items():
        if parameters.changed(name):
            step(copied, history, getattr(parameters, name))
    if allowed is not None:
        np.copyto(copied, -np.inf, where=~allowed)
    return copied


def warp(logits: Values, parameters: SamplingParameters) -> Candidates:
    """Steps 6 to 10. The temperature is above 0; the logits stay as they are."""
    found = Candidates(None, logits)
    for name, step in WARPERS.items():
        if parameters.changed(name):
            found = step(found, getattr(parameters, name))
    return found
