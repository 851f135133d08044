"""Hostile packages end in one line that says what is wrong: no crash, no hang, no memory out of proportion.

hostile.py makes them; each is described, opened and run in a process of its own (hostile_child.py) that has 1 GB.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from .hostile import CASES

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are limited and measured as Linux has it")
FACTOR, BASE = 4, 128 << 20  # memory to open a package: times its size, and bytes that any takes
HARMLESS = ("two-blobs-in-one-place", "division", "the-least-by-minus-one")
MEMORY = ("fill", "tile", "pad", "range", "one-hot", "resize", "doubling", "folded-doubling", "a-loop-that-grows")

SAYS = {
    "cut-off": "not a Core ML model specification",
    "types-in-types": "not a Core ML model specification",
    "blocks-in-blocks": "1 branches, not 2",
    "cycle": "'b' is used before it is computed",
    "an-op-of-itself": "'y' is used before it is computed",
    "unknown-value": "'nowhere' is used before it is computed",
    "inputs-of-one-name": "'x' is defined twice",
    "a-value-of-an-inputs-name": "'x' is defined twice",
    "no-output": "gives nothing",
    "rank-of-a-thousand": "1000 dimensions",
    "input-of-2-to-the-63": "a dimension of 9223372036854775808",
    "unknown-dimension-of-a-literal": "unknown dimension",
    "optional-input-of-absurd-shape": "the optional input 'z' has the default shape",
    "optional-input-of-negative-shape": r"the optional input 'z' has the default shape \[-5\]",
    "name-of-thirty-megabytes": "op made_up of opset CoreML8 is not known",
    "thousands-of-functions": "no block for its opset",
    "blob-without-sentinel": "no metadata record at offset 64",
    "blob-of-another-type": "holds uint8, not fp32",
    "blob-of-unknown-type": "unknown element type 99",
    "blob-of-another-size": "holds 12 bytes",
    "blob-behind-the-file": "leave the file",
    "blob-around-the-end": "leave the file",
    "blob-whose-sum-overflows": "leave the file",
    "blob-file-cut-off": "leave the file",
    "blob-file-cut-in-the-record": "no place for a record",
    "blob-file-empty": "not a blob file",
    "offset-negative": "no place for a record",
    "offset-behind": "no place for a record",
    "offset-astride": "no place for a record",
    "blob-of-absurd-shape": "holds 8 bytes",
    "no-blob-file": "lacks this file",
    "windows": "a table of 1073741824 × 1 numbers",
    "batch-norm": "a table of 8589934592 numbers",
    "slice-update": "a table of 8589934592 × 1 numbers",
    "conv-without-groups": "0 groups",
    "conv-transpose-without-groups": "0 groups",
    "local-norm": "a window of 1073741824 channels",
    "integers-by-zero": "the program failed",
    "a-loop-without-end": "did not end within 1 s",
    **dict.fromkeys(MEMORY, "for want of memory"),
}


@cache
def outcomes(folder: Path) -> dict[str, Any]:
    """What came of every package, by name; and its size."""
    child = Path(__file__).parent / "hostile_child.py"
    done = subprocess.run([sys.executable, str(child), str(folder)], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    found = {}
    for line in done.stdout.splitlines():
        result = json.loads(line)
        package = folder / f"{result['name']}.mlpackage"
        size = sum(file.stat().st_size for file in package.rglob("*") if file.is_file())
        found[result["name"]] = {**result, "size": size}
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("hostile")


@pytest.mark.parametrize("name", CASES)
def test_a_hostile_package(name: str, folder: Path) -> None:
    found = outcomes(folder)[name]
    if name in HARMLESS:
        assert found["error"] == "", found
    else:
        assert re.fullmatch(r"\w+Error", found["error"]), found
        assert re.search(SAYS.get(name, "."), found["says"]), found["says"]
        assert "\n" not in found["says"] and len(found["says"]) < 2000
    assert found["opened"] < FACTOR * found["size"] + BASE


def test_only_those_meant_are_expected() -> None:
    assert {*SAYS, *HARMLESS} <= set(CASES)
