"""What telemetry costs: `python tools/measure_telemetry.py FOLDER [--rounds N] [--tokens N]`.

Prints the time of a generation with and without a recorder, in turns on one thread, and their difference; what one
record costs the thread that makes it, and what it costs with its writing; and how much longer a command takes to start
where telemetry is on.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from lilims.core.events import emit
from lilims.runtime import Model, load
from lilims.telemetry import listen

COMMAND = "import sys; from lilims.core.cli import main; main(['ls'])"


def generation(model: Model, tokens: int) -> float:
    """Seconds of a whole generation, from the call to its last token."""
    start = time.perf_counter()
    for _ in model.generate("Once upon a time", max_tokens=tokens, ignore_eos=True):
        pass
    return time.perf_counter() - start


def decoding(model: Model, path: Path, rounds: int, tokens: int) -> None:
    times: dict[bool, list[float]] = {False: [], True: []}
    for number in range(2 * rounds + 2):
        on = number % 2 == 1
        listening = listen(path) if on else None
        taken = generation(model, tokens)
        time.sleep(0.3)  # the writing falls between two generations, as between two questions
        if listening is not None:
            listening.stop()
        if number > 1:
            times[on].append(taken)
    off, on_ = (statistics.median(times[on]) for on in (False, True))
    pairs = [b / a - 1 for a, b in zip(times[False], times[True], strict=True)]
    print(f"{tokens} tokens without {off * 1000:.2f} ms, with {on_ * 1000:.2f} ms (medians of {rounds})")
    print(f"difference in pairs: median {100 * statistics.median(pairs):+.2f} %")


def record(model: Model, path: Path, tokens: int) -> None:
    """A record's cost to the thread that generates, and all of it with the writing, each record written by itself."""
    fields = {**model._about(chat=False), **model.stats.as_dict(), "seconds": model.stats.seconds}
    decoded = model.stats.decode_seconds
    listening = listen(path)
    start = time.perf_counter()
    for _ in range(1000):
        emit("generate.done", **fields)
    one = (time.perf_counter() - start) / 1000
    time.sleep(1)
    start = time.process_time()
    for _ in range(20):
        emit("generate.done", **fields)
        time.sleep(0.3)
    whole = (time.process_time() - start) / 20
    listening.stop()
    print(f"{tokens} tokens decoded in {decoded * 1000:.0f} ms")
    print(f"a record, to the thread that generates: {one * 1e6:.0f} µs, {100 * one / decoded:.4f} %")
    print(f"a record, all of its processor time: {whole * 1e6:.0f} µs, {100 * whole / decoded:.3f} %")


def starting(home: Path, rounds: int) -> None:
    times: dict[bool, list[float]] = {False: [], True: []}
    switch = home / "telemetry" / "on"
    switch.parent.mkdir(parents=True, exist_ok=True)
    for number in range(2 * rounds):
        on = number % 2 == 1
        switch.touch() if on else switch.unlink(missing_ok=True)
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", COMMAND], env={**os.environ, "LILIMS_HOME": str(home)},
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)  # fmt: skip
        times[on].append(time.perf_counter() - start)
    off, on_ = (1000 * statistics.median(times[on]) for on in (False, True))
    print(f"`lilims ls` while off {off:.0f} ms, while on {on_:.0f} ms (medians of {rounds})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--tokens", type=int, default=200)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model, path = load(given.folder, executor="portable", threads=1), Path(folder) / "t" / "telemetry.sqlite3"
        decoding(model, path, given.rounds, given.tokens)
        record(model, path, given.tokens)
        starting(Path(folder), given.rounds // 2)


if __name__ == "__main__":
    main()
