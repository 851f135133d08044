"""Every kind of product that this processor can run passes the same tests."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lilims.kernels import features

HERE = Path(__file__).parent


@pytest.mark.parametrize("name", ["plain", "avx2", "avxvnni", "avx512vnni", "dotprod"])
def test_products(name: str) -> None:
    environment = {**os.environ, "LILIMS_KERNELS_FEATURES": name}
    code = "from lilims.kernels import features; print(features())"
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    if found.stdout.strip() != name:
        pytest.skip(f"this processor cannot run {name}")
    if name == features():
        return  # the other files have tested these
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(HERE / "test_linear.py")]
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout[-4000:]
