"""Work on a Dask cluster of two worker processes of this machine: the same results, whatever happens to a worker."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lilims.conversion import evaluate
from lilims.conversion.workers import cluster as module
from lilims.conversion.workers import crew
from lilims.conversion.workers.cluster import Cluster, check_address
from lilims.core.errors import ExecutionError, MissingDependencyError, UnsupportedError, UsageError
from lilims.core.settings import settings

from . import jobs
from .jobs import Multiplier

distributed = pytest.importorskip("distributed")
ROOT = Path(__file__).parents[4]


def local(**options: Any) -> Any:
    return distributed.LocalCluster(
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0",
        threads_per_worker=1,
        processes=True,
        silence_logs=60,
        **options,
    )


@pytest.fixture(scope="module")
def scheduler() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT))  # workers import the jobs by the name that pytest gives them
        with local(n_workers=2) as found:
            yield found


@pytest.fixture
def workers(scheduler: Any) -> Iterator[Cluster]:
    with Cluster(scheduler.scheduler_address) as found:
        yield found


@pytest.fixture
def work(tmp_path: Path) -> Multiplier:
    return Multiplier(3, str(tmp_path / "opened"))


def test_results_come_in_order_from_both_workers(workers: Cluster, work: Multiplier) -> None:
    assert workers.size == 2
    assert list(workers.map(jobs.multiply, work, range(200))) == [3 * item for item in range(200)]
    found = set(workers.map(jobs.where, work, range(20)))
    assert len(found) == 2 and os.getpid() not in found
    assert len(Path(work.opened).read_text().split()) == 2


def test_an_error_comes_at_its_items_turn(workers: Cluster, work: Multiplier) -> None:
    found = workers.map(jobs.refuse, work, range(9))
    assert [next(found) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(UsageError, match="three is too much") as error:
        next(found)
    assert (error.value.where, error.value.hint) == ("item 3", "take two")
    with pytest.raises(TimeoutError, match="its own"):
        list(workers.map(jobs.late, work, [1]))


def test_a_result_may_take_long(workers: Cluster, work: Multiplier, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LOOK", 0.02)
    assert list(workers.map(jobs.nap, work, [0.2, 0.1])) == pytest.approx([0.6, 0.3])


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_a_killed_worker_is_survived(workers: Cluster, work: Multiplier, tmp_path: Path) -> None:
    items = [(item, str(tmp_path / "killed") if item == 7 else "") for item in range(30)]
    assert list(workers.map(jobs.die_once, work, items)) == [3 * item for item in range(30)]
    assert (tmp_path / "killed").exists()


def test_the_evaluation_is_the_same(scheduler: Any, story: Any) -> None:
    """With a reference, by processes that open and run both."""
    model, reference, text = story
    options: dict[str, Any] = {"reference": reference, "context": 64, "cache_bytes": 0}
    serial = evaluate(model, text, jobs=1, **options)
    found = evaluate(model, text, dask=scheduler.scheduler_address, **options)
    assert found.summary == serial.summary and found.curve == serial.curve
    for name, values in vars(serial.scores).items():
        assert values.tobytes() == getattr(found.scores, name).tobytes(), name


@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_the_evaluation_survives_a_killed_worker(scheduler: Any, story: Any) -> None:
    from lilims.core.events import Event, listening

    model, _, text = story
    victims: list[int] = []

    def kill(event: Event) -> None:
        if event.name == "evaluate.window" and not victims:
            (victim, *_) = [nanny.pid for nanny in scheduler.workers.values()]
            victims.append(victim)
            os.kill(victim, signal.SIGKILL)

    serial = evaluate(model, text, jobs=1, context=32)
    with listening(kill):
        found = evaluate(model, text, dask=scheduler.scheduler_address, context=32)
    assert victims and found.scores.nll.tobytes() == serial.scores.nll.tobytes()


def test_a_model_that_is_another_there_is_told(workers: Cluster, story: Any) -> None:
    from dataclasses import replace

    from lilims.conversion.evaluation.runner import Work, run
    from lilims.conversion.evaluation.sources import PackageSpec
    from lilims.conversion.evaluation.windows import Windowing, plan

    windows = plan([1] * 64, Windowing(32))
    stamped = Work(PackageSpec(story[0])).stamped()
    with pytest.raises(ExecutionError, match="has another model there") as error:
        run(replace(stamped, stamps=("0" * 64,)), windows, workers=workers)
    assert error.value.where == str(story[0]) and "same path" in str(error.value.hint)
    with pytest.raises(ExecutionError, match="cannot read what it has to run"):
        run(replace(stamped, model=PackageSpec(Path("/nowhere"))), windows, workers=workers)


def test_other_versions_are_told(workers: Cluster, work: Multiplier, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "versions", lambda: {"lilims": "99.0"})
    with pytest.raises(ExecutionError, match=r"this worker has lilims .*, the machine that asks has 99\.0") as error:
        list(workers.map(jobs.multiply, work, [1]))
    assert str(error.value.where).startswith("tcp://127.0.0.1:")


def test_a_worker_without_the_module_is_told(
    workers: Cluster, work: Multiplier, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "only_here.py").write_text("def function(opened, item):\n    return item\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    import only_here  # type: ignore[import-not-found]

    with pytest.raises(ExecutionError, match="a worker cannot import only_here"):
        list(workers.map(only_here.function, work, [1]))


def test_an_item_that_kills_each_worker(
    scheduler: Any, workers: Cluster, work: Multiplier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler.scheduler, "allowed_failures", 1)
    with pytest.raises(ExecutionError, match="each worker that tried the same item died"):
        list(workers.map(jobs.die, work, [1]))


def test_a_cluster_without_workers_is_given_up(work: Multiplier, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LOOK", 0.1)
    with (
        local(n_workers=0) as found,
        Cluster(found.scheduler_address, patience=0.3) as workers,
        pytest.raises(ExecutionError, match="has had no worker") as error,
    ):
        list(workers.map(jobs.multiply, work, [1]))
    assert "dask worker" in str(error.value.hint)


def test_a_scheduler_that_ends(work: Multiplier, tmp_path: Path) -> None:
    found = local(n_workers=0)
    with found, Cluster(found.scheduler_address) as workers:
        results = workers.map(jobs.multiply, work, ending(found))
        with pytest.raises(ExecutionError, match="the Dask scheduler is gone"):
            list(results)


def ending(found: Any) -> Iterator[int]:
    yield 1
    found.close()


@pytest.mark.parametrize("greeting", [None, b"", b"HTTP/1.1 400 Bad Request\r\n"], ids=["nobody", "silence", "another"])
def test_no_scheduler_there(greeting: bytes | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CONNECT", 0.5)
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        if greeting is not None:
            server.listen()
            threading.Thread(target=greet, args=(server, greeting)).start()
        with pytest.raises(ExecutionError, match="no Dask scheduler answers there") as error:
            crew(dask=address)
    assert error.value.where == address


def greet(server: socket.socket, greeting: bytes) -> None:
    connection, _ = server.accept()
    with connection, contextlib.suppress(ConnectionError):
        connection.sendall(greeting)
        connection.recv(1)  # until the other side gives up


@pytest.mark.parametrize(
    "address",
    ["localhost:8786", "http://localhost:8786", "tcp://localhost", "tcp://localhost:70000", "tcp://:8786", "",
     "tcp://a:1/b", "tcp://user@a:1", "tcp://[::1:5"],
)  # fmt: skip
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(UsageError, match="not the address of a Dask scheduler"):
        check_address(address)


@pytest.mark.parametrize("address", ["tcp://localhost:8786", "tls://cluster.example:8786", "tcp://[::1]:8786"])
def test_addresses(address: str) -> None:
    check_address(address)


def test_offline_asks_no_other_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LILIMS_OFFLINE", "1")
    settings.cache_clear()
    try:
        check_address("tcp://127.0.0.1:8786")
        with pytest.raises(UnsupportedError, match="LILIMS_OFFLINE"):
            check_address("tcp://cluster.example:8786")
    finally:
        settings.cache_clear()


def test_without_dask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MissingDependencyError, match="dask.distributed") as error:
        crew(dask="tcp://127.0.0.1:8786")
    assert error.value.hint == "pip install 'lilims-conversion[cluster]'"


def test_commands_load_without_dask() -> None:
    modules = "lilims.conversion.commands.eval, lilims.conversion.evaluation.measure"
    code = f"import sys, {modules}; print('distributed' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
