"""Many clients at once, in small; `load.py` is the tool, and docs/server.md has what it gave at full size."""

from __future__ import annotations

import asyncio
from pathlib import Path

from .load import Figures, Server, load, tasks


def test_no_answer_is_lost_or_mixed_up_though_the_server_is_killed(shared_home: Path) -> None:
    work = tasks(60, distinct=12)

    async def main() -> Figures:
        server = Server("--parallel", "8", "--queue", "8")
        await server.start()
        try:
            return await load(server, work, 16, kill=True, leave=0.1)
        finally:
            server.stop()

    figures = asyncio.run(main())
    assert figures.wrong == []
    assert figures.right + figures.left == len(work) and figures.left > 0
    assert sum(figures.asked_again.values()) > 0, "the kill, or a full queue, was noticed"
