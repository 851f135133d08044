"""Values that are possible, and the line that a user reads about others."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest

from lilims.core.errors import UsageError
from lilims.runtime.sampling import SamplingParameters


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"temperature": -0.1}, "temperature must be 0"),
        ({"temperature": math.nan}, "temperature"),
        ({"temperature": math.inf}, "temperature"),
        ({"temperature": "1"}, "temperature"),
        ({"temperature": True}, "temperature"),
        ({"top_k": -1}, "top-k"),
        ({"top_k": 1.5}, "top-k must be a whole number"),
        ({"top_p": 0.0}, "top-p"),
        ({"top_p": 1.1}, "top-p"),
        ({"top_p": math.nan}, "top-p"),
        ({"min_p": -0.1}, "min-p"),
        ({"min_p": 1.01}, "min-p"),
        ({"typical_p": 0}, "typical-p"),
        ({"repetition_penalty": 0}, "repetition-penalty"),
        ({"repetition_penalty": math.inf}, "repetition-penalty"),
        ({"frequency_penalty": math.nan}, "frequency-penalty"),
        ({"presence_penalty": -math.inf}, "presence-penalty"),
        ({"presence_penalty": None}, "presence-penalty"),
        ({"seed": -1}, "seed"),
        ({"seed": 0.5}, "seed"),
        ({"logprobs": -1}, "logprobs"),
        ({"logit_bias": [1, 2]}, "logit-bias"),
        ({"logit_bias": {"1": 2.0}}, "ids"),
        ({"logit_bias": {-1: 2.0}}, "ids"),
        ({"logit_bias": {1: math.nan}}, "token 1"),
        ({"logit_bias": {1: math.inf}}, "token 1"),
        ({"logit_bias": {1: "much"}}, "token 1"),
    ],
    ids=str,
)
def test_values_out_of_range(parameters: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        SamplingParameters(**parameters)


def test_numbers_of_numpy_are_numbers() -> None:
    given: dict[str, Any] = {"temperature": np.float32(0.5), "top_k": np.int64(3), "logit_bias": {np.int64(2): 1}}
    parameters = SamplingParameters(**given)
    assert parameters.changed("top_k")
    assert parameters.logit_bias == {2: 1.0}


def test_defaults_change_nothing_and_are_greedy() -> None:
    parameters = SamplingParameters()
    assert not any(parameters.changed(field.name) for field in dataclasses.fields(parameters))
    assert parameters.temperature == 0


def test_they_are_frozen() -> None:
    bias = {1: 2.0}
    parameters = SamplingParameters(logit_bias=bias)
    bias[1] = 3.0
    assert parameters.logit_bias == {1: 2.0}
    assert hash(parameters) == hash(SamplingParameters(logit_bias={1: 2.0}))
    with pytest.raises(dataclasses.FrozenInstanceError):
        parameters.top_k = 3  # type: ignore[misc]
