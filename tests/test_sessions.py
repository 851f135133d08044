"""Sessions of a real, tiny model on the portable executor: saved, pooled, isolated, interrupted, shared by threads.

What is expected always comes from a session that nothing happened to.
"""

from __future__ import annotations

import gc
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lilims.core.errors import UsageError
from lilims.core.testing import interrupted
from lilims.runtime import Model, load
from lilims.runtime.isolation import FallbackExecutor, IsolationHost, Timeouts
from lilims.runtime.pool import SessionPool
from lilims.runtime.saved import load_session, save_session
from lilims.runtime.speculative import Speculator

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="coremltools 9 has no Windows build: nothing to convert with"
)
REFERENCES = Path(__file__).parents[1] / "workstreams" / "ws01-conversion" / "tests" / "references" / "models.json"
LLAMA: dict[str, Any] = json.loads(REFERENCES.read_text())["models"]["llama"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from lilims.conversion import convert
    from lilims.conversion.random_checkpoint import write_random_checkpoint

    source, made = tmp_path_factory.mktemp("source") / "llama", tmp_path_factory.mktemp("out") / "llama-int8"
    write_random_checkpoint(LLAMA["config"], source, seed=LLAMA["seed"])
    convert(source, made, quantize="int8")
    return made


@pytest.fixture(scope="module")
def model(folder: Path) -> Model:
    return load(folder, executor="portable", precision="exact", threads=1)


@pytest.fixture
def host() -> Iterator[IsolationHost]:
    made = IsolationHost(Timeouts(start=60, load=60, call=60))
    yield made
    made.close()


def ids_of(number: int, count: int, vocab: int = 100) -> list[int]:
    return [(number * 37 + 11 * i + number * i * i) % vocab for i in range(count)]


def greedy(session: Any, prompt: list[int], count: int) -> list[int]:
    """What follows a prompt, by hand: nothing but `append`."""
    logits, found = session.append(prompt), []
    for _ in range(count):
        found.append(int(logits.argmax()))
        logits = session.append(found[-1:])
    return found


def on(model: Model, executor: Any) -> Model:
    """The model on another executor."""
    other = load(model.folder, executor="portable", precision="exact", threads=1)
    other._executor = executor
    return other


def isolated(model: Model, host: IsolationHost) -> Any:
    return host.open(
        model.folder / model.manifest.package, name="portable", identity=lambda: "0" * 64, compute_units="CPU_ONLY",
        precision="exact", threads=1,
    )  # fmt: skip


def test_a_saved_session_gives_identical_logits(model: Model, folder: Path, tmp_path: Path) -> None:
    session = model.session()
    session.append(ids_of(1, 21))
    save_session(session, tmp_path / "a", model=model)
    again = load_session(load(folder, executor="portable", precision="exact", threads=1), tmp_path / "a")
    assert again.tokens == ids_of(1, 21)
    for token in ids_of(2, 10):
        np.testing.assert_array_equal(again.append([token]), session.append([token]))


def test_another_precision_is_a_warning(model: Model, folder: Path, tmp_path: Path) -> None:
    save_session(model.session(), tmp_path / "a", model=model)
    with pytest.warns(UserWarning, match="saved with precision 'exact', loaded with 'fast'"):
        load_session(load(folder, executor="portable", threads=1), tmp_path / "a")


def test_generation_goes_on_in_a_loaded_session(model: Model, tmp_path: Path) -> None:
    prompt = ids_of(3, 9)
    whole = [token.id for token in model.generate(prompt, max_tokens=20, ignore_eos=True)]
    session = model.session()
    first = [token.id for token in model.generate(prompt, session=session, max_tokens=8, ignore_eos=True)]
    save_session(session, tmp_path / "a", model=model)
    loaded = load_session(model, tmp_path / "a")
    rest = [t.id for t in model.generate(prompt + first, session=loaded, max_tokens=12, ignore_eos=True)]
    assert first + rest == whole
    assert loaded.reused >= len(prompt) + len(first) - 1


@pytest.mark.parametrize("policy", ["rolling", "sinks", "shift"])
def test_a_session_that_dropped_tokens(model: Model, host: IsolationHost, tmp_path: Path, policy: str) -> None:
    """Far behind the context: saved and loaded, paged, forked, and rebuilt after the death of its executor."""
    ids = [id_ for number in range(6) for id_ in ids_of(number, 40)]
    assert len(ids) > 3 * model.context
    session, other = model.session(policy), on(model, isolated(model, host)).session(policy)
    for start in range(0, len(ids), 40):
        last = session.append(ids[start : start + 40])
        np.testing.assert_allclose(other.append(ids[start : start + 40]), last, rtol=1e-3, atol=1e-4)
    save_session(session, tmp_path / "a", model=model)
    one = int(np.prod(model.manifest.state.shape)) * 4
    assert host.pid is not None
    os.kill(host.pid, signal.SIGKILL)
    np.testing.assert_allclose(other.append([7]), session.fork().append([7]), rtol=1e-3, atol=1e-4)
    with SessionPool(model, one, tmp_path) as pool:
        with pool.use("a", policy) as paged:
            paged.restore(session.snapshot())
        with pool.use("b"):
            pass
        loaded, fork = load_session(model, tmp_path / "a"), session.fork()
        assert loaded.policy == session.policy
        with pool.use("a") as paged:
            for token in ids_of(7, 10):
                wanted = session.append([token])
                for name, copy in (("loaded", loaded), ("fork", fork), ("paged", paged)):
                    np.testing.assert_array_equal(copy.append([token]), wanted, err_msg=name)
        assert pool.statistics.paged_in == 1


def test_twenty_sessions_in_a_pool_of_three(model: Model, tmp_path: Path) -> None:
    wanted = {number: greedy(model.session(), ids_of(number, 7), 12) for number in range(20)}
    found: dict[int, list[int]] = {number: [] for number in range(20)}
    logits: dict[int, np.ndarray] = {}
    one = int(np.prod(model.manifest.state.shape)) * 4
    with SessionPool(model, 3 * one, tmp_path) as pool:
        for turn in range(13):
            for number in np.random.Generator(np.random.PCG64(turn)).permutation(20).tolist():
                with pool.use(f"{number}") as session:
                    if turn:
                        found[number].append(int(logits[number].argmax()))
                    logits[number] = session.append(found[number][-1:] or ids_of(number, 7))
        assert pool.in_memory == 3
        assert pool.statistics.paged_in > 200
    assert found == wanted


def test_the_same_logits_in_a_child(model: Model, host: IsolationHost, tmp_path: Path) -> None:
    other = on(model, isolated(model, host))
    one, two = model.session(), other.session()
    for part in (ids_of(1, 21), *([token] for token in ids_of(2, 6))):
        np.testing.assert_array_equal(two.append(part), one.append(part))
    save_session(two, tmp_path / "a", model=other)
    np.testing.assert_array_equal(load_session(model, tmp_path / "a").append([5]), one.append([5]))


def test_generation_survives_the_death_of_the_child(model: Model, host: IsolationHost) -> None:
    """kill -9 in the middle of a text, three times: not a token is another."""
    wanted = [token.id for token in model.generate(ids_of(4, 9), max_tokens=20, ignore_eos=True)]
    found, pids = [], set()
    for token in on(model, isolated(model, host)).generate(ids_of(4, 9), max_tokens=20, ignore_eos=True):
        found.append(token.id)
        assert host.pid is not None
        pids.add(host.pid)
        if len(found) in (1, 7, 8):
            os.kill(host.pid, signal.SIGKILL)
    assert found == wanted
    assert len(pids) == 4


def test_generation_goes_over_to_the_fallback(model: Model, host: IsolationHost, folder: Path) -> None:
    from lilims.runtime.ported import PortableExecutor

    package = folder / model.manifest.package
    executor = FallbackExecutor(
        lambda: isolated(model, host), lambda: PortableExecutor(package, precision="exact", threads=1)
    )
    wanted = [token.id for token in model.generate(ids_of(5, 9), max_tokens=12, ignore_eos=True)]
    found = []
    generation = iter(on(model, executor).generate(ids_of(5, 9), max_tokens=12, ignore_eos=True))
    found += [next(generation).id for _ in range(5)]
    assert host.pid is not None
    os.kill(host.pid, signal.SIGKILL)
    with pytest.warns(RuntimeWarning, match="goes on through the executor portable"):
        found.append(next(generation).id)
    found += [token.id for token in generation]
    assert found == wanted
    assert host.pid is None


STANDIN = Path(__file__).parents[1] / "workstreams" / "ws02-runtime" / "tests" / "standin"


@pytest.mark.parametrize("manner", ["load 0 kill", "load 0 raise", "predict 1 exit", "predict 1 garbage"])
def test_a_package_that_core_ml_does_not_survive(
    model: Model, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, manner: str
) -> None:
    """`load` as on a Mac, with a stand-in for coremltools in the child: the text comes from the portable executor."""
    from lilims.runtime import loading

    (tmp_path / "manners").write_text(manner)
    monkeypatch.setenv("STANDIN", str(tmp_path / "manners"))
    monkeypatch.syspath_prepend(str(STANDIN))
    monkeypatch.setattr(loading, "choose", lambda wanted, precision: "coreml")
    other = load(folder, precision="exact", threads=1, isolate=True)
    assert other.executor == "coreml"
    with pytest.warns(RuntimeWarning, match="goes on through the executor portable"):
        found = [token.id for token in other.generate(ids_of(6, 9), max_tokens=8, ignore_eos=True)]
    assert other.executor == "portable"
    assert found == [token.id for token in model.generate(ids_of(6, 9), max_tokens=8, ignore_eos=True)]


def test_threads_with_sessions_of_their_own(model: Model) -> None:
    wanted = {number: greedy(model.session(), ids_of(number, 9), 15) for number in range(4)}
    found: dict[int, list[int]] = {}

    def work(number: int) -> None:
        found[number] = greedy(model.session(), ids_of(number, 9), 15)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == wanted


def test_two_threads_on_one_session(model: Model) -> None:
    """Each call is done or refused: the session holds the tokens of those that were done."""
    session = model.session()
    refused, failures, done = [], [], []
    start = threading.Barrier(2)

    def work(number: int) -> None:
        start.wait()
        for i in range(20):
            try:
                session.append([number * 40 + i])
                done.append(number * 40 + i)
            except UsageError as exc:
                refused.append(str(exc))
            except BaseException as exc:
                failures.append(exc)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [threading.Thread(target=work, args=(number,)) for number in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    assert failures == []
    assert all("in use by another thread" in text for text in refused)
    assert len(refused) + len(done) == 40
    assert sorted(session.tokens) == sorted(done)
    other = model.session()
    for token in session.tokens:
        last = other.append([token])
    session.rewind(1)
    np.testing.assert_array_equal(session.append(other.tokens[-1:]), last)


@pytest.fixture
def interrupt() -> Iterator[Callable[[float, Callable[[], None]], bool]]:
    """Runs something and interrupts it, as Ctrl-C does, after some seconds; says whether that came in time."""
    armed = False

    def handler(number: int, frame: object) -> None:
        if armed:
            raise KeyboardInterrupt

    def run(seconds: float, work: Callable[[], None]) -> bool:
        nonlocal armed
        timer = threading.Timer(seconds, signal.raise_signal, (signal.SIGINT,))
        try:
            armed = True
            timer.start()
            work()
            armed = False
            return False
        except KeyboardInterrupt:
            return True
        finally:
            armed = False
            timer.join()

    gc.collect()  # nothing that earlier tests left is finalised in the middle of it
    gc.disable()
    before = signal.signal(signal.SIGINT, handler)
    yield run
    signal.signal(signal.SIGINT, before)
    gc.enable()


@pytest.mark.parametrize("precision", ["exact", "fast"])
def test_short_chunks_are_not_padded(folder: Path, precision: Any) -> None:
    """The portable executor's graph takes any number of tokens; what it computes is what padding would have given."""
    model = load(folder, executor="portable", precision=precision, threads=1)
    shape = model.session()._shape
    assert not shape.padded
    for size in (2, 3, 7, 20, 31):
        ids, sessions = ids_of(size, size), (model.session(), model.session())
        sessions[1]._shape = sessions[1]._window.shape = sessions[1]._window.inputs._shape = replace(shape, padded=True)
        for turn in (ids, ids[::-1]):
            short, padded = (session.append(turn) for session in sessions)
            np.testing.assert_allclose(short, padded, rtol=1e-4, atol=1e-4, err_msg=f"{size} tokens")
        for session in sessions:
            session.rewind(size)
        short, padded = (np.concatenate(list(session.score(ids))) for session in sessions)
        assert short.shape == padded.shape == (size, model.vocab_size)
        np.testing.assert_allclose(short, padded, rtol=1e-4, atol=1e-4, err_msg=f"{size} tokens scored")


def test_graphs_that_check_every_result_take_whole_chunks(folder: Path) -> None:
    model = load(folder, executor="portable", precision="fp16", threads=1)
    assert model.session()._shape.padded


@pytest.mark.parametrize("policy", ["error", "rolling", "sinks", "shift"])
def test_checked_guesses_leave_the_text_alone(model: Model, policy: str) -> None:
    """Speculative decoding, also where the context is full and tokens are dropped."""
    prompt, count = ids_of(3, 12), 50 if policy == "error" else 150

    def told(drafter: Speculator | None) -> list[int]:
        found = model.generate(
            prompt, session=model.session(policy), max_tokens=count, ignore_eos=True, temperature=0, drafter=drafter
        )
        return [token.id for token in found]

    plain = told(None)
    assert len(plain) == count
    assert told(Speculator(always=True, most=7)) == plain
    assert model.stats.drafted_tokens > count / 2 and model.stats.accepted_tokens > 0


def works(seed: int) -> dict[str, Callable[[Any], object]]:
    """What a session that has seven tokens can be asked."""
    ids = ids_of(seed, 50)
    return {
        "decode": lambda session: session.append(ids[7:8]),
        "prefill": lambda session: session.append(ids[7:40]),
        "back": lambda session: session.advance([*ids[:3], 5]),  # rotary rows of earlier positions are made anew
        "first": lambda session: (session.reset(), session.append(ids[:1])),
        "snapshot": lambda session: session.restore(session.snapshot()),
    }


@pytest.mark.parametrize("name", works(0))
def test_interrupts_leave_a_session_that_goes_on(model: Model, name: str) -> None:
    """Ctrl-C at every line of the session, the window and the executor: what a session says that it holds, it holds."""
    work, ids = works(1)[name], ids_of(1, 50)
    expected: dict[tuple[int, ...], Any] = {}

    def following(tokens: list[int]) -> Any:
        key = tuple(tokens)
        if key not in expected:
            expected[key] = model.session().append([*key, 9])
        return expected[key]

    for line in count(1):
        session = model.session()
        session.append(ids[:6])
        session.append(ids[6:7])  # of one token: the mask and the rotary rows are those of decoding
        if not interrupted(line, lambda session=session: work(session), "runtime", "context"):  # type: ignore[misc]
            break
        held = list(session.tokens)
        np.testing.assert_allclose(
            session.append([9]), following(held), rtol=1e-3, atol=1e-4, err_msg=f"line {line} holds {held}"
        )
    assert line > 10


def test_interrupts_of_a_child_process(model: Model, interrupt: Any, host: IsolationHost) -> None:
    """The same after random times, where the executor is another process."""
    rng = np.random.Generator(np.random.PCG64(3))
    session, ids, came = on(model, isolated(model, host)).session(), ids_of(3, 50), 0

    def work() -> None:
        session.reset()
        while session.position < 50:
            session.append(ids[session.position :][: int(rng.integers(1, 20))])

    for _ in range(40):
        came += interrupt(float(rng.uniform(0, 0.006)), work)
        held = session.position
        assert session.tokens == ids[:held]
        other = model.session()
        if held:
            other.append(session.tokens)
        np.testing.assert_allclose(session.append([7]), other.append([7]), rtol=1e-3, atol=1e-4)
        session.rewind(1)
    assert came >= 5


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_thousand_sessions_leave_nothing(model: Model) -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def cycle(count: int) -> None:
        for number in range(count):
            session = model.session()
            session.append(ids_of(number, 3))
            if number % 10 == 0:
                session.fork().append([1])

    cycle(100)
    gc.collect()
    before, handles, threads = resident(), len(os.listdir("/proc/self/fd")), threading.active_count()
    cycle(1000)
    gc.collect()
    state = int(np.prod(model.manifest.state.shape)) * 4
    assert len(os.listdir("/proc/self/fd")) == handles
    assert threading.active_count() == threads
    assert resident() - before < 100 * state  # 1,100 states were made
