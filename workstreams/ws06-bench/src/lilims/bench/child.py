"""What runs in the process that holds a model: `python -m lilims.bench.child`, told by one line of JSON on stdin.

Knows the runtime and clocks. Must not know what its figures are for. Answers with lines of JSON on stdout:

    {"model": path, "what": "start", …}     {"token": id}, then {"load_seconds": s} and the end
    {"model": path, "what": "measure", …}   {"figures": {…}}
    {"model": path, "what": "serve", …}     {"ready": true, …}; then for each line {"append": n}, {"one_by_one": n} or
                                            {"rewind": length} of stdin {"seconds": [s, …], "memory": {…}}
    anything that fails                     {"error": {type, message, where, hint}}

Prompts are random ids: neither tokenising nor sampling is in a figure, but for the first token, whose choice is. The
process's own stdout goes to stderr, so that no library's words come between the lines.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lilims.runtime import Model, Session

    from .engines import Engine
    from .workload import Workload

__all__ = ["main"]


def main() -> int:
    """Reads the task, does it, answers; 0 unless it failed."""
    from lilims.core.errors import LilimsError

    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    task: dict[str, Any] = json.loads(sys.stdin.readline())
    try:
        {"start": _start, "measure": _measure, "serve": _serve}[task["what"]](task, answers)
    except LilimsError as error:
        _say(answers, error=error.as_dict())
        return 1
    return 0


def _say(answers: IO[str], **values: Any) -> None:
    answers.write(json.dumps(values) + "\n")
    answers.flush()


def _workload(task: dict[str, Any]) -> Workload:
    from .workload import Workload

    return Workload(**task["workload"])


def _loaded(task: dict[str, Any], workload: Workload) -> tuple[Model, float]:
    """The model, ready to generate, and the seconds of loading; imports of the runtime are left out."""
    import numpy  # noqa: F401

    import lilims.runtime.model  # noqa: F401
    from lilims.runtime import load

    begun = time.perf_counter()
    model = load(task["model"], **workload.loading())
    model.prepare()
    return model, time.perf_counter() - begun


def _ids(model: Model, count: int, seed: int = 0) -> list[int]:
    import numpy as np

    return [int(i) for i in np.random.default_rng(seed).integers(0, model.vocab_size, count)]


def _start(task: dict[str, Any], answers: IO[str]) -> None:
    workload = _workload(task)
    model, seconds = _loaded(task, workload)
    _say(answers, token=_first_token(model, _ids(model, workload.prompt))[0])
    _say(answers, load_seconds=seconds)


def _first_token(model: Model, ids: Sequence[int]) -> tuple[int, float]:
    """The token, and the seconds from the call until it was chosen."""
    (token,) = list(model.generate(ids, max_tokens=1, ignore_eos=True, temperature=0.0))
    return token.id, model.stats.time_to_first_token


def _measure(task: dict[str, Any], answers: IO[str]) -> None:
    from lilims.runtime.statistics import peak_rss

    from .compute_plan import compute_plan
    from .energy import open_meter
    from .memory import memory

    workload = _workload(task)
    model, seconds = _loaded(task, workload)
    found: dict[str, Any] = {"executor": model.executor, "load_seconds": seconds, "memory": {"loaded": memory()}}
    meter = open_meter()
    joules: dict[str, float | None] = {}
    session = model.session()
    if workload.depth:
        session.append(_ids(model, workload.depth, seed=1))
    for name, phase in (("prefill", _prefill), ("decode", _decode)):
        phase(model, session, workload, 1)  # does not count
        if not isinstance(meter, str):
            meter.start()
        found[name] = phase(model, session, workload, workload.repetitions)
        joules[name] = None if isinstance(meter, str) else meter.stop()
    found["memory"] |= {"working": memory()}
    found["first_token"] = [_first_token(model, _ids(model, workload.prompt))[1] for _ in range(workload.repetitions)]
    found["memory"]["peak_rss"] = peak_rss()
    found["energy"] = {"unavailable": meter} if isinstance(meter, str) else {"source": meter.source, "joules": joules}
    if model.executor == "coreml":
        units = workload.compute_units or model.manifest.compute_units
        found["compute_plan"] = compute_plan(model.folder / model.manifest.package, units)
    _say(answers, figures=found)


def _prefill(model: Model, session: Session, workload: Workload, times: int) -> list[float]:
    """Seconds of the prompt, each time."""
    ids, found = _ids(model, workload.prompt, seed=2), []
    for _ in range(times):
        begun = time.perf_counter()
        session.append(ids)
        found.append(time.perf_counter() - begun)
        session.rewind(len(ids))
    return found


def _decode(model: Model, session: Session, workload: Workload, times: int) -> list[list[float]]:
    """Seconds of every token, each time."""
    ids = _ids(model, workload.tokens, seed=3)
    found = []
    for _ in range(times):
        found.append([_append(session, [token]) for token in ids])
        session.rewind(len(ids))
    return found


def _append(session: Session | Engine, ids: list[int]) -> float:
    begun = time.perf_counter()
    session.append(ids)
    return time.perf_counter() - begun


def _serve(task: dict[str, Any], answers: IO[str]) -> None:
    """Any engine of `engines.py`, one task after the other."""
    import numpy as np

    from .engines import open_engine
    from .memory import memory

    begun = time.perf_counter()
    engine = open_engine(task["engine"], Path(task["model"]), task["context"], task["threads"])
    _say(answers, ready=True, load_seconds=time.perf_counter() - begun)
    random = np.random.default_rng(0)
    for line in sys.stdin:
        (what, count), *_ = json.loads(line).items()
        times: list[float] = []
        if what == "rewind":
            engine.rewind(count)
        else:
            ids = [int(i) for i in random.integers(0, task["vocabulary"], count)]
            times = [_append(engine, part) for part in ([ids] if what == "append" else [[token] for token in ids])]
        _say(answers, seconds=times, memory=memory())


if __name__ == "__main__":
    sys.exit(main())
