"""What tests of several packages use: data that is not part of the project, and interrupts at a chosen line.

Must not import anything but pytest and the standard library.
"""

from __future__ import annotations

import linecache
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

__all__ = ["interrupted", "test_data"]

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


def interrupted(line: int, work: Callable[[], object], *places: str) -> bool:
    """Runs something and raises `KeyboardInterrupt`, as Ctrl-C does, at the `line`-th line of it that is executed.

    Lines that begin a `with` do not count: tracing them also stops before a lock is given back, where no signal comes.

    Args:
        places: folders or file names; only lines of files that have one of them in their path count.

    Returns:
        False where it has fewer lines, and ended.
    """
    seen = 0

    def count(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal seen
        source = linecache.getline(frame.f_code.co_filename, frame.f_lineno)
        if event == "line" and not source.strip().startswith("with "):
            seen += 1
            if seen == line:
                sys.settrace(None)
                raise KeyboardInterrupt
        return count

    def trace(frame: FrameType, event: str, argument: Any) -> Any:
        return count if set(places) & set(Path(frame.f_code.co_filename).parts) else None

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False
