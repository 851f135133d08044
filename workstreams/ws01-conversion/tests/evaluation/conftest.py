"""stories260K's packages, and a text."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lilims.conversion import convert, evaluate
from lilims.conversion.evaluation.measure import Evaluation
from lilims.conversion.evaluation.texts import Text
from lilims.core.testing import test_data

STORY = (
    "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. One day, she saw a "
    "big, red ball – it was a naïve ball. She wanted to play with it, but it was too high. Her mom said, “Be careful!” "
)
TEXT = Text("story", STORY * 4)
Made = Callable[[str], Path]


@pytest.fixture(scope="package")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """stories260K in a scheme."""
    folders: dict[str, Path] = {}

    def make(scheme: str) -> Path:
        if scheme not in folders:
            folders[scheme] = tmp_path_factory.mktemp("m") / scheme
            convert(test_data("models/stories260K"), folders[scheme], quantize=scheme)
        return folders[scheme]

    return make


@pytest.fixture(scope="package")
def compared(made: Made) -> Evaluation:
    return evaluate(made("int4"), TEXT, reference=made("fp16"), context=64, jobs=1)
