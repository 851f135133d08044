"""Measures what memory and time the portable executor takes for one model; prints tables for docs/performance.md.

    python tools/measure_memory.py MODEL                 load, first token, a full context, a second process beside it
    python tools/measure_memory.py MODEL --no-cache      as if nothing could be kept between processes
    python tools/measure_memory.py --random 1.1b         of a random int4 TinyLlama shape with 8192 tokens, made first

Each figure is that of a process of its own. RSS and Anonymous are the kernel's (/proc/self/smaps_rollup): Anonymous is
memory that no other process can share; mapped files count in RSS. The peak is VmHWM. A step at a position writes
one row, whatever the rows before it hold, so positions are visited without decoding all between. Linux only.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

MEGABYTE = 10**6
POSITIONS = (0, 512, 1024, 2048, 4096, 8000)
STEPS = 12


def memory() -> dict[str, float]:
    """Megabytes of this process."""
    found = {}
    for file, names in (("smaps_rollup", ("Rss", "Anonymous")), ("status", ("VmHWM",))):
        for line in Path(f"/proc/self/{file}").read_text().splitlines():
            name, _, value = line.partition(":")
            if name in names:
                found[name] = int(value.split()[0]) * 1024 / MEGABYTE
    return found


def child(package: Path, precision: str, threads: int | None, what: str) -> dict[str, Any]:
    """What one process measures: "load" stops after loading; "run" decodes at positions of the context too."""
    from lilims.core.files import sha256_file
    from lilims.runtime.portable import MLModel
    from lilims.runtime.portable.cache import settings_cache
    from lilims.runtime.portable.session import onnxruntime_module

    onnxruntime_module()
    before = memory()
    started = time.perf_counter()
    cache = settings_cache(lambda: sha256_file(package / "Manifest.json") + str(package))
    options: dict[str, Any] = {"precision": precision, "threads": threads, "cache": cache}
    decode = MLModel(package, "decode", **options)
    prefill = MLModel(package, "prefill", **options) if "prefill" in decode._runnables.functions else decode
    found: dict[str, Any] = {"seconds": time.perf_counter() - started, "before": before, "loaded": memory()}
    if what == "run":
        state = decode.make_state()
        run(prefill, state, 0)
        run(decode, state, 0)
        found["short"] = memory()
        found["steps"] = {}
        rows = decode._interface.inputs["attention_mask"].type.shape[-1] or 0
        for position in (p for p in POSITIONS if p < rows - STEPS):
            run(prefill, state, min(position, rows - 128))
            begun = time.process_time()
            times = [run(decode, state, position + i) for i in range(STEPS)]
            busy = (time.process_time() - begun) / STEPS
            found["steps"][position] = statistics.median(times[2:]) * 1000, busy * 1000
        fill(state)
        run(prefill, state, rows - 256)
        run(decode, state, rows - 129)
        found["full"] = memory()
        found["state"] = sum(row.nbytes for _, kept in state._buffers._rows.values() for row in kept)
    return found


def fill(state: Any) -> None:
    """Writes all that there is room for, as a full context does."""
    for _, kept in state._buffers._rows.values():
        for row in kept:
            row[...] = 1


def run(model: Any, state: Any, position: int) -> float:
    """Runs a function once at a position; the seconds that it took."""
    import numpy as np

    inputs: dict[str, Any] = {}
    for name, feature in model._interface.inputs.items():
        inputs[name] = np.zeros(feature.type.shape, np.int32 if feature.type.dtype == "int32" else np.float32)
    inputs["slot"][:] = position
    mask = inputs["attention_mask"]
    for i in range(mask.shape[2]):
        mask[0, 0, i, position + i + 1 :] = -1e4
    started = time.perf_counter()
    model.predict(inputs, state)
    return time.perf_counter() - started


def measure(package: Path, arguments: argparse.Namespace, what: str, home: str) -> dict[str, Any]:
    """Runs `child` in a process of its own, with an empty folder of data or one that was used before."""
    command = [sys.executable, __file__, str(package), "--child", what, "--precision", arguments.precision]
    command += ["--threads", str(arguments.threads)] if arguments.threads else []
    environment = {**os.environ, "LILIMS_HOME": home, "LILIMS_CACHE_GB": "0" if arguments.no_cache else "64"}
    found: dict[str, Any] = json.loads(subprocess.run(command, env=environment, stdout=-1, check=True).stdout)
    return found


def report(package: Path, arguments: argparse.Namespace) -> None:
    from lilims.core.files import directory_size

    weights = directory_size(package) / MEGABYTE
    with tempfile.TemporaryDirectory(prefix="lilims-memory-") as home:
        first = measure(package, arguments, "load", home)
        second = measure(package, arguments, "run", home)
    print(f"{package}: {weights:,.0f} MB, {arguments.precision}, {os.cpu_count()} CPUs")
    print("| | seconds | Anonymous | of the weights | RSS | peak RSS |\n|---|---:|---:|---:|---:|---:|")
    for label, found, key in (
        ("first load", first, "loaded"), ("second load", second, "loaded"),
        ("a prefill and a token later", second, "short"), ("at the end of the context", second, "full"),
    ):  # fmt: skip
        at, seconds = found[key], f"{found['seconds']:.1f}" if key == "loaded" else ""
        own = at["Anonymous"] - found["before"]["Anonymous"]
        cells = [f"{own:,.0f} MB", f"{own / weights:.2f}", f"{at['Rss']:,.0f} MB", f"{at['VmHWM']:,.0f} MB"]
        print(f"| {label} | {seconds} | {' | '.join(cells)} |")
    print(f"\nThe state takes {second['state'] / MEGABYTE:,.0f} MB of that.\n")
    print("| position | ms a token | of processors |\n|---:|---:|---:|")
    for position, (taken, busy) in second["steps"].items():
        print(f"| {position} | {taken:.1f} | {busy:.1f} |")


def random_model(name: str, folder: Path) -> Path:
    """A package of random int4 weights with the shape of TinyLlama-1.1B and a context of 8192 tokens."""
    from lilims.conversion.random_checkpoint import write_random_checkpoint
    from lilims.core.testing import test_data

    if name != "1.1b":
        raise SystemExit(f"{name}: only 1.1b is known")
    (config,) = test_data("configs").rglob("TinyLlama*/config.json")
    write_random_checkpoint(
        {**json.loads(config.read_text()), "max_position_embeddings": 8192}, folder / "source", dtype="F16"
    )
    code = "import sys; from lilims.core.cli import main; main(sys.argv[1:])"
    command = [
        "convert",
        str(folder / "source"),
        "--quantize",
        "int4",
        "--context",
        "8192",
        "-o",
        str(folder / "model"),
    ]
    subprocess.run([sys.executable, "-c", code, *command], check=True, stdout=subprocess.DEVNULL)
    return folder / "model" / "model.mlpackage"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("package", nargs="?", type=Path, help="a model folder or an .mlpackage")
    parser.add_argument("--random", metavar="SHAPE", help="make a model of random weights first: 1.1b")
    parser.add_argument("--precision", default="fast", choices=("fast", "exact"))
    parser.add_argument("--threads", type=int)
    parser.add_argument("--no-cache", action="store_true")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(child(arguments.package, arguments.precision, arguments.threads, arguments.child)))
        return
    with tempfile.TemporaryDirectory(prefix="lilims-random-") as scratch:
        package = random_model(arguments.random, Path(scratch)) if arguments.random else arguments.package
        if package is None:
            parser.error("name a model, or --random 1.1b")
        report(package if package.suffix == ".mlpackage" else package / "model.mlpackage", arguments)


if __name__ == "__main__":
    main()
