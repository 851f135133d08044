"""Measures lilims beside llama.cpp (and transformers) on the same weights, in turns; records it and prints its table.

    hatch run peers:speed                                  a random 1.1B Llama, Q4_0 and Q8_0
    hatch run peers:speed --model builtin --types Q8_0     the built-in model
    hatch run peers:speed --engines lilims lilims-kernels  without the peers
    hatch run peers:speed --engines transformers lilims-exact      float32 (wants torch and transformers)
    hatch run peers:speed --engines onnxruntime-genai lilims --types Q4_0   (wants onnxruntime-genai, onnx-ir, torch)
    hatch run peers:speed --keep FOLDER                    keeps the files, and takes those that are there
    hatch run peers:speed --print                          records nothing

Every round's figures go into tools/results/peers_speed.json, in the place of those of the same work;
`python tools/generated_pages.py peers-speed` then writes docs/performance.md.

llama.cpp's own quantiser writes a GGUF file; `lilims convert` keeps its codes, so both multiply the same values. ONNX
Runtime GenAI's model builder quantises the checkpoint itself, to 4 bits in blocks of 32 with int8 activations. Each
engine is a process that holds its model; one works at a time. A round measures every engine once: a prompt of random
tokens, then tokens one by one at each depth (the text before them was run, not made up). What is shown is the median
over rounds, and the median of the ratios within a round with the lowest and highest. Neither tokenising nor sampling
counts. "start" is from the start of a process to the first token of a short prompt, with files in the page cache.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from lilims.bench.comparing import weight_bytes
from lilims.bench.engines import LIBRARIES
from lilims.bench.machine import machine
from lilims.bench.turns import Turns, in_turns, read_bandwidth
from peers_table import MODELS, Entry, record, tables

ROOT = Path(__file__).parents[1]
CONTEXT = 8192
VOCABULARY = 2000  # ids of prompts are below this number
SHAPE = "TinyLlama*"
GENAI = "onnxruntime-genai"
OWN = {"lilims": "lilims-plain"}  # without its optional library, whatever the settings say
ENGINES = ("llama.cpp", "lilims", "lilims-kernels", "transformers", "lilims-exact", GENAI)


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


def here(options: argparse.Namespace) -> dict[str, Any]:
    """The machine, its memory's speed, and the versions of the peers that are measured."""
    found = machine() | {"read_bandwidth": read_bandwidth(options.threads)}
    names = " ".join(LIBRARIES[engine][1] for engine in options.engines if engine in LIBRARIES)
    for name in ["numpy", *names.split()]:
        try:
            found["versions"][name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def today() -> str:
    """The day and, in a clone, the commit; a changed tree is told from it."""
    if not shutil.which("git"):
        return f"measured on {date.today()}"
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    commit = subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    return f"measured on {date.today()}" + (f" at {commit}" if commit else "")


def measure(options: argparse.Namespace, kind: str, folder: Path, when: str) -> Entry:
    """One type's entry in the record."""
    paths = prepare(options, kind, folder)
    work = {name: getattr(options, name) for name in ("prompt", "depths", "tokens", "rounds", "threads")}
    turns = Turns(**work, context=CONTEXT, vocabulary=VOCABULARY)
    return Entry(
        **work,
        model=options.model,
        kind=kind,
        engines=list(paths),
        when=when,
        machine=here(options),
        weights={engine: weight_bytes(path) for engine, path in paths.items()},
        seconds=in_turns({name: (OWN.get(name, name), path) for name, path in paths.items()}, turns),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Measure lilims beside llama.cpp on the same weights.")
    parser.add_argument("--model", choices=MODELS, default="1.1b")
    parser.add_argument("--types", nargs="+", default=["Q4_0", "Q8_0"])
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=ENGINES[:3])
    parser.add_argument("--prompt", type=int, default=512)
    parser.add_argument("--depths", type=int, nargs="+", default=[0, 4096])
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--print", action="store_true", help="print the tables without recording them")
    options = parser.parse_args(arguments)
    options.engines = installed(options.engines)
    when = today()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        for kind in options.types:
            entry = measure(options, kind, folder, when)
            print(tables([entry]), flush=True)
            if not options.print:
                record(entry)
    return 0


if __name__ == "__main__":
    sys.exit(main())
