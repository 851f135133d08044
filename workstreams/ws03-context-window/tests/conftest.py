"""Rotary configs shared by the tests: one per scaling rule, as config.json spells them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import settings

settings.register_profile("lilims", deadline=None)
settings.load_profile("lilims")

BASE = {"hidden_size": 256, "num_attention_heads": 4, "max_position_embeddings": 4096, "rope_theta": 10000.0}
SCALINGS: dict[str, dict[str, Any]] = {
    "default": {},
    "linear": {"rope_type": "linear", "factor": 4.0},
    "dynamic": {"rope_type": "dynamic", "factor": 2.0},
    "llama3": {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 1024,
    },
    "yarn": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 1024},
    "yarn-mscale": {
        "rope_type": "yarn",
        "factor": 40.0,
        "mscale": 0.707,
        "mscale_all_dim": 1.3,
        "beta_fast": 16,
        "beta_slow": 2,
        "truncate": False,
        "original_max_position_embeddings": 1024,
    },
    "longrope": {
        "rope_type": "longrope",
        "short_factor": [1.0 + i / 100 for i in range(32)],
        "long_factor": [1.5 + i / 7 for i in range(32)],
        "original_max_position_embeddings": 1024,
    },
}


@pytest.fixture(params=SCALINGS)
def scaling(request: pytest.FixtureRequest) -> tuple[str, dict[str, Any]]:
    """The name of a rule and a config.json that uses it."""
    return request.param, {**BASE, "rope_scaling": SCALINGS[request.param] or None}
