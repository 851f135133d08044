"""Compare Core ML with the exact portable executor in what users do, and tell the differences.

Knows its options. Must not know what is compared, nor how.
"""

from __future__ import annotations

from typing import Any

from lilims.core import cli

from .asking import ask_all, asking_options

__all__ = ["command"]


@cli.command("behaviour", epilog="Example: lilims ci behaviour --only generate-int4 --artefact behaviour.json")
@asking_options
def command(**options: Any) -> None:
    """Compare Core ML with the exact portable executor in what users do, and tell the differences.

    The built-in model is converted once in each form; every case loads it on both executors, in a process of its own.
    Where there is no Core ML, the portable executor's fp16 stands in for it. Exits with 1 where a case does not pass.
    docs/macos-ci.md
    """
    from ..macos.behaviour import BEHAVIOUR

    ask_all("behaviour", "Behaviour", BEHAVIOUR, options)
