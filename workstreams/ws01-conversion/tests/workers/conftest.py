"""stories260K in two schemes, and a text."""

from __future__ import annotations

from pathlib import Path

import pytest

from lilims.conversion import convert
from lilims.conversion.evaluation.texts import Text
from lilims.core.testing import test_data

STORY = "Once upon a time, there was a little girl named Lily. She loved to play outside in the park. "


@pytest.fixture(scope="session")
def story(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Text]:
    """A model, its reference, and a text of many windows."""
    folder = tmp_path_factory.mktemp("story")
    for scheme in ("int4", "fp16"):
        convert(test_data("models/stories260K"), folder / scheme, quantize=scheme)
    return folder / "int4", folder / "fp16", Text("story", STORY * 16)
