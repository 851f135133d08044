"""Opens hostile packages, each in a process of its own with little memory: `python hostile_child.py FOLDER`.

Out comes a line of JSON per package: what happened, in which time and memory. Needs Linux. Must not know what is
expected (test_hostile.py does).
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from hostile import CASES

ADDRESS_SPACE = 1 << 30  # bytes above what the process has
ENDLESS, LIMIT = "a-loop-without-end", 1.0  # what only a limit ends, and its seconds
SECONDS = 300  # after which any other package is a hang


def memory() -> int:
    """Bytes of resident memory at the peak."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM:"))


def outcome(package: Path) -> dict[str, Any]:
    from lilims.core.errors import LilimsError
    from lilims.runtime.portable import MLModel, describe_package

    stage, started, before, opened = "describe", time.process_time(), memory(), 0
    try:
        describe_package(package)
        stage = "open"
        model = MLModel(package, precision="exact", threads=1)
        stage, opened = "run", memory() - before
        limit = LIMIT if package.stem == ENDLESS else None
        model.predict({"x": np.float32([1, 2])}, model.make_state(), time_limit=limit)
        found = {"error": "", "says": ""}
    except LilimsError as error:
        found = {"error": type(error).__name__, "says": str(error)}
    except BaseException as error:
        found = {"error": f"raw {type(error).__name__}", "says": str(error)}
    opened = opened if stage == "run" else memory() - before
    return {**found, "stage": stage, "seconds": time.process_time() - started, "opened": opened}


def run(name: str, folder: Path) -> dict[str, Any]:
    """What comes of a package in a process of its own."""
    package = CASES[name]().write(folder / f"{name}.mlpackage")
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(receive)
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + ADDRESS_SPACE, resource.getrlimit(resource.RLIMIT_AS)[1]))
        signal.alarm(SECONDS)
        os.write(send, json.dumps(outcome(package)).encode()[: 1 << 15])
        os._exit(0)
    os.close(send)
    with os.fdopen(receive, "rb") as pipe:
        found = pipe.read()
    status = os.waitpid(child, 0)[1]
    return json.loads(found) if found and not status else {"error": f"the process ended with {status}", "says": ""}


if __name__ == "__main__":
    import onnxruntime  # noqa: F401  (once, for all forks)

    import lilims.runtime.portable.model  # noqa: F401

    for name in sys.argv[2:] or CASES:
        print(json.dumps({"name": name, **run(name, Path(sys.argv[1]))}), flush=True)
