"""Models that chat, and programs at a terminal of their own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

TEMPLATE = (
    "{% for message in messages %}{{ message.role }}:{{ message.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant:{% endif %}"
)
PLAIN = {"PROMPT_TOOLKIT_NO_CPR": "1"}  # nobody here tells where the cursor is
LILIMS = "import sys; from lilims.core.cli import main; main(sys.argv[1:])"


def chatty(home: Path, folder: Path, template: str = TEMPLATE) -> Path:
    """The built-in model with a chat template. It answers nonsense, in the form of a chat."""
    made = folder / "chatty"
    shutil.copytree(home / "models" / "stories-int4", made)
    (made / "chat_template.jinja").write_text(template, "utf-8")
    return made


def piped(*arguments: object, text: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """`lilims` with a pipe on every stream."""
    return subprocess.run(
        [sys.executable, "-c", LILIMS, *map(str, arguments)],
        env={**os.environ, **environment},
        input=text,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=300,
    )


def at_terminal(*arguments: object, **environment: str) -> Any:
    """`lilims` at a terminal of its own: a pexpect process."""
    import pexpect

    return pexpect.spawn(
        sys.executable,
        ["-c", LILIMS, *map(str, arguments)],
        env={**os.environ, "TERM": "xterm", "NO_COLOR": "1", **PLAIN, **environment},
        dimensions=(40, 160),
        timeout=120,
        encoding="utf-8",
    )


def contents(messages: Sequence[Any]) -> list[str]:
    return [message["content"] for message in messages]
