"""A stand-in for the engine that says what a script says, at the pace of a test: what the page does is tested with it.

A question picks its answer by its words; `hold` keeps an answer from going on until a test lets it.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from lilims.core.errors import ContextOverflowError
from lilims.ui.engine import Card
from lilims.ui.web.answers import Asked

CODE = """Here is a function that **doubles** a number:

```python
def double(number: int) -> int:
    \"\"\"Twice the number.\"\"\"
    return 2 * number  # nothing more to it
```

| input | output |
|------:|-------:|
| 2     | 4      |
| 21    | 42     |

1. It takes a whole number.
2. It returns `2 * number`, as [the reference](https://docs.python.org/3/) says.

> Simple things should stay simple.
"""
HOSTILE = (
    'Look: <img src="https://evil.example/x.png" onerror="document.title=\'owned\'">'
    ' <script>document.title="owned"</script>'
    " ![pixel](https://evil.example/p.png) [click](javascript:document.title='owned')"
)
WORDS = "The quick brown fox jumps over the lazy dog and tells a long story about it. "


_QUALITY = {
    "text": "wiki.test", "tokens": 40960, "perplexity": 12.417, "reference": "fp16", "divergence": 0.0183,
    "same_top": 0.957,
}  # fmt: skip
_TALKER: dict[str, Any] = {
    "bytes": 1_240_000_000, "context": 4096, "parameters": 1_236_000_000, "scheme": "int4", "chats": True
}  # fmt: skip
_STORIES: dict[str, Any] = {
    "bytes": 3_400_000, "context": 512, "parameters": 3_300_000, "scheme": "int4", "chats": False
}  # fmt: skip
CARDS = [
    Card("stories", ("stories-int4",), bits_per_weight=4.61, built_in=True, loaded=True, **_STORIES),
    Card("talker", bits_per_weight=4.52, quality=(_QUALITY,), **_TALKER),
    Card("broken", bytes=12_000_000, problem="asks for lilims 9"),
]


@dataclass
class Piece:
    """A token."""

    text: str = ""
    reasoning: str = ""


@dataclass
class ScriptedJob:
    """An answer that comes word by word."""

    pieces: list[Piece]
    pace: float
    gate: asyncio.Event | None
    prompt: int = 20
    made: int = 0
    cancelled: bool = False
    began: float = field(default_factory=time.monotonic)
    finish: str = "stop"

    async def __aiter__(self) -> AsyncIterator[Piece]:
        for index, piece in enumerate(self.pieces):
            if self.gate is not None and index == 6:
                while not self.gate.is_set() and not self.cancelled:
                    await asyncio.sleep(0.01)
            await asyncio.sleep(self.pace)
            if self.cancelled:
                return
            self.made += 1
            yield piece

    def cancel(self) -> None:
        self.cancelled = True

    def figures(self) -> dict[str, Any]:
        return {
            "prompt_tokens": self.prompt,
            "generated_tokens": self.made,
            "time_to_first_token": 0.042,
            "tokens_per_second": 48.0,
            "finish_reason": "interrupt" if self.cancelled else self.finish,
        }


class Scripted:
    """Cards and answers. Attributes: `asked`, every request so far; `gate`, which answers with `hold` wait for;
    `prompt`, tokens that each prompt has, or None."""

    def __init__(self, pace: float = 0.0) -> None:
        self.pace = pace
        self.asked: list[Asked] = []
        self.gate = asyncio.Event()
        self.prompt: int | None = None

    def cards(self) -> list[Card]:
        return CARDS

    async def __call__(self, asked: Asked) -> ScriptedJob:
        self.asked.append(asked)
        text = str(asked.path[-1]["content"]) if asked.path else ""
        if "overflow" in text:
            raise ContextOverflowError("the prompt has 9000 tokens, the context 4096")
        number = len(self.asked)
        answers = {
            "code": CODE,
            "hostile": HOSTILE,
            "long": WORDS * 12,
            "rude": "You are nice. You stupid fucking idiot. Bye.",
        }
        answer = next((found for word, found in answers.items() if word in text), f"Answer {number} to: {text}")
        if asked.so_far:
            answer = " … and so it went on."
        pieces = [Piece(text=part) for part in re.findall(r"\S+\s*|\s+", answer)]
        if "think" in text:
            pieces = [Piece(reasoning="First I consider it. "), Piece(reasoning="Then I decide."), *pieces]
        job = ScriptedJob(pieces, self.pace, self.gate if "hold" in text else None)
        job.prompt = self.prompt or 20 + len(text) // 4
        if "cut" in text:
            job.finish = "length"
        return job
