"""The executor in a child process: the same results; and what kills, hangs or garbles it costs a state only.

Core ML is a stand-in here: what its death looks like to the parent is the same.
"""

from __future__ import annotations

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lilims.core.errors import ExecutionError, UnsupportedError, UsageError
from lilims.runtime import contract
from lilims.runtime.errors import StateLostError
from lilims.runtime.isolation import FallbackExecutor, IsolatedPackage, IsolationHost, Timeouts
from lilims.runtime.session import Session

from ..fakes import CHUNK, VOCAB, FakeExecutor, logits_of, manifest_of, mixed
from .helpers import STANDIN, open_standin, running

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the stand-in kills itself with signals")
IDS = [(7 * i + 3) % 256 for i in range(20)]


@pytest.fixture
def manners(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that says how the stand-in misbehaves."""
    path = tmp_path / "manners"
    path.write_text("")
    monkeypatch.setenv("STANDIN", str(path))
    monkeypatch.syspath_prepend(str(STANDIN))
    return path


@pytest.fixture
def host(manners: Path) -> Iterator[IsolationHost]:
    made = IsolationHost(Timeouts(start=60, load=60, call=60))
    yield made
    made.close()


@pytest.fixture
def executor(host: IsolationHost, tmp_path: Path) -> IsolatedPackage:
    return open_standin(host, tmp_path)


def session(executor: Any) -> Session:
    return Session(executor, contract.decoder_shape(manifest_of(), package="p"), VOCAB)


def expected(count: int) -> np.ndarray:
    return logits_of(mixed(IDS[:count]))


def decode(executor: Any, state: Any) -> np.ndarray:
    """One call of `decode`, of token 5 at row 0."""
    mask = np.full((1, 1, 1, 64), -1e4, np.float32)
    mask[..., 0] = 0
    inputs = {"input_ids": np.full((1, 1), 5, np.int32), "slot": np.zeros(1, np.int32), "attention_mask": mask}
    inputs |= {name: np.zeros((1, 1, 1, 4), np.float32) for name in ("cos", "sin")}
    return np.asarray(executor.function("decode").predict(inputs, state)["logits"])[0, 0, :VOCAB]


def test_the_same_logits(executor: IsolatedPackage, host: IsolationHost) -> None:
    assert (executor.name, executor.warms_up) == ("coreml", True)
    one, two = session(executor), session(executor)
    np.testing.assert_array_equal(one.append(IDS[:11]), expected(11))
    two.append([1])
    np.testing.assert_array_equal(one.append(IDS[11:12]), expected(12))
    assert host.pid is not None and host.pid != os.getpid()


def test_rows_of_a_state(executor: IsolatedPackage) -> None:
    state, other = executor.make_state(), executor.make_state()
    decode(executor, state)
    rows = executor.read_state(state, 3)
    assert (rows.shape, rows.dtype, rows[0, 0, :, 0].tolist()) == ((4, 1, 3, 32), np.float16, [5, 0, 0])
    executor.write_state(other, rows + 1)
    assert executor.read_state(other, 4)[3, 0, :, 31].tolist() == [6, 1, 1, 0]
    with pytest.raises(UsageError, match="does not fit into a state of"):
        executor.read_state(other, 65)


def test_packages_of_one_host_hand_states_over(host: IsolationHost, tmp_path: Path) -> None:
    one, two = open_standin(host, tmp_path), open_standin(host, tmp_path)
    state = one.make_state()
    decode(one, state)
    own = two.adopt(state, None)
    np.testing.assert_array_equal(two.read_state(own, 2), one.read_state(state, 2))
    one.write_state(state, one.read_state(state, 2) + 1)
    assert two.adopt(state, own) is own
    np.testing.assert_array_equal(two.read_state(own, 2)[0, 0, :, 0], [6, 1])


def test_states_are_dropped_in_the_child_too(executor: IsolatedPackage, host: IsolationHost) -> None:
    states = [executor.make_state() for _ in range(5)]

    def count() -> int:
        return int(host.request({"op": "hello"}, timeout=60)[0]["states"])

    assert count() == 5
    del states[1:]
    gc.collect()
    assert count() == 1


def test_errors_of_the_child_arrive(executor: IsolatedPackage, host: IsolationHost, manners: Path) -> None:
    state, pid = executor.make_state(), host.pid
    manners.write_text("predict * raise")
    with pytest.raises(ExecutionError, match="the prediction failed: ANE failure -1") as caught:
        decode(executor, state)
    assert type(caught.value) is ExecutionError
    assert "CPU_ONLY" in str(caught.value.hint)
    manners.write_text("predict * objects")
    with pytest.raises(ExecutionError, match="logits: arrays of object are not sent"):
        decode(executor, state)
    manners.write_text("")
    np.testing.assert_array_equal(decode(executor, state), logits_of(mixed([5])))
    assert host.pid == pid


def test_a_package_that_the_portable_executor_refuses(host: IsolationHost, tmp_path: Path) -> None:
    (tmp_path / "m.mlpackage").mkdir()
    with pytest.raises(Exception, match="mlpackage") as inside:
        open_standin(host, tmp_path, name="portable").make_state()
    from lilims.runtime.ported import PortableExecutor

    with pytest.raises(type(inside.value)) as direct:
        PortableExecutor(tmp_path / "m.mlpackage", precision="fast", threads=None).make_state()
    assert str(inside.value) == str(direct.value)


DEATHS = [
    ("exit", r"ended by itself with exit code 3 while it was to run decode"),
    ("kill", r"was killed by SIGKILL while it was to run decode"),
    ("hang", r"gave no answer within 1 s and was stopped"),
    ("garbage", r"answered with something else than a message \(this is no message\) and was stopped"),
]


@pytest.mark.parametrize(("how", "words"), DEATHS, ids=[how for how, _ in DEATHS])
def test_a_call_that_the_child_does_not_survive(
    host: IsolationHost, executor: IsolatedPackage, manners: Path, how: str, words: str
) -> None:
    host.timeouts = Timeouts(load=60, call=1)
    state, other, pid = executor.make_state(), executor.make_state(), host.pid
    decode(executor, state)
    assert pid is not None
    manners.write_text(f"predict 2 {how}")
    with pytest.raises(StateLostError, match=words) as caught:
        decode(executor, state)
    assert "portable" in str(caught.value.hint)
    assert not running(pid)
    manners.write_text("")
    for lost in (state, other):
        with pytest.raises(StateLostError, match="the process that held this state has ended"):
            decode(executor, lost)
        with pytest.raises(StateLostError):
            executor.read_state(lost, 1)
    np.testing.assert_array_equal(decode(executor, executor.make_state()), logits_of(mixed([5])))
    assert host.pid != pid


def test_a_child_that_is_killed_between_calls(host: IsolationHost, executor: IsolatedPackage) -> None:
    state = executor.make_state()
    decode(executor, state)
    assert host.pid is not None
    os.kill(host.pid, signal.SIGKILL)
    with pytest.raises(StateLostError):
        decode(executor, state)
    np.testing.assert_array_equal(decode(executor, executor.make_state()), logits_of(mixed([5])))


def test_a_first_call_may_take_as_long_as_loading(
    host: IsolationHost, executor: IsolatedPackage, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.timeouts = Timeouts(load=50, call=40)
    asked, request = [], host.request

    def noted(header: Any, arrays: Any = None, *, timeout: float) -> Any:
        asked.append((header["op"], timeout))
        return request(header, arrays, timeout=timeout)

    monkeypatch.setattr(host, "request", noted)
    state = executor.make_state()
    decode(executor, state)
    decode(executor, state)
    assert [timeout for op, timeout in asked if op == "predict"] == [50, 40]
    assert dict(asked)["load"] == 50


def test_a_load_that_kills(host: IsolationHost, executor: IsolatedPackage, manners: Path) -> None:
    manners.write_text("load 0 kill")
    with pytest.raises(StateLostError, match="SIGKILL while it was to load decode"):
        executor.function("decode")


def test_an_interrupt_leaves_the_pipe_whole(host: IsolationHost, executor: IsolatedPackage, manners: Path) -> None:
    """Ctrl-C while the child works: the answer comes later and is nobody's."""
    state, other, pid = executor.make_state(), executor.make_state(), host.pid
    decode(executor, state)
    assert pid is not None
    for _ in range(3):
        os.kill(pid, signal.SIGSTOP)
        me = threading.main_thread().ident
        assert me is not None
        threading.Timer(0.3, signal.pthread_kill, (me, signal.SIGINT)).start()
        with pytest.raises(KeyboardInterrupt):
            decode(executor, state)
        os.kill(pid, signal.SIGCONT)
        executor.write_state(other, np.full((4, 1, 2, 32), 9, np.float16))
        assert executor.read_state(other, 2)[0, 0, :, 0].tolist() == [9, 9]
        np.testing.assert_array_equal(decode(executor, state), logits_of(mixed([5])))
    assert host.pid == pid


def test_ctrl_c_does_not_end_the_child(host: IsolationHost, executor: IsolatedPackage) -> None:
    state, pid = executor.make_state(), host.pid
    assert pid is not None
    os.kill(pid, signal.SIGINT)
    decode(executor, state)
    assert host.pid == pid


def test_threads_take_turns(executor: IsolatedPackage) -> None:
    found: list[bool] = []

    def work(number: int) -> None:
        ids = [(number * 31 + i) % 256 for i in range(12)]
        one = session(executor)
        for count in range(1, 13):
            logits = one.append([ids[count - 1]])
            found.append(bool(np.array_equal(logits, logits_of(mixed(ids[:count])))))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 48


PARENT = """
import os, sys, time
from pathlib import Path
sys.path[:0] = sys.argv[2:]
from lilims.runtime.isolation import IsolationHost
from isolation_helpers import open_standin
host = IsolationHost()
executor = open_standin(host, Path(sys.argv[1]))
state = executor.make_state()
print(host.pid, flush=True)
if os.environ.get("BUSY"):
    executor.function("decode").predict({}, state)
time.sleep(1000)
"""


@pytest.mark.parametrize("busy", [False, True], ids=["idle", "hanging"])
def test_no_orphan_when_the_parent_is_killed(
    manners: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, busy: bool
) -> None:
    manners.write_text("predict * hang")
    (tmp_path / "isolation_helpers.py").write_text((Path(__file__).parent / "helpers.py").read_text())
    if busy:
        monkeypatch.setenv("BUSY", "1")
    arguments = [sys.executable, "-c", PARENT, str(tmp_path), str(STANDIN), str(tmp_path)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        time.sleep(0.3)
        assert running(child)
        parent.kill()
    deadline = time.monotonic() + 60
    while running(child) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not running(child)


def test_an_ended_program_leaves_no_child(manners: Path, tmp_path: Path) -> None:
    (tmp_path / "isolation_helpers.py").write_text((Path(__file__).parent / "helpers.py").read_text())
    script = PARENT.replace("time.sleep(1000)", "")
    arguments = [sys.executable, "-W", "error", "-c", script, str(tmp_path), str(STANDIN), str(tmp_path)]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True, timeout=60)
    deadline = time.monotonic() + 60  # it notices that the pipe is closed; on a busy machine not at once
    while running(int(done.stdout)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not running(int(done.stdout))
    assert done.stderr in ("", "a line that Core ML prints\n")  # no warning; the line may come after the end


@pytest.mark.skipif(sys.platform != "linux", reason="counts the files that are open in /proc")
def test_hosts_that_come_and_go_leave_nothing_open(manners: Path, tmp_path: Path) -> None:
    def cycle() -> None:
        host = IsolationHost()
        open_standin(host, tmp_path).make_state()

    cycle()
    gc.collect()
    before, threads = len(os.listdir("/proc/self/fd")), threading.active_count()
    for _ in range(3):
        cycle()
    gc.collect()
    assert (len(os.listdir("/proc/self/fd")), threading.active_count()) == (before, threads)


# -- the session and the fallback ------------------------------------------------------------------------------------


def test_a_fallback_takes_over_and_says_so(host: IsolationHost, manners: Path, tmp_path: Path) -> None:
    backup = FakeExecutor()
    executor = FallbackExecutor(lambda: open_standin(host, tmp_path), lambda: backup)
    state = executor.make_state()
    assert executor.name == "coreml"
    np.testing.assert_array_equal(decode(executor, state), logits_of(mixed([5])))
    assert backup.calls == []
    manners.write_text("predict * exit")
    with (
        pytest.warns(RuntimeWarning, match="goes on through the executor portable, which may be slower: .*exit code 3"),
        pytest.raises(StateLostError),
    ):
        decode(executor, state)
    assert executor.name == "portable"
    with pytest.raises(StateLostError, match="another executor has taken over"):
        executor.read_state(state, 1)
    state = executor.make_state()
    np.testing.assert_array_equal(decode(executor, state), logits_of(mixed([5])))
    assert executor.read_state(state, 1)[0, 0, 0, 0] == 5
    assert backup.calls == ["decode"]


@pytest.mark.parametrize("fails", [ExecutionError("does not compile"), StateLostError("died")], ids=["error", "death"])
def test_a_first_executor_that_does_not_open(fails: ExecutionError) -> None:
    def primary() -> Any:
        raise fails

    with pytest.warns(RuntimeWarning, match="portable, which may be slower: d"):
        executor = FallbackExecutor(primary, FakeExecutor)
    decode(executor, executor.make_state())


def test_a_first_executor_that_does_not_load_a_function(host: IsolationHost, manners: Path, tmp_path: Path) -> None:
    executor = FallbackExecutor(lambda: open_standin(host, tmp_path), FakeExecutor)
    manners.write_text("load 0 kill")
    with pytest.warns(RuntimeWarning, match="SIGKILL while it was to load decode"):
        executor.function("decode")
    decode(executor, executor.make_state())


def test_other_errors_are_no_loss(host: IsolationHost, manners: Path, tmp_path: Path) -> None:
    executor = FallbackExecutor(lambda: open_standin(host, tmp_path), FakeExecutor)
    state = executor.make_state()
    manners.write_text("predict 1 raise")
    with pytest.raises(ExecutionError, match="ANE failure"):
        decode(executor, state)
    assert executor.name == "coreml"
    with pytest.raises(UsageError):
        executor.read_state(state, 1000)

    def unsupported() -> Any:
        raise UnsupportedError("no such thing")

    with pytest.raises(UnsupportedError):
        FallbackExecutor(unsupported, FakeExecutor)


def test_the_second_executor_has_no_second(manners: Path) -> None:
    class Broken(FakeExecutor):
        def function(self, name: str) -> Any:
            raise ExecutionError("broken, too")

    def primary() -> Any:
        raise ExecutionError("broken")

    with pytest.warns(RuntimeWarning):
        executor = FallbackExecutor(primary, Broken)
    with pytest.raises(ExecutionError, match="broken, too"):
        executor.function("decode")


Kill = Callable[[], None]


@pytest.mark.parametrize("how", ["kill", "exit", "garbage"])
def test_a_session_survives_its_executor(
    host: IsolationHost, executor: IsolatedPackage, manners: Path, how: str
) -> None:
    one = session(executor)
    np.testing.assert_array_equal(one.append(IDS[:11]), expected(11))
    np.testing.assert_array_equal(one.append(IDS[11:12]), expected(12))
    pid = host.pid
    manners.write_text(f"predict 4 {how}")  # the fourth of the first child; the second one needs three for its state
    np.testing.assert_array_equal(one.append(IDS[12:13]), expected(13))
    assert host.pid != pid
    manners.write_text("")
    np.testing.assert_array_equal(one.append(IDS[13:20]), expected(20))


def test_a_call_that_kills_every_child_is_an_error_and_the_session_goes_on(
    executor: IsolatedPackage, manners: Path
) -> None:
    one = session(executor)
    one.append(IDS[:11])
    manners.write_text("predict * kill")
    with pytest.raises(StateLostError):
        one.append(IDS[11:12])
    assert one.position == 11
    manners.write_text("")
    np.testing.assert_array_equal(one.append(IDS[11:12]), expected(12))


def test_a_session_goes_over_to_the_fallback(host: IsolationHost, manners: Path, tmp_path: Path) -> None:
    one = session(FallbackExecutor(lambda: open_standin(host, tmp_path), FakeExecutor))
    one.append(IDS[: CHUNK + 3])
    manners.write_text("predict * kill")
    with pytest.warns(RuntimeWarning, match="goes on through the executor portable"):
        found = one.append(IDS[CHUNK + 3 : CHUNK + 4])
    np.testing.assert_array_equal(found, expected(CHUNK + 4))
