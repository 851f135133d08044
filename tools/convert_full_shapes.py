"""Converts random weights of real models' shapes, and records what that costs in tools/results/full_shapes.json.

    python tools/convert_full_shapes.py                 all configs of tools/configs and of the test data
    python tools/convert_full_shapes.py gpt2 gemma-2b   some of them, or paths of config files
    python tools/convert_full_shapes.py --list          names and parameters

A checkpoint is written first (float16, one safetensors file, in the system's temporary folder) and is not part of the
figures; its pages are in the cache. Each conversion is a `lilims convert` in a process of its own, whose wall time and
peak resident memory are the kernel's (`wait4`), as /usr/bin/time prints them. It starts when the processors are idle,
or after half a minute of waiting for that. Rows are replaced one by one: a model that is not named keeps its row.
`tools/generated_pages.py full-shapes` writes the table of docs/performance.md from the record.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from full_shapes import Row, record
from lilims.conversion.describe import parameters
from lilims.conversion.estimate import dry_run, read_config
from lilims.conversion.random_checkpoint import write_random_checkpoint
from lilims.core.errors import LilimsError
from lilims.core.files import directory_size
from lilims.core.testing import test_data

ROOT = Path(__file__).parents[1]
STAT = Path("/proc/stat")
CONTEXT = 2048  # tokens; less where the model has fewer positions
# A small process between: the kernel counts the memory of the process that starts another one to that one.
WATCH = """
import json, os, subprocess, sys, time
begin = time.perf_counter()
process = subprocess.Popen(sys.argv[2:])
_, status, usage = os.wait4(process.pid, 0)
peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
open(sys.argv[1], "w").write(json.dumps([time.perf_counter() - begin, usage.ru_utime + usage.ru_stime, peak]))
sys.exit(os.waitstatus_to_exitcode(status))
"""
ROOM = 1.2  # of the checkpoint and the package together


def configs() -> dict[str, Path]:
    """Names and config files of the shapes that are known here, those that lilims supports, smallest first."""
    found = {path.stem: path for path in (ROOT / "tools" / "configs").glob("*.json")}
    for path in test_data("configs").rglob("config.json"):
        found.setdefault(path.parent.name, path)
    sizes = {}
    for name, path in found.items():
        try:
            sizes[name] = parameters(read_config(path)[1])
        except LilimsError:
            continue
    return {name: found[name] for name in sorted(sizes, key=lambda name: (sizes[name], name))}


def measure(name: str, config: Path, scheme: str, jobs: int | None) -> Row:
    """Converts once."""
    _, spec = read_config(config)
    context = min(CONTEXT, spec.max_positions)
    said = dry_run(config, quantize=scheme, context=context, jobs=jobs)
    with tempfile.TemporaryDirectory(prefix="lilims-shapes-") as scratch:
        free = os.statvfs(scratch).f_bavail * os.statvfs(scratch).f_frsize
        if free < ROOM * (2 * said.parameters + said.package):
            raise SystemExit(f"{name}: {scratch} has no room for the checkpoint and the package")
        source, out = Path(scratch) / name, Path(scratch) / "model"
        write_random_checkpoint(json.loads(config.read_text()), source, dtype="F16")
        code = "import sys; from lilims.core.cli import main; main(sys.argv[1:])"
        options = ["--quantize", scheme, "--context", str(context), "-o", str(out), "--json"]
        options += ["--jobs", str(jobs)] if jobs else []
        wait_until_idle()
        idle, total = _ticks()
        figures = Path(scratch) / "figures"
        command = [sys.executable, "-c", code, "convert", str(source), *options]
        printed = subprocess.run(
            [sys.executable, "-c", WATCH, str(figures), *command], stdout=subprocess.PIPE, check=True, text=True
        )
        idle_then, total_then = _ticks()
        seconds, busy, peak = json.loads(figures.read_text())
        others = max(0.0, (total_then - total - idle_then + idle) / os.sysconf("SC_CLK_TCK") - busy) / seconds
        phases = json.loads(printed.stdout)["seconds"]
        parts = ", ".join(f"{phase} {took:.1f} s" for phase, took in phases.items())
        print(
            f"{name}: {seconds:.1f} s ({busy:.1f} s of processors, {others:.2f} processors busy for others): {parts}",
            flush=True,
        )
        package = directory_size(out / "model.mlpackage")
        weights = phases["quantize"]
        return Row(
            name,
            spec.model_type,
            said.parameters,
            scheme,
            seconds,
            weights,
            busy,
            others,
            peak,
            said.conversion,
            package,
            machine(),
        )


def wait_until_idle(seconds: float = 30) -> None:
    """Waits until the processors are nine tenths idle, but no longer than that (Linux; elsewhere not at all)."""
    end = time.monotonic() + seconds
    while STAT.is_file() and time.monotonic() < end:
        idle, total = _ticks()
        time.sleep(3)
        idle_then, total_then = _ticks()
        if idle_then - idle >= 0.9 * (total_then - total):
            return


def _ticks() -> tuple[int, int]:
    """Idle ones, all; nothing elsewhere than on Linux."""
    if not STAT.is_file():
        return 0, 0
    found = [int(x) for x in STAT.read_text().splitlines()[0].split()[1:9]]
    return found[3] + found[4], sum(found)


def machine() -> str:
    """The machine that this runs on, in a line."""
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        model = next((x.split(":", 1)[1].strip() for x in cpuinfo.read_text().splitlines() if "model name" in x), model)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{cores} cores of {model}, {platform.system()}, Python {platform.python_version()}, numpy {np.__version__}"


def main() -> None:
    """Runs conversions one after another; each row is written as soon as it is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="names of configs, or files")
    parser.add_argument("--quantize", default="int4-rtn", help="scheme [int4-rtn]")
    parser.add_argument("--jobs", type=int)
    parser.add_argument("--list", action="store_true", help="print the names and end")
    parser.add_argument("--print", action="store_true", help="print the rows instead of recording them")
    arguments = parser.parse_args()
    known = configs()
    if arguments.list:
        for name, path in known.items():
            print(f"{name:32} {parameters(read_config(path)[1]) / 1e6:10,.1f} M")
        return
    for name in arguments.names or known:
        path = known.get(name) or Path(name)
        name = path.parent.name if path.stem == "config" else path.stem
        row = measure(name, path, arguments.quantize, arguments.jobs)
        if arguments.print:
            print(row, end="", flush=True)
        else:
            record([row])


if __name__ == "__main__":
    main()
