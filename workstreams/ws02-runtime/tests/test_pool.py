"""A pool of sessions: paging changes nothing, what is in use stays, and nothing is left behind."""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lilims.core.errors import StorageError, UsageError
from lilims.runtime import Model
from lilims.runtime.errors import SessionFileError
from lilims.runtime.pool import SessionPool

from .fakes import ROWS, VOCAB, FakeExecutor, fake_model, logits_of, mixed

ONE = 4 * 1 * ROWS * 32 * 4  # bytes of a session: float32 in the portable executor


@pytest.fixture
def model(tmp_path: Path) -> Model:
    return fake_model(tmp_path / "model", FakeExecutor())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "pool"


def ids_of(number: int, count: int) -> list[int]:
    return [(number * 37 + 11 * i + number * i) % 256 for i in range(count)]


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("pool-*/*.session"))


def test_twenty_sessions_under_a_budget_of_three(model: Model, folder: Path) -> None:
    """In turns of different lengths, in an order that repeats no pattern: as many unpaged sessions say the same."""
    rng = np.random.Generator(np.random.PCG64(5))
    unpaged = {number: model.session() for number in range(20)}
    done = dict.fromkeys(range(20), 0)
    with SessionPool(model, 3 * ONE, folder) as pool:
        for _ in range(200):
            number = int(rng.integers(20))
            count = min(int(rng.integers(1, 5)), 40 - done[number])
            if not count:
                continue
            part = ids_of(number, 40)[done[number] : done[number] + count]
            with pool.use(f"session {number}") as session:
                found = session.append(part)
            np.testing.assert_array_equal(found, unpaged[number].append(part), err_msg=f"session {number}")
            done[number] += count
            assert pool.in_memory <= 3
            assert pool.statistics.disk_bytes == sum(path.stat().st_size for path in files(folder))
        assert sum(count > 0 for count in done.values()) == 20
        assert pool.statistics.paged_out > 50
        assert pool.statistics.paged_in > 50
        for number, other in unpaged.items():
            with pool.use(f"session {number}") as session:
                assert session.tokens == other.tokens


def test_the_least_recently_used_goes_first(model: Model, folder: Path) -> None:
    with SessionPool(model, 2 * ONE, folder) as pool:
        for name in ("a", "b", "a", "c"):
            with pool.use(name) as session:
                session.append([1])
        assert pool.names == ["b", "a", "c"]
        assert pool.statistics.paged_out == 1
        with pool.use("a"):
            assert pool.statistics.paged_in == 0
        with pool.use("b") as session:
            assert session.tokens == [1]
            assert pool.statistics.paged_in == 1


def test_a_session_in_use_is_never_paged(model: Model, folder: Path) -> None:
    with SessionPool(model, 2 * ONE, folder) as pool:
        with pool.use("a") as a:
            a.append([1])
            for name in ("b", "c", "d"):
                with pool.use(name) as other:
                    other.append([2])
            np.testing.assert_array_equal(a.append([5]), logits_of(mixed([1, 5])))
            with pool.use("e"), pytest.raises(UsageError, match="all 2 sessions that the memory budget holds"):
                pool.use("b").__enter__()
        with pool.use("a") as again:
            assert again is a
        with pool.use("b") as b:
            assert b.tokens == [2]


def test_what_is_refused(model: Model, folder: Path) -> None:
    with pytest.raises(UsageError, match="hold no session"):
        SessionPool(model, ONE - 1, folder)
    pool = SessionPool(model, ONE, folder)
    with pool.use("a"):
        with pytest.raises(UsageError, match="uses the session 'a' already"):
            pool.use("a").__enter__()
        with pytest.raises(UsageError, match="the session 'a' is in use"):
            pool.drop("a")
        with pytest.raises(UsageError, match="is in use"):
            pool.close()
    with pytest.raises(UsageError, match="no session 'b'"):
        pool.drop("b")
    pool.close()
    pool.close()
    with pytest.raises(UsageError, match="closed"):
        pool.use("a").__enter__()


def test_files_are_private_named_by_number_and_removed(model: Model, folder: Path) -> None:
    with SessionPool(model, ONE, folder) as pool:
        for name in ("../../etc/passwd", "a\0b", "é" * 500):
            with pool.use(name) as session:
                session.append([3])
        (own,) = folder.glob("pool-*")
        assert sorted(path.name for path in files(folder)) == ["1.session", "4.session"]
        if sys.platform != "win32":
            assert own.stat().st_mode & 0o777 == 0o700
            assert {path.stat().st_mode & 0o777 for path in files(folder)} == {0o600}
        pool.drop("../../etc/passwd")
        assert len(files(folder)) == 1
        assert pool.statistics.disk_bytes == files(folder)[0].stat().st_size
    assert [path.name for path in folder.iterdir()] == ["pools.lock"]


def test_the_disk_is_bounded(model: Model, folder: Path) -> None:
    with SessionPool(model, ONE, folder, disk_bytes=5000) as pool:
        for name in ("a", "b"):
            with pool.use(name) as session:
                session.append(list(range(10)))
        with pytest.raises(StorageError, match="more than 5000 bytes") as caught:
            pool.use("c").__enter__()
        assert "disk_bytes" in str(caught.value.hint)
        assert pool.names == ["a", "b"]
        with pool.use("b") as session:
            assert session.tokens == list(range(10))
        pool.drop("b")
        with pool.use("c") as session:
            session.append([1])


def test_a_disk_that_is_full_loses_nothing(model: Model, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    with SessionPool(model, ONE, folder) as pool:
        with pool.use("a") as session:
            session.append([1, 2])
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            with pytest.raises(StorageError, match="the disk is full"):
                pool.use("b").__enter__()
        assert files(folder) == []
        with pool.use("a") as again:
            assert again is session
        with pool.use("b") as session:
            session.append([1])


def test_a_file_that_was_damaged(model: Model, folder: Path) -> None:
    with SessionPool(model, ONE, folder) as pool:
        for name in ("a", "b"):
            with pool.use(name) as session:
                session.append([1, 2])
        (path,) = files(folder)
        path.write_bytes(path.read_bytes()[:-1])
        with pytest.raises(SessionFileError, match="cut off"):
            pool.use("a").__enter__()
        pool.drop("a")
        with pool.use("a") as session:
            assert session.tokens == []


def test_a_block_that_fails_lets_go(model: Model, folder: Path) -> None:
    with SessionPool(model, ONE, folder) as pool:
        block = pool.use("a")
        block.__enter__().append([1])
        assert not block.__exit__(KeyboardInterrupt, KeyboardInterrupt(), None)  # not swallowed
        with pool.use("a") as session:
            assert session.tokens == [1]


def test_threads(model: Model, folder: Path) -> None:
    """Four threads on three sessions and one of their own each, with room for four: no token is lost or mixed up."""
    failures: list[BaseException] = []
    with SessionPool(model, 4 * ONE, folder) as pool:

        def work(number: int) -> None:
            try:
                for step in range(10):
                    with pool.use(f"{number % 3}") as session:
                        tokens = [*session.tokens, (number * 10 + step) % 256]
                        found = session.append(tokens[-1:])
                        np.testing.assert_array_equal(found, logits_of(mixed(tokens)))
                    with pool.use(f"own {number}") as session:
                        session.append([step])
                        assert session.tokens == list(range(step + 1))
            except BaseException as exc:
                failures.append(exc)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        with pool.use("0") as session:
            assert sorted(session.tokens) == sorted(n * 10 + step for n in (0, 3) for step in range(10))
        for number in range(4):
            with pool.use(f"own {number}") as session:
                assert session.tokens == list(range(10))
        with pool.use("1") as session:
            assert len(session.tokens) == 10
        assert pool.statistics.paged_in > 0  # six were asked for since then, and four fit


def test_a_thread_waits_for_a_session_in_use(model: Model, folder: Path) -> None:
    order: list[str] = []
    entered = threading.Event()
    with SessionPool(model, ONE, folder) as pool:

        def other() -> None:
            entered.set()
            with pool.use("a") as session:
                order.append(f"other sees {session.tokens}")

        thread = threading.Thread(target=other)
        with pool.use("a") as session:
            thread.start()
            assert entered.wait(60)
            thread.join(0.1)
            session.append([7])
            order.append("first is done")
        thread.join(60)
    assert order == ["first is done", "other sees [7]"]


CRASH = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from tests.fakes import FakeExecutor, fake_model
from lilims.runtime.pool import SessionPool
pool = SessionPool(fake_model(Path(sys.argv[2]), FakeExecutor()), 40000, sys.argv[3])
for name in "ab":
    with pool.use(name) as session:
        session.append([1, 2, 3])
print(len(list(Path(sys.argv[3]).glob("pool-*/*.session"))), flush=True)
if sys.argv[4] == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no such signal")
@pytest.mark.parametrize("how", ["kill", "exit"])
def test_what_a_process_leaves(model: Model, folder: Path, tmp_path: Path, how: str) -> None:
    arguments = [str(Path(__file__).parents[1]), str(tmp_path / "other"), str(folder), how]
    done = subprocess.run([sys.executable, "-c", CRASH, *arguments], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("1\n", "")
    assert done.returncode == (-signal.SIGKILL if how == "kill" else 0)
    assert len(list(folder.glob("pool-*"))) == (1 if how == "kill" else 0)
    with SessionPool(model, ONE, folder) as one, SessionPool(model, ONE, folder) as two:
        assert len(list(folder.glob("pool-*"))) == 2
        for pool in (one, two):
            with pool.use("a") as session:
                assert session.tokens == []
    assert [path.name for path in folder.iterdir()] == ["pools.lock"]


def test_strangers_in_the_folder_stay(model: Model, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (folder / "mine").mkdir(parents=True)
    (folder / "pool-file").write_text("a file")
    if sys.platform != "win32":
        (folder / "pool-link").symlink_to(tmp_path / "precious")
    with SessionPool(model, ONE, folder):
        pass
    assert (folder / "mine").is_dir() and (folder / "pool-file").is_file() and (tmp_path / "precious").is_dir()


def test_a_pool_that_is_forgotten_removes_its_folder(model: Model, folder: Path) -> None:
    pool: Any = SessionPool(model, ONE, folder)
    with pool.use("a"):
        pass
    del pool
    gc.collect()
    assert list(folder.glob("pool-*")) == []


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_thousand_sessions_leave_nothing(model: Model, folder: Path) -> None:
    """Opened, used, paged and dropped."""

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    class Heavy(FakeExecutor):
        def make_state(self) -> np.ndarray:
            self.states += 1
            state = np.ones(1 << 17, np.int64)[:ROWS]  # which keeps 1 MiB
            state[:] = 0
            return state

    model._executor = Heavy()

    def cycle(count: int) -> None:
        with SessionPool(model, 2 * ONE, folder) as pool:
            for number in range(count):
                with pool.use(str(number)) as session:
                    session.append([number % VOCAB])
                if number >= 5:
                    pool.drop(str(number - 5))

    cycle(50)
    gc.collect()
    before, handles = resident(), len(os.listdir("/proc/self/fd"))
    cycle(1000)
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == handles
    assert resident() - before < 64 << 20  # kept, they would be 1000 MiB
    assert model._executor.states == 1050
