"""Feeds damaged files to every reader and watches: no crash, no hang, no allocation out of proportion.

    python tools/fuzz_readers.py --minutes 10 --seed 1         all readers, in turn
    python tools/fuzz_readers.py --case "spec:1:4711"          one case again: its files, and its traceback

A finding is an error that is not a LilimsError, a process that dies, more than a second of processor time, or memory
of more than ten times the folder's files and a constant. Needs coremltools to make the good files, and POSIX; memory is
measured on Linux.
"""

from __future__ import annotations

import argparse
import ctypes
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from fuzz.mutate import mutate
from fuzz.readers import Reader, make_readers

SECONDS = 1.0  # of processor time for one case
HANG = 20.0  # seconds without a finished case, after which the process is killed
FACTOR, BASE = 10, 24 << 20  # memory: times the files' size, and bytes for what any read costs
TURN = 3.0  # seconds before the next reader's turn
ADDRESS_SPACE = 4 << 30  # bytes above what the process has at its start

Measure = Callable[[bool], int]


@dataclass
class Tally:
    """What came of a reader's cases."""

    cases: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)  # read, refused, finding
    slowest: float = 0.0
    largest: int = 0

    def add(self, other: Tally) -> None:
        self.cases += other.cases
        self.verdicts += other.verdicts
        self.slowest, self.largest = max(self.slowest, other.slowest), max(self.largest, other.largest)


def good_files(reader: Reader) -> dict[str, bytes]:
    """The files of a reader's folder, by name."""
    files = sorted(f for f in reader.folder.rglob("*") if f.is_file())
    return {str(f.relative_to(reader.folder)): f.read_bytes() for f in files}


def restore(reader: Reader, good: dict[str, bytes]) -> None:
    """Puts all files of a reader's folder back."""
    for name, data in good.items():
        (reader.folder / name).write_bytes(data)


def damage(reader: Reader, good: dict[str, bytes], case: str) -> None:
    """Writes the reader's file as it is in that case."""
    rng = Random(case)
    data = mutate(good[reader.file], reader.kind, rng, good[rng.choice(sorted(good))])
    (reader.folder / reader.file).write_bytes(data)


# -- the process that reads --------------------------------------------------------------------------------------------


def run_case(reader: Reader, memory: Measure) -> tuple[str, float, int]:
    """Reads the folder: "read", "refused" or a finding in words; seconds; bytes."""
    from lilims.core.errors import LilimsError

    allowed = FACTOR * sum(f.stat().st_size for f in reader.folder.rglob("*") if f.is_file()) + BASE
    before, started = memory(True), time.process_time()
    try:
        reader.read(reader.folder)
        verdict = "read"
    except LilimsError as error:
        verdict = "refused" if error.message and len(str(error)) < 2000 else f"unreadable: {str(error)[:80]}"
    except BaseException as error:  # a panic of Rust code is no Exception
        if isinstance(error, KeyboardInterrupt):
            raise
        frames = traceback.extract_tb(error.__traceback__)
        last = ([f for f in frames if "lilims" in f.filename] or list(frames))[-1]
        verdict = f"{type(error).__name__} in {Path(last.filename).name}:{last.lineno}: {str(error)[:120]}"
    seconds, taken = time.process_time() - started, max(0, memory(False) - before)
    if verdict in ("read", "refused"):
        if seconds > SECONDS:
            verdict = f"slow: {seconds:.1f} s"
        elif taken > allowed:
            verdict = f"large: {taken >> 20} MiB where {allowed >> 20} are allowed"
    return verdict, seconds, taken


def peak_memory() -> Measure:
    """Bytes of resident memory: now, where its argument is true (and the peak starts anew), else at the peak."""
    status, reset = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    if not os.access(reset, os.W_OK):
        return lambda start: 0
    libc: Any = ctypes.CDLL(None)

    def measure(start: bool) -> int:
        if start:
            if hasattr(libc, "malloc_trim"):
                libc.malloc_trim(0)
            reset.write_text("5")
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) << 10

    return measure


def work(readers: list[Reader], seed: str, start: dict[str, int], end: float, shared: Any, pipe: Any) -> None:
    """Runs cases until `end`; `shared` says which one is running; findings and tallies go through `pipe`."""
    import resource

    warnings.simplefilter("ignore")
    if sys.platform == "linux":
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + ADDRESS_SPACE, resource.getrlimit(resource.RLIMIT_AS)[1]))
    memory = peak_memory()
    goods = [good_files(reader) for reader in readers]
    index = dict(start)
    while time.time() < end:
        for number, (reader, good) in enumerate(zip(readers, goods, strict=True)):
            tally, turn = Tally(), min(end, time.time() + TURN)
            while time.time() < turn:
                shared[0], shared[1] = number, index[reader.name]
                case = f"{reader.name}:{seed}:{index[reader.name]}"
                index[reader.name] += 1
                damage(reader, good, case)
                verdict, seconds, taken = run_case(reader, memory)
                found = verdict not in ("read", "refused")
                tally.add(Tally(1, Counter({"finding" if found else verdict: 1}), seconds, taken))
                if found:
                    pipe.send((case, verdict))
                    restore(reader, good)
            restore(reader, good)
            pipe.send((reader.name, tally))
    pipe.send(None)


# -- the process that watches ------------------------------------------------------------------------------------------


class Watch:
    """Runs `work` in a process of its own, again after each death."""

    def __init__(self, readers: list[Reader], seed: str, minutes: float) -> None:
        self.readers, self.seed, self.end = readers, seed, time.time() + 60 * minutes
        self.goods = [good_files(reader) for reader in readers]
        self.tallies = {reader.name: Tally() for reader in readers}
        self.skip = Counter[str]()  # cases that killed the process, and those whose tally died with it
        self.findings: list[tuple[str, str]] = []

    def run(self) -> None:
        context = multiprocessing.get_context("fork")
        ended = False
        while not ended and time.time() < self.end:
            receive, send = context.Pipe(duplex=False)
            shared = context.Array(ctypes.c_long, 2)
            start = {name: tally.cases + self.skip[name] for name, tally in self.tallies.items()}
            process = context.Process(target=work, args=(self.readers, self.seed, start, self.end, shared, send))
            process.start()
            send.close()
            ended = self._listen(process, receive, shared)
            process.join()
            if not ended:
                name = self.readers[shared[0]].name
                self.found(f"{name}:{self.seed}:{shared[1]}", f"the process ended with {process.exitcode}")
                self.skip[name] = shared[1] + 1 - self.tallies[name].cases
                for reader, good in zip(self.readers, self.goods, strict=True):
                    restore(reader, good)

    def _listen(self, process: Any, receive: Any, shared: Any) -> bool:
        """Takes what the process says until it ends; False where it did not end by itself."""
        last, since = (-1, -1), time.time()
        while True:
            try:
                message = receive.recv() if receive.poll(0.5) else ()
            except EOFError:
                return False
            if message is None:
                return True
            if message and isinstance(message[1], Tally):
                self.tallies[message[0]].add(message[1])
            elif message:
                self.found(*message)
            now = (shared[0], shared[1])
            if now != last:
                last, since = now, time.time()
            elif time.time() - since > HANG:
                process.kill()

    def found(self, case: str, words: str) -> None:
        self.findings.append((case, words))
        print("FINDING", case, words, flush=True)

    def print_table(self) -> None:
        print(f"{'reader':34} {'cases':>8} {'read':>8} {'refused':>8} {'findings':>8} {'slowest s':>10} {'MiB':>6}")
        for name, tally in self.tallies.items():
            counts = " ".join(f"{tally.verdicts[verdict]:8}" for verdict in ("read", "refused", "finding"))
            print(f"{name:34} {tally.cases:8} {counts} {tally.slowest:10.2f} {tally.largest / 2**20:6.1f}")
        cases = sum(tally.cases for tally in self.tallies.values())
        print(f"seed {self.seed}, {cases} cases, {len(self.findings)} findings")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", default="1")
    parser.add_argument("--reader", action="append", help="only readers whose name starts so; may be repeated")
    parser.add_argument("--case", help="run one case, as a finding names it; its files are kept in a folder here")
    options = parser.parse_args()
    os.environ["RUST_BACKTRACE"] = "0"  # a panic's backtrace takes 50 MB
    with tempfile.TemporaryDirectory(prefix="lilims-fuzz-") as folder:
        readers = make_readers(Path(folder))
        if options.case:
            reader = next(r for r in readers if r.name == options.case.split(":")[0])
            damage(reader, good_files(reader), options.case)
            shutil.copytree(reader.folder, options.case.replace(":", "-").replace(" ", "-"), dirs_exist_ok=True)
            reader.read(reader.folder)
            return 0
        if options.reader:
            readers = [r for r in readers if r.name.startswith(tuple(options.reader))]
        watch = Watch(readers, options.seed, options.minutes)
        watch.run()
    watch.print_table()
    return 1 if watch.findings else 0


if __name__ == "__main__":
    sys.exit(main())
