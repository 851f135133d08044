"""Rungs that do what no rung should. Run in processes of their own: this folder is on their PYTHONPATH."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time

from lilims.ci.macos.rungs import Finding, Target


def passes(target: Target) -> Finding:
    print("a line that a library prints")
    (target.shared / "visits").open("a").write("x")
    return Finding(True, f"{target.executor} on {target.compute_units}", {"max": 0.5})


def differs(target: Target) -> Finding:
    print("what was computed: 7")
    return Finding(False, "7 is not 5", {"max": 2.0, "rms_share": float("nan")})


def raises(target: Target) -> Finding:
    raise RuntimeError("Error compiling model: Failed to parse the model specification. Error: " + "x" * 5000)


def segfaults(target: Target) -> Finding:
    print("about to", flush=True)
    ctypes.string_at(0)
    return Finding(True, "memory at 0")


def is_killed(target: Target) -> Finding:
    os.kill(os.getpid(), signal.SIGKILL)
    return Finding(True, "alive")


def leaves(target: Target) -> Finding:
    os._exit(0)


def leaves_half_an_answer(target: Target) -> Finding:
    (target.work / "answer.json").write_text('{"passed": tr')
    os._exit(0)


def answers_nonsense(target: Target) -> Finding:
    (target.work / "answer.json").write_text("[1, 2]")
    os._exit(0)


def answers_and_crashes(target: Target) -> Finding:
    (target.work / "answer.json").write_text('{"passed": true, "what": "", "figures": {}}')
    os._exit(3)


def hangs(target: Target) -> Finding:
    print("waiting", flush=True)
    time.sleep(600)
    return Finding(True, "patient")


def hangs_with_a_child(target: Target) -> Finding:
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    (target.shared / "pid").write_text(str(child.pid))
    print("waiting", flush=True)
    child.wait()
    return Finding(True, "patient")


def chatters(target: Target) -> Finding:
    for _ in range(300):
        os.write(2, b"noise " * 2000 + b"\n")
    os.write(2, b"the last line\n")
    return Finding(False, "too loud")
