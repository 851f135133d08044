"""Damage to specifications, the same for the same seed."""

from __future__ import annotations

import random
from typing import Any


def damaged(spec: Any, seed: int) -> bytes:
    """A specification's bytes with some changed, cut out or cut off."""
    rng = random.Random(seed)
    data = bytearray(spec.SerializeToString())
    for _ in range(rng.choice((1, 2, 4))):
        place = rng.randrange(len(data))
        if rng.random() < 0.7:
            data[place] = rng.randrange(256)
        else:
            del data[place : place + rng.choice((1, 8, len(data)))]
        data = data or bytearray(1)
    return bytes(data)
