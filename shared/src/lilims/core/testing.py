"""Where tests find the data that is not part of the project.

Knows the folder and what to do without it. Must not import anything but pytest and the standard library.
"""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["test_data"]

_DEFAULT = Path(__file__).resolve().parents[5] / "shared" / "data"  # beside the checkout: ../shared/data


def test_data(relative: str) -> Path:
    """The path of a file or folder of the test data (`../shared/data`, or `LILIMS_TEST_DATA`).

    Skips the test where it is absent; fails it instead when `LILIMS_REQUIRE_TEST_DATA=1`.
    """
    import pytest

    path = Path(os.environ.get("LILIMS_TEST_DATA", _DEFAULT)) / relative
    if not path.exists():
        if os.environ.get("LILIMS_REQUIRE_TEST_DATA") == "1":
            pytest.fail(f"test data is required but absent: {path}")
        pytest.skip(f"no test data at {path}")
    return path


test_data.__test__ = False  # type: ignore[attr-defined]  # pytest would collect it by its name
