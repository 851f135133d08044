"""How long a child process takes to start, and what a token costs in one: `python tools/measure_isolation.py FOLDER`.

Prints milliseconds: the tenth percentile of 400 tokens, twice each way, in turns, on one thread.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from lilims.runtime import Model, load
from lilims.runtime.isolation import IsolationHost


def token_time(model: Model) -> float:
    """Seconds of one token behind three others."""
    session, times = model.session(), []
    session.append([1, 2, 3])
    for _ in range(400):
        start = time.perf_counter()
        session.append([5])
        times.append(time.perf_counter() - start)
        session.rewind(1)
    return sorted(times)[len(times) // 10]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    folder = parser.parse_args().folder
    host = IsolationHost()
    start = time.perf_counter()
    host.request({"op": "hello"}, timeout=60)
    print(f"start of the child {1e3 * (time.perf_counter() - start):.0f} ms")
    host.close()
    here = load(folder, executor="portable", threads=1)
    there = load(folder, executor="portable", threads=1, isolate=True)
    for _ in range(2):
        for name, model in (("in this process", here), ("in the child", there)):
            print(f"a token {name} {1e3 * token_time(model):.2f} ms")


if __name__ == "__main__":
    main()
