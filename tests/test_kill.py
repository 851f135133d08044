"""`kill -9` at any moment of a conversion: the old model or the new one, never a half; the next conversion tidies up.

A helper process imports coremltools once and forks a conversion for each kill, so that the moments lie in the work and
not in the import. They are drawn with a fixed seed, one from each twentieth of the time that a conversion takes.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lilims.core.integrity import verify_files
from lilims.core.manifest import read_manifest

from .bad_input import checkpoints

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="wants fork, and coremltools to convert with")
KILLS = 20

# It never converts itself and so has no thread when it forks: a lock held by a thread would stay locked in the child.
# The alarm turns a child that hangs into a failure.
HELPER = """
import os, signal, sys, time
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[variable] = "1"
from lilims.conversion import convert
from lilims.conversion._quiet import quiet_coremltools
with quiet_coremltools():
    import lilims.conversion.emit.export, lilims.conversion.emit.functions
    import coremltools.converters.mil.converter
import lilims.core.manifest, lilims.tokenizer.files
if sys.platform == "linux":
    assert len(os.listdir("/proc/self/task")) == 1, "a thread runs: forking is not safe"
print("ready", flush=True)
for line in sys.stdin:
    source, out, scheme, resume, moment = line.rstrip("\\n").split("\\t")
    started = time.perf_counter()
    pid = os.fork()
    if pid == 0:
        signal.alarm(60)
        convert(source, out, quantize=scheme, force=True, resume=bool(resume))
        os._exit(0)
    if moment:
        time.sleep(float(moment))
        os.kill(pid, signal.SIGKILL)  # not waited for yet: the id is still its own
    print(os.waitpid(pid, 0)[1], time.perf_counter() - started, flush=True)
"""


class Converter:
    """The helper process."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", HELPER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._line() == "ready"

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")

    def convert(
        self, source: Path, out: Path, scheme: str, *, moment: float | None = None, resume: bool = False
    ) -> tuple[bool, float]:
        """Converts; whether it was killed before its end, and the seconds that it lived."""
        assert self.process.stdin is not None
        self.process.stdin.write(
            f"{source}\t{out}\t{scheme}\t{'yes' if resume else ''}\t{'' if moment is None else moment}\n"
        )
        self.process.stdin.flush()
        status, seconds = self._line().split()
        assert int(status) in (0, signal.SIGKILL)
        return status != "0", float(seconds)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoints.write(tmp_path_factory.mktemp("source") / "tiny")


@pytest.fixture(scope="module")
def converter() -> Iterator[Converter]:
    made = Converter()
    yield made
    assert made.process.stdin is not None and made.process.stdout is not None
    made.process.stdin.close()
    assert made.process.wait(30) == 0
    made.process.stdout.close()


def state(out: Path) -> str:
    """The scheme of the whole model that lies there, or "nothing". Fails where it is not whole."""
    if not out.exists():
        return "nothing"
    manifest = read_manifest(out)
    verify_files(out, manifest, verify="full")
    found = {p.relative_to(out).as_posix() for p in out.rglob("*") if p.is_file()}
    assert found == {*manifest.files, "manifest.json"}
    return manifest.quantization.scheme


@pytest.mark.parametrize("before", ["nothing", "int8"], ids=["fresh", "force"])
def test_killed_at_any_moment(converter: Converter, source: Path, tmp_path: Path, before: str) -> None:
    out = tmp_path / "out"
    old = tmp_path / "old"
    converter.convert(source, old, "int8")
    seconds = min(converter.convert(source, out, "int4")[1] for _ in range(2))
    seen: list[str] = []
    rng = random.Random(20)
    for index in range(KILLS):
        restore(out, old if before == "int8" else None)
        moment = seconds * (index + rng.random()) / KILLS
        killed, _ = converter.convert(source, out, "int4", moment=moment)
        seen.append(state(out))
        assert seen[-1] in (before, "int4") if killed else seen[-1] == "int4", f"after {moment:.3f} of {seconds:.3f} s"
    assert before in seen  # most moments lie before the end
    converter.convert(source, out, "fp16")
    assert state(out) == "fp16"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["old", "out"]  # the leftovers of all kills are gone


def test_killed_at_any_moment_and_gone_on(converter: Converter, source: Path, tmp_path: Path) -> None:
    """With --resume: a conversion that is let live makes the same bytes, whatever the killed ones before it left."""
    out = tmp_path / "out"
    seconds = min(converter.convert(source, out, "int4")[1] for _ in range(2))
    wanted = {p.relative_to(out): p.read_bytes() for p in out.rglob("*") if p.is_file()}
    rng = random.Random(21)
    for index in range(KILLS):
        restore(out, None)
        moment = seconds * (index + rng.random()) / KILLS
        killed, _ = converter.convert(source, out, "int4", moment=moment, resume=True)
        assert state(out) in ("nothing", "int4") if killed else state(out) == "int4", f"after {moment:.3f} s"
        if index % 5 == 4:
            converter.convert(source, out, "int4", resume=True)
            found = {p.relative_to(out): p.read_bytes() for p in out.rglob("*") if p.is_file()}
            assert found == wanted, f"gone on after {moment:.3f} s"
            assert [p.name for p in tmp_path.iterdir()] == ["out"]


def restore(out: Path, old: Path | None) -> None:
    """Puts the first state back; what a killed conversion left beside it stays."""
    if out.exists():
        shutil.rmtree(out)
    if old is not None:
        shutil.copytree(old, out)
