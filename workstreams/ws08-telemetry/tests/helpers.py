"""A generation's event, and programs that run beside a test."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

MODEL = "ab" * 32


def done(**changes: Any) -> dict[str, Any]:
    """The fields of `generate.done` as the runtime tells them."""
    return {
        "operation": "chat",
        "model": MODEL,
        "executor": "portable",
        "precision": "fast",
        "prompt_tokens": 12,
        "reused_tokens": 4,
        "generated_tokens": 40,
        "time_to_first_token": 0.25,
        "prefill_tokens_per_second": 32.0,
        "decode_tokens_per_second": 20.0,
        "drafted_tokens": 0,
        "accepted_tokens": 0,
        "speedup": None,
        "peak_rss": 123_000_000,
        "finish_reason": "stop",
        "constraint_met": None,
        "seed": 7,
        "seconds": 2.2,
        **changes,
    }


def start(program: str, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    """Runs a Python program with this test's home."""
    return subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of a program."""
    out, err = process.communicate(timeout=120)
    return process.returncode, out, err


def wait_for(ready: Callable[[], Any]) -> Any:
    """What `ready` returns once it is true."""
    until = time.monotonic() + 60
    while not (found := ready()):
        assert time.monotonic() < until, "nothing came within a minute"
        time.sleep(0.02)
    return found


LILIMS = "import sys; from lilims.core.cli import main; main(sys.argv[1:])"
"""The command line as a program."""
