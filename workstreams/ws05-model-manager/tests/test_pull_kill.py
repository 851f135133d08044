"""`kill -9` in the middle of a pull: never a broken model, never a second download of bytes that were verified.

A helper process imports everything once and forks a pull for each kill. A pull is killed either after the server has
sent so many bytes, or by itself, before or after the n-th call of a function of the system.
"""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lilims.core.integrity import verify_files
from lilims.core.package_manifest import read_any
from lilims.models import store

from .conftest import write_model
from .server import Server, serving

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="wants fork and SIGKILL")

HELPER = """
import itertools, os, signal, sys
from lilims.core.paths import home
from lilims.core.settings import settings
from lilims.models.pulling import Wishes, pull
import lilims.models.sources.web
from lilims.models.download.client import _certificates

_certificates()

def deadly(name, count, when):
    function, calls = getattr(os, name), itertools.count(1)
    def call(*arguments, **options):
        number = next(calls)  # threads call at the same time: no two have the same
        if number == count and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        done = function(*arguments, **options)
        if number == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return done
    setattr(os, name, call)

print("ready", flush=True)
for line in sys.stdin:
    folder, url, name, count, when = line.rstrip("\\n").split("\\t")
    pid = os.fork()
    if pid == 0:
        signal.alarm(60)
        os.environ["LILIMS_HOME"] = folder
        settings.cache_clear()
        if name:
            deadly(name, int(count), when)
        try:
            pull(url, Wishes(jobs=2))
        except BaseException as error:
            print(repr(error), file=sys.stderr)
            os._exit(1)
        os._exit(0)
    print(pid, flush=True)
    print(os.waitpid(pid, 0)[1], flush=True)
"""


class Helper:
    """The helper process."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", HELPER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.line() == "ready"

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")

    def begin(self, url: str, name: str = "", count: int = 0, when: str = "before") -> int:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{os.environ['LILIMS_HOME']}\t{url}\t{name}\t{count}\t{when}\n")
        self.process.stdin.flush()
        return int(self.line())

    def end(self) -> int:
        """The status with which the pull ended."""
        return int(self.line())

    def close(self) -> None:
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            stream.close()
        self.process.wait(60)


@pytest.fixture(scope="module")
def helper() -> Iterator[Helper]:
    found = Helper()
    yield found
    found.close()


FILES = {f"model.mlpackage/{i}.bin": random.Random(i).randbytes(150_000) for i in range(4)}


PATHS = {hashlib.sha256(data).hexdigest(): f"/tiny/{name}" for name, data in FILES.items()}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    write_model(tmp_path / "tiny", files=FILES)
    with serving() as found:
        found.folder(tmp_path / "tiny")
        yield found


def check(home: Path) -> int:
    """Every model that can be seen is whole; returns how many there are."""
    models = store.all_models()
    for model in models:
        verify_files(model.folder, read_any(model.folder), verify="full")
    return len(models)


def verified(home: Path) -> set[str]:
    """Hashes of the files that are whole in the downloads."""
    folder = home / "downloads"
    return {path.name for path in folder.iterdir() if len(path.name) == 64} if folder.is_dir() else set()


def test_killed_after_so_many_bytes(helper: Helper, server: Server, home: Path) -> None:
    paths = PATHS
    kills, done = 0, set()
    server.moment = 0.02
    for share in (0.1, 0.3, 0.5, 0.65, 0.8):
        server.faults = {path: ["pause:10000"] for path in paths.values()}
        pid = helper.begin(f"{server.url}/tiny")
        before = len(server.asked)
        while sum(map(server.sent, paths.values())) < share * 600_000:
            server.released.wait(0.002)
        os.kill(pid, 9)  # not waited for yet: the id is still its own
        kills += helper.end() == 9
        check(home)
        again = {one.path for one in server.asked[before:]}
        assert not {paths[key] for key in done if key in paths} & again, "what was verified was asked for again"
        done = verified(home)
    server.faults, before = {}, len(server.asked)
    helper.begin(f"{server.url}/tiny")
    assert helper.end() == 0
    assert check(home) == 1 and kills >= 3 and done
    assert not {paths[key] for key in done if key in paths} & {one.path for one in server.asked[before:]}
    assert [path.name for path in (home / "models").iterdir()] == ["tiny@1.0.0"]
    assert list((home / "downloads").iterdir()) == []


MOMENTS = [
    ("replace", 2, "before"),  # a file is whole, without its name
    ("replace", 4, "after"),
    ("fsync", 3, "before"),
    ("link", 1, "before"),  # the model is put together
    ("link", 3, "after"),
    ("rename", 1, "before"),  # it is about to be seen
    ("rename", 1, "after"),
    ("unlink", 9, "before"),  # locks and downloads are cleared
]


@pytest.mark.parametrize(("name", "count", "when"), MOMENTS, ids=lambda value: str(value))
def test_killed_at_a_call(name: str, count: int, when: str, helper: Helper, server: Server, home: Path) -> None:
    helper.begin(f"{server.url}/tiny", name, count, when)
    assert helper.end() == 9, "it was not killed"
    seen, whole, before = check(home), verified(home), len(server.asked)
    assert seen == (1 if (name, when) == ("rename", "after") else 0) or name == "unlink"
    helper.begin(f"{server.url}/tiny")
    assert helper.end() == 0
    assert check(home) == 1
    assert [path.name for path in (home / "models").iterdir()] == ["tiny@1.0.0"]
    fetched = [one for one in server.asked[before:] if one.path.endswith(".bin")]
    if name == "rename":
        assert fetched == []
    assert not {PATHS[key] for key in whole if key in PATHS} & {one.path for one in fetched}
    assert list((home / "downloads").iterdir()) == []
