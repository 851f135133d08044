"""The package's public names, and what importing it costs."""

from __future__ import annotations

import subprocess
import sys

import pytest

import lilims.ui as package


def test_names_are_there() -> None:
    assert [name for name in package.__all__ if not hasattr(package, name)] == []
    assert sorted(package.__all__) == dir(package) == sorted(package._HOMES)
    with pytest.raises(AttributeError):
        _ = package.nothing


@pytest.mark.parametrize("module", ["lilims.ui", "lilims.ui.commands.serve", "lilims.ui.commands.ps"])
def test_importing_is_cheap(module: str) -> None:
    code = f"import sys, {module}; print([n for n in {HEAVY!r} if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


HEAVY = ("asyncio", "numpy", "pydantic", "starlette", "uvicorn", "httpx2", "rich", "prometheus_client", "onnxruntime")
