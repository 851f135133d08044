"""Measures lilims beside llama.cpp (and transformers) on the same weights, in turns; prints tables in Markdown.

    hatch run peers:speed                                  a random 1.1B Llama, Q4_0 and Q8_0
    hatch run peers:speed --model builtin --types Q8_0     the built-in model
    hatch run peers:speed --engines lilims lilims-kernels  without the peers
    hatch run peers:speed --engines transformers lilims-exact      float32 (wants torch and transformers)
    hatch run peers:speed --engines onnxruntime-genai lilims --types Q4_0   (wants onnxruntime-genai, onnx-ir, torch)
    hatch run peers:speed --keep FOLDER                    keeps the files, and takes those that are there

llama.cpp's own quantiser writes a GGUF file; `lilims convert` keeps its codes, so both multiply the same values. ONNX
Runtime GenAI's model builder quantises the checkpoint itself, to 4 bits in blocks of 32 with int8 activations. Each
engine is a process that holds its model; one works at a time. A round measures every engine once: a prompt of random
tokens, then tokens one by one at each depth (the text before them was run, not made up). What is printed is the median
over rounds, and the median of the ratios within a round with the lowest and highest. Neither tokenising nor sampling
counts. "start" is from the start of a process to the first token of a short prompt, with files in the page cache.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tools"))
CONTEXT = 8192
START_PROMPT = 16
SHAPE = "TinyLlama*"
GENAI = "onnxruntime-genai"
ENGINES = ("llama.cpp", "lilims", "lilims-kernels", "transformers", "lilims-exact", GENAI)


class Engine(Protocol):
    """A model with a cache of keys and values, whose tokens are ids."""

    def append(self, ids: Sequence[int]) -> int:
        """Runs tokens behind those that it has; the likeliest next id."""
        ...

    def rewind(self, length: int) -> None:
        """Keeps the first `length` tokens."""
        ...


class Lilims:
    """A package in the portable executor."""

    def __init__(self, path: Path, threads: int, precision: Literal["fast", "exact"] = "fast") -> None:
        from lilims.runtime import load

        self._session = load(path, executor="portable", threads=threads, precision=precision).session()

    def append(self, ids: Sequence[int]) -> int:
        return int(self._session.append(ids).argmax())

    def rewind(self, length: int) -> None:
        self._session.rewind(self._session.position - length)


class LlamaCpp:
    """A GGUF file in llama.cpp, with its defaults for speed."""

    def __init__(self, path: Path, threads: int) -> None:
        from llama_cpp import Llama

        options = {"n_threads": threads, "n_threads_batch": threads, "n_batch": 512, "n_ubatch": 512}
        self._model = Llama(str(path), n_ctx=CONTEXT, verbose=False, **options)

    def append(self, ids: Sequence[int]) -> int:
        import llama_cpp

        self._model.eval(list(ids))
        logits = llama_cpp.llama_get_logits_ith(self._model.ctx, -1)
        return int(np.ctypeslib.as_array(logits, shape=(self._model.n_vocab(),)).argmax())

    def rewind(self, length: int) -> None:
        self._model._ctx.kv_cache_seq_rm(-1, length, -1)
        self._model.n_tokens = length


class Transformers:
    """A checkpoint in transformers, float32."""

    def __init__(self, path: Path, threads: int) -> None:
        import torch
        from transformers import AutoModelForCausalLM, DynamicCache

        torch.set_num_threads(threads)
        self._torch = torch
        self._model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
        self._cache = DynamicCache(config=self._model.config)

    def append(self, ids: Sequence[int]) -> int:
        with self._torch.inference_mode():
            found = self._model(self._torch.tensor([list(ids)]), past_key_values=self._cache, logits_to_keep=1)
        return int(found.logits[0, -1].argmax())

    def rewind(self, length: int) -> None:
        self._cache.crop(length)


class GenAI:
    """What its model builder made of a checkpoint, in ONNX Runtime GenAI."""

    def __init__(self, path: Path, threads: int) -> None:
        import onnxruntime_genai

        config = onnxruntime_genai.Config(str(path))
        config.overlay(json.dumps({"model": {"decoder": {"session_options": {"intra_op_num_threads": threads}}}}))
        model = onnxruntime_genai.Model(config)
        options = onnxruntime_genai.GeneratorParams(model)
        options.set_search_options(max_length=CONTEXT, batch_size=1)
        self._generator = onnxruntime_genai.Generator(model, options)

    def append(self, ids: Sequence[int]) -> int:
        self._generator.append_tokens(np.array([list(ids)], np.int32))
        return int(self._generator.get_logits()[0, -1].argmax())

    def rewind(self, length: int) -> None:
        self._generator.rewind_to(length)


def opened(engine: str, path: Path, threads: int) -> Engine:
    if engine == "llama.cpp":
        return LlamaCpp(path, threads)
    if engine == "transformers":
        return Transformers(path, threads)
    if engine == GENAI:
        return GenAI(path, threads)
    return Lilims(path, threads, "exact" if engine == "lilims-exact" else "fast")


def serve(engine: str, path: Path, threads: int) -> None:
    """Answers lines of JSON: {"append": n} or {"one_by_one": n} with {"seconds": …}, {"rewind": n} with {}."""
    model, random = opened(engine, path, threads), np.random.default_rng(0)
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        (what, n), *_ = json.loads(line).items()
        ids = [int(i) for i in random.integers(300, 2000, n)]
        started = time.perf_counter()
        if what == "rewind":
            model.rewind(n)
        elif what == "append":
            model.append(ids)
        else:
            for token in ids:
                model.append([token])
        print(json.dumps({"seconds": time.perf_counter() - started}), flush=True)


def start(engine: str, path: Path, threads: int) -> None:
    """One token of a short prompt, and the end."""
    print(opened(engine, path, threads).append(range(300, 300 + START_PROMPT)), flush=True)


class Process:
    """An engine in a process of its own."""

    def __init__(self, engine: str, path: Path, threads: int) -> None:
        self._process = subprocess.Popen(
            command("serve", engine, path, threads), stdin=-1, stdout=-1, text=True, env=environment(engine)
        )
        self._read()

    def ask(self, what: str, n: int) -> float:
        """Seconds of one task."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({what: n}) + "\n")
        self._process.stdin.flush()
        return float(self._read()["seconds"])

    def close(self) -> None:
        self._process.communicate()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"an engine ended: {self._process.args!r}")
        answer: dict[str, Any] = json.loads(line)
        return answer


def command(what: str, engine: str, path: Path, threads: int) -> list[str]:
    return [sys.executable, __file__, "--child", what, engine, str(path), "--threads", str(threads)]


def environment(engine: str) -> dict[str, str]:
    return {**os.environ, "LILIMS_KERNELS": str(int(engine == "lilims-kernels"))}


def seconds_to_first_token(engine: str, path: Path, threads: int) -> float:
    """From the start of a process until it prints a token."""
    begun = time.perf_counter()
    process = subprocess.Popen(command("start", engine, path, threads), env=environment(engine), stdout=-1)
    assert process.stdout is not None
    line, seconds = process.stdout.readline(), time.perf_counter() - begun
    process.communicate()
    if process.returncode or not line:
        raise SystemExit(f"an engine ended: {process.args!r}")
    return seconds


def measure(paths: dict[str, Path], options: argparse.Namespace) -> dict[str, dict[str, list[float]]]:
    """Seconds of every task of every engine, in the order of the rounds: {task: {engine: seconds}}."""
    found: dict[str, dict[str, list[float]]] = {}

    def note(task: str, engine: str, seconds: float) -> None:
        found.setdefault(task, {}).setdefault(engine, []).append(seconds)

    for _ in range(options.rounds):
        for engine, path in paths.items():
            note("start", engine, seconds_to_first_token(engine, path, options.threads))
    processes = {engine: Process(engine, path, options.threads) for engine, path in paths.items()}
    for round in range(options.rounds + 1):  # the first one warms up
        for engine, process in processes.items():
            process.ask("rewind", 0)
            seconds = process.ask("append", options.prompt)
            if round:
                note(f"prompt of {options.prompt}", engine, seconds / options.prompt)
    for depth in options.depths:
        for process in processes.values():
            process.ask("rewind", 0)
            if depth:
                process.ask("append", depth)
        for round in range(options.rounds + 1):
            for engine, process in processes.items():
                seconds = process.ask("one_by_one", options.tokens)
                process.ask("rewind", depth)
                if round:
                    note(f"tokens at {depth}", engine, seconds / options.tokens)
    for process in processes.values():
        process.close()
    return found


def show(found: dict[str, dict[str, list[float]]]) -> None:
    """One row for each task and engine; ratios are speeds against the first engine's of the same round."""
    for task, engines in found.items():
        reference = next(iter(engines.values()))
        for engine, seconds in engines.items():
            middle = statistics.median(seconds)
            figure = f"{middle:.2f} s" if task == "start" else f"{1 / middle:.1f} tokens/s"
            ratios = sorted(theirs / ours for theirs, ours in zip(reference, seconds, strict=True))
            spread = f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
            print(f"| {task} | {engine} | {figure} | {spread} |", flush=True)


def read_bandwidth(threads: int) -> float:
    """Bytes a second at which `threads` threads sum 1 GB of memory, the best of five."""
    from concurrent.futures import ThreadPoolExecutor

    parts = np.array_split(np.ones(2**27, np.int64), threads)
    best = 0.0
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(5):
            begun = time.perf_counter()
            list(pool.map(np.sum, parts))
            best = max(best, 2**30 / (time.perf_counter() - begun))
    return best


def float_file(model: str, folder: Path) -> Path:
    """A GGUF file of float16 weights."""
    from peers_gguf import gguf_files, write_float

    path = folder / f"{model}-F16.gguf"
    if path.exists():
        return path
    if model == "builtin":
        write_float(path)
        return path
    from lilims.conversion.random_checkpoint import write_random_checkpoint
    from lilims.core.testing import test_data

    (config,) = test_data("configs").rglob(f"{SHAPE}/config.json")
    values = json.loads(config.read_text("utf-8")) | {"max_position_embeddings": CONTEXT}
    write_random_checkpoint(values, folder / "checkpoint", dtype="F16")
    files = gguf_files()
    size = values["vocab_size"]
    tokens = ["<unk>", "<s>", "</s>", "a", "b", "ab", *(f"t{i}" for i in range(6, size))]

    def vocabulary(writer: Any) -> None:  # llama.cpp wants a merge
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("gpt-2")
        writer.add_token_list(tokens)
        writer.add_token_types([2, 3, 3, *[1] * (size - 3)])
        writer.add_token_merges(["a b"])
        writer.add_bos_token_id(1)
        writer.add_eos_token_id(2)

    files.write_gguf(folder / "checkpoint", path, files.packer("F16"), extra=vocabulary)
    return path


def prepare(options: argparse.Namespace, kind: str, folder: Path) -> dict[str, Path]:
    """The quantised file and the package made of it, by engine."""
    from lilims.conversion import convert
    from peers_gguf import STORIES, quantize

    quantised, package = folder / f"{options.model}-{kind}.gguf", folder / f"{options.model}-{kind}"
    if not quantised.exists():
        quantize(float_file(options.model, folder), quantised, kind)
    if not package.exists():
        convert(quantised, package, context=None if options.model == "builtin" else CONTEXT)
    checkpoint = STORIES if options.model == "builtin" else folder / "checkpoint"
    own = {"llama.cpp": quantised, "transformers": checkpoint}
    if GENAI in options.engines:
        own[GENAI] = genai_model(checkpoint, package, folder / f"{options.model}-genai")
    return {engine: own.get(engine, package) for engine in options.engines}


def genai_model(checkpoint: Path, package: Path, made: Path) -> Path:
    """What ONNX Runtime GenAI's model builder makes of a checkpoint; it wants a tokenizer beside the weights."""
    if made.exists():
        return made
    with tempfile.TemporaryDirectory() as temporary:
        source = Path(temporary) / "checkpoint"
        shutil.copytree(checkpoint, source)
        for file in package.glob("tokenizer*.json"):
            shutil.copy(file, source)
        builder = [sys.executable, "-m", "onnxruntime_genai.models.builder", "-p", "int4", "-e", "cpu"]
        places = ["-i", str(source), "-o", str(made), "-c", str(Path(temporary) / "cache")]
        extra = ["--extra_options", "int4_block_size=32", "int4_accuracy_level=4"]
        subprocess.run([*builder, *places, *extra], check=True, stdout=sys.stderr)
    return made


def installed(engines: Sequence[str]) -> list[str]:
    """The engines without ONNX Runtime GenAI where it is not there, which is said."""
    if GENAI in engines and importlib.util.find_spec("onnxruntime_genai") is None:
        print(f"{GENAI} is not installed and left out", file=sys.stderr)
        return [engine for engine in engines if engine != GENAI]
    return list(engines)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Measure lilims beside llama.cpp on the same weights.")
    parser.add_argument("--model", choices=["1.1b", "builtin"], default="1.1b")
    parser.add_argument("--types", nargs="+", default=["Q4_0", "Q8_0"])
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=ENGINES[:3])
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--depths", type=int, nargs="+", default=[0, 4096])
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--child", nargs=3, metavar=("WHAT", "ENGINE", "PATH"), help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child:
        what, engine, path = options.child
        {"serve": serve, "start": start}[what](engine, Path(path), options.threads)
        return 0
    options.engines = installed(options.engines)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for kind in options.types:
            paths = prepare(options, kind, folder)
            bandwidth = f"memory is read at {read_bandwidth(options.threads) / 1e9:.1f} GB/s"
            print(f"\n{options.model} {kind}, {options.threads} threads, {processor()}; {bandwidth}")
            print("weights: " + ", ".join(f"{engine} {size_of(path) / 1e6:,.0f} MB" for engine, path in paths.items()))
            print("\n| | engine | speed | against the first |\n|---|---|---:|---:|", flush=True)
            show(measure(paths, options))
    return 0


def size_of(path: Path) -> int:
    """Bytes of a file, or of a package's or checkpoint's weights."""
    weights = (file for kind in ("weight.bin", "*.safetensors", "model.onnx.data") for file in path.rglob(kind))
    return sum(file.stat().st_size for file in ([path] if path.is_file() else weights))


def processor() -> str:
    """The processor's name, as the system says it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


if __name__ == "__main__":
    sys.exit(main())
