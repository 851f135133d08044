"""Settings whose distributions are compared with transformers', and how transformers computes them.

`tools/record_sampling_references.py` records them for the suite that has no torch.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lilims.runtime.sampling import Sampler, SamplingParameters

VOCAB = 120
PROMPT = [3, 5, 8, 13, 21, 5]
ANSWER = [2, 3, 2, 119]

CASES: dict[str, dict[str, Any]] = {
    "temperature-low": {"temperature": 0.3},
    "temperature-high": {"temperature": 3.0},
    "top-k": {"temperature": 1.0, "top_k": 7},
    "top-p": {"temperature": 1.0, "top_p": 0.8},
    "top-p-hot": {"temperature": 2.5, "top_p": 0.97},
    "min-p": {"temperature": 1.5, "min_p": 0.05},
    "typical": {"temperature": 1.0, "typical_p": 0.6},
    "typical-hot": {"temperature": 2.0, "typical_p": 0.95},
    "repetition": {"temperature": 1.0, "repetition_penalty": 1.4},
    "repetition-wanted": {"temperature": 1.0, "repetition_penalty": 0.7},
    "bias": {"temperature": 1.0, "logit_bias": {7: 4.0, 8: -4.0, 100: -100.0}},
    "top-k-then-top-p": {"temperature": 1.3, "top_k": 30, "top_p": 0.7},
    "top-p-then-min-p": {"temperature": 1.3, "top_p": 0.9, "min_p": 0.1},
    "min-p-then-typical": {"temperature": 1.3, "min_p": 0.02, "typical_p": 0.7},
    "bias-then-repetition": {"temperature": 1.0, "logit_bias": {3: 5.0, 13: -3.0}, "repetition_penalty": 1.3},
    "everything": {
        "temperature": 1.7, "top_k": 60, "top_p": 0.92, "min_p": 0.01, "typical_p": 0.9,
        "repetition_penalty": 1.2, "logit_bias": {3: 2.0, 20: 1.5},
    },
}  # fmt: skip


def logits(seed: int) -> NDArray[np.float32]:
    """float32 [VOCAB], without equal ones."""
    values = np.random.Generator(np.random.PCG64(seed)).standard_normal(VOCAB) * 2.5
    return values.astype(np.float32)


def ours(parameters: dict[str, Any], values: NDArray[np.float32]) -> NDArray[np.float64]:
    """The distribution after PROMPT and ANSWER, float64 [VOCAB]."""
    sampler = Sampler(SamplingParameters(seed=0, **parameters))
    sampler.observe(PROMPT)
    for token in ANSWER:
        sampler.accept(token)
    tokens, shares = sampler.distribution(values)
    found = np.zeros(len(values))
    found[tokens] = shares
    return found


def theirs(parameters: dict[str, Any], values: NDArray[np.float32]) -> NDArray[np.float64]:
    """What transformers' `generate` would draw from: its own processors, in its own order."""
    import torch
    from transformers import GenerationConfig, GenerationMixin, LogitsProcessorList

    class Bare(GenerationMixin):  # type: ignore[misc]
        config = SimpleNamespace(is_encoder_decoder=False)

    settings = {"top_k": 0, **parameters}
    bias = settings.pop("logit_bias", None)
    if bias:
        settings["sequence_bias"] = {(token,): value for token, value in bias.items()}
    config = GenerationConfig(do_sample=True, **settings)
    ids = torch.tensor([PROMPT + ANSWER])
    processors = Bare()._get_logits_processor(
        generation_config=config,
        input_ids_seq_length=len(PROMPT),
        encoder_input_ids=ids,
        logits_processor=LogitsProcessorList(),
    )
    scores = processors(ids, torch.from_numpy(values.astype(np.float64))[None])
    return np.asarray(scores.softmax(-1)[0], np.float64)
