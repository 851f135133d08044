"""Compares lilims with llama.cpp on the same quantised files of the built-in model.

    hatch run peers:gguf                     all types
    hatch run peers:gguf --types Q8_0 Q4_K_M

The built-in model is written as an F16 GGUF file and quantised by llama.cpp's own quantiser to each type; the file is
then run by llama.cpp and, converted, by lilims (exactly). Demanded are perplexities within 0.5 % of each other for
every type, and the same greedy text for Q8_0. llama.cpp multiplies with activations rounded to 8 bits, lilims here does
not: that is what the 0.5 % are for. It is also why the text is demanded of the file that llama.cpp expands to F32,
where it rounds no activations; the text of the file as it is stands beside it. Exit status 1 where a demand is not met.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).parents[1]
STORIES = ROOT / "workstreams" / "ws05-model-manager" / "src" / "lilims" / "models" / "builtin" / "stories"
TYPES = (
    "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q2_K", "Q3_K_M", "Q4_K_M", "Q5_K_M", "Q6_K", "IQ4_NL", "IQ4_XS",
)  # fmt: skip
PROMPT = "Once upon a time"
CONTINUATION = 100  # tokens
WINDOW, WINDOWS = 256, 16
MOST = 0.005  # how far perplexities may be apart


@dataclass(frozen=True)
class Result:
    """One type's figures."""

    type: str
    ours: float
    theirs: float
    same: int  # greedy tokens until the first that differs
    expanded: int  # the same where llama.cpp runs the file's values in F32

    @property
    def apart(self) -> float:
        return abs(self.ours / self.theirs - 1)

    @property
    def passes(self) -> bool:
        return self.apart < MOST and (self.type != "Q8_0" or self.expanded == CONTINUATION)


def gguf_files() -> ModuleType:
    """The tests' writer of GGUF files."""
    path = ROOT / "workstreams" / "ws01-conversion" / "tests" / "gguf_files.py"
    spec = importlib.util.spec_from_file_location("gguf_files", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_float(path: Path, kind: str = "F16") -> None:
    """The built-in model with its vocabulary; `kind` may also be a type that gguf itself quantises to."""
    tokenizer = json.loads((STORIES / "tokenizer.json").read_text("utf-8"))
    vocab = tokenizer["model"]["vocab"] | {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
    special = {token["content"] for token in tokenizer["added_tokens"] if token["special"]}
    config = json.loads((STORIES / "config.json").read_text("utf-8"))

    def vocabulary(writer: Any) -> None:
        tokens = sorted(vocab, key=vocab.__getitem__)
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("gpt-2")
        writer.add_token_list(tokens)
        writer.add_token_types([3 if token in special else 1 for token in tokens])
        merges = tokenizer["model"]["merges"]
        writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in merges])
        writer.add_bos_token_id(config["bos_token_id"])
        writer.add_eos_token_id(config["eos_token_id"])
        writer.add_add_bos_token(True)

    files = gguf_files()
    files.write_gguf(STORIES, path, files.packer(kind), extra=vocabulary)


def quantize(source: Path, target: Path, kind: str) -> None:
    """llama.cpp's own quantiser. ALL_F32 expands a quantised file."""
    import llama_cpp

    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_{'' if kind == 'ALL_F32' else 'MOSTLY_'}{kind}")
    parameters.allow_requantize = kind == "ALL_F32"
    parameters.nthread = 2
    code = llama_cpp.llama_model_quantize(str(source).encode(), str(target).encode(), parameters)
    if code:
        raise SystemExit(f"llama.cpp cannot quantise to {kind}: {code}")


def their_logits(model: Any, ids: Sequence[int]) -> NDArray[np.float32]:
    """Logits of every position, [n, vocab], on an empty state."""
    model.reset()
    model.eval(list(ids))
    found: NDArray[np.float32] = np.array(model.scores[: len(ids)], np.float32)
    return found


def their_greedy(model: Any, ids: list[int]) -> list[int]:
    model.reset()
    found: list[int] = []
    for token in model.generate(ids, temp=0.0, repeat_penalty=1.0):
        found.append(int(token))
        if len(found) == CONTINUATION:
            break
    return found


def compare(path: Path, kind: str, work: Path) -> Result:
    """Runs one file in both."""
    from llama_cpp import Llama

    from lilims.conversion import convert
    from lilims.conversion.evaluation.metrics import score
    from lilims.runtime import load

    def opened(file: Path) -> Any:  # one thread: several spin while they wait for each other on a busy machine
        threads = {"n_threads": 1, "n_threads_batch": 1}
        return Llama(str(file), n_ctx=512, n_batch=512, logits_all=True, seed=0, verbose=False, **threads)

    theirs = opened(path)
    ours = load(convert(path, work / kind).folder, precision="exact")
    text = (STORIES / "heldout.txt").read_text("utf-8")
    ids = ours.tokenizer.encode(text)[: WINDOW * WINDOWS]
    if theirs.tokenize(text.encode(), add_bos=True)[: len(ids)] != ids:
        raise SystemExit(f"{kind}: the two tokenizers differ")
    windows = [ids[first : first + WINDOW] for first in range(0, len(ids), WINDOW)]
    nll = [
        float(np.mean([score(logits(window)[:-1], window[1:]).nll.mean() for window in windows]))
        for logits in (ours.logits, lambda window: their_logits(theirs, window))
    ]
    prompt = ours.tokenizer.encode(PROMPT)
    mine = [t.id for t in ours.generate(prompt, max_tokens=CONTINUATION, ignore_eos=True, temperature=0)]
    quantize(path, work / "expanded.gguf", "ALL_F32")
    same, expanded = (_equal(mine, their_greedy(model, prompt)) for model in (theirs, opened(work / "expanded.gguf")))
    return Result(kind, float(np.exp(nll[0])), float(np.exp(nll[1])), same, expanded)


def _equal(mine: list[int], other: list[int]) -> int:
    """Tokens until the first that differs."""
    return next((i for i, (a, b) in enumerate(zip(mine, other, strict=True)) if a != b), CONTINUATION)


def _show(r: Result) -> None:
    mark = "" if r.passes else "  fails"
    line = f"{r.type:8} {r.ours:18.4f} {r.theirs:10.4f} {r.apart:8.3%} {r.same:8} {r.expanded:8}{mark}"
    print(line, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Compare lilims with llama.cpp on quantised files.")
    parser.add_argument("--types", nargs="+", choices=TYPES, default=TYPES)
    options = parser.parse_args(arguments)
    results = []
    print(f"equal greedy tokens of {CONTINUATION}, and where llama.cpp runs the file's values in F32")
    print("type     perplexity: lilims  llama.cpp    apart    equal   in F32", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        write_float(work / "stories-F16.gguf")
        for kind in options.types:
            path = work / f"stories-{kind}.gguf"
            quantize(work / "stories-F16.gguf", path, kind)
            results.append(compare(path, kind, work))
            _show(results[-1])
    return 0 if all(r.passes for r in results) else 1


if __name__ == "__main__":
    sys.exit(main())
