"""Damaged files of every format: each reader reads or refuses them, soon, in memory of the file's order.

A short run of what `tools/fuzz_readers.py` does for as long as one likes; hypothesis draws the damages (always the same
ones) and makes a finding small.
"""

from __future__ import annotations

import sys
import time
import tracemalloc
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fuzz.mutate import FORMATS, mutate
from fuzz.readers import Reader, make_readers
from lilims.core.errors import LilimsError

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="coremltools 9 has no Windows build")
NAMES = (
    "safetensors", "shard index", "config", "generation config", "spec", "blob", "package manifest", "compiled text",
    "compiled metadata", "manifest",
    "tokenizer.json", "tokenizer.json wordpiece", "tokenizer.json unigram", "vocab", "merges", "tokenizer config",
    "spec silero-vad-unified-v6.0.0", "sentencepiece bpe", "ranks", "llama2c", "adapter", "adapter config", "pytorch",
)  # fmt: skip
SLOW = ("spec", "blob", "package manifest", "manifest")  # each case reads a whole package
SECONDS = 10.0  # of processor time; one is what they take at most where nothing else runs
FACTOR, BASE = 10, 8 << 20  # memory in Python and numpy: times the files' size, and bytes


@pytest.fixture(scope="module")
def readers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Reader]:
    return {reader.name: reader for reader in make_readers(tmp_path_factory.mktemp("good"))}


@pytest.fixture(params=NAMES)
def reader(request: pytest.FixtureRequest, readers: dict[str, Reader]) -> Reader:
    if request.param not in readers:
        pytest.skip("needs the test data, or torch")
    return readers[request.param]


def test_good_files_are_read(reader: Reader) -> None:
    reader.read(reader.folder)


def test_damaged_files_are_read_or_refused(reader: Reader) -> None:
    path = reader.folder / reader.file
    good = path.read_bytes()
    size = sum(f.stat().st_size for f in reader.folder.rglob("*") if f.is_file())
    verdicts: list[bool] = []
    cases = 20 if reader.name.startswith(SLOW) else 60

    @settings(max_examples=cases, deadline=None, derandomize=True, database=None,
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(st.randoms(use_true_random=False))
    def one(rng: Random) -> None:
        data = mutate(good, reader.kind, rng)
        path.write_bytes(data)
        tracemalloc.reset_peak()
        before, started = tracemalloc.get_traced_memory()[0], time.process_time()
        verdicts.append(is_read(reader))
        seconds, memory = time.process_time() - started, tracemalloc.get_traced_memory()[1] - before
        assert seconds < SECONDS
        assert memory < FACTOR * max(size, len(data)) + BASE

    tracemalloc.start()
    try:
        one()
    finally:
        tracemalloc.stop()
        path.write_bytes(good)
    assert len(verdicts) >= cases // 2
    assert not all(verdicts) or reader.kind == "blob"  # a blob's bits are weights: damage need not show


def is_read(reader: Reader) -> bool:
    """False where the file is refused by an error that can be read. Any other exception goes through."""
    try:
        reader.read(reader.folder)
    except LilimsError as error:
        if not error.message or len(str(error)) > 2000:
            raise
        return False
    return True


@pytest.mark.parametrize("kind", FORMATS)
def test_mutations_change_files_and_repeat_themselves(kind: str, readers: dict[str, Reader]) -> None:
    reader = next((r for r in [*readers.values(), _bytes_reader()] if r.kind == kind), None)
    if reader is None:
        pytest.skip("needs torch")
    good = (reader.folder / reader.file).read_bytes()
    first = [mutate(good, kind, Random(n)) for n in range(30)]
    assert first == [mutate(good, kind, Random(n)) for n in range(30)]
    assert len({data for data in first if data != good}) > 15
    assert max(map(len, first)) <= 16 * len(good) + (1 << 18)


def _bytes_reader() -> Reader:
    here: Any = Path(__file__)
    return Reader("any", "bytes", here.name, here.parent, lambda folder: None)
