"""Ask Core ML a ladder of small questions, each in a process of its own.

Knows its options. Must not know what is asked, nor how.
"""

from __future__ import annotations

from typing import Any

from lilims.core import cli

from .asking import ask_all, asking_options

__all__ = ["command"]


@cli.command("probes", epilog="Example: lilims ci probes --compute-units CPU_AND_GPU --artefact probes.json")
@asking_options
def command(**options: Any) -> None:
    """Ask Core ML a ladder of small questions, each in a process of its own.

    A probe that crashes, hangs or raises does not stop the others. Where there is no Core ML, the portable executor
    stands in for it, and the report says so. Exits with 1 where a probe does not pass. docs/macos-ci.md
    """
    from ..macos.ladder import LADDER

    ask_all("probes", "Probes", LADDER, options)
