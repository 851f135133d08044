"""Perplexity of the built-in model by the rules of llama.cpp's perplexity tool and llama.cpp's arithmetic, beside ours.

    hatch run peers:perplexity [--windows N]

Knows perplexity.cpp's loop: windows of n_ctx tokens, BOS at the head of each, the tokens behind the first half count.
The model is written as an F16 GGUF, which llama.cpp runs as it is and lilims converts. Exit code 1: more than 0.1 %
apart.
"""

from __future__ import annotations

import argparse
import math
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from peers_gguf import STORIES, their_logits, write_float

__all__ = ["llama_cpp_perplexity", "main"]

N_CTX = 512
MOST = 0.001  # how far the two may be apart


def llama_cpp_perplexity(gguf: Path, ids: Sequence[int], windows: int) -> tuple[float, float]:
    """The perplexity and its error, in the steps of perplexity.cpp."""
    import llama_cpp

    options = {"n_threads": 1, "n_threads_batch": 1}
    model = llama_cpp.Llama(str(gguf), n_ctx=N_CTX, n_batch=N_CTX, logits_all=True, verbose=False, **options)
    vocabulary = llama_cpp.llama_model_get_vocab(model.model)
    bos = [llama_cpp.llama_vocab_bos(vocabulary)] if llama_cpp.llama_vocab_get_add_bos(vocabulary) else None
    nll, first = [], N_CTX // 2
    for start in range(0, windows * N_CTX, N_CTX):
        tokens = list(ids[start : start + N_CTX])
        logits = their_logits(model, (bos or tokens[:1]) + tokens[1:])
        for j in range(first, N_CTX - 1):
            row = logits[j]
            total = float(np.exp(row - row.max()).astype(np.float64).sum())
            nll.append(math.log(total) + float(row.max() - row[tokens[j + 1]]))
    mean = sum(nll) / len(nll)
    variance = sum(one * one for one in nll) / len(nll) - mean * mean
    return math.exp(mean), math.exp(mean) * math.sqrt(variance / (len(nll) - 1))


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints both and returns the exit code."""
    from lilims.conversion import convert, evaluate
    from lilims.conversion.evaluation.texts import Text

    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--windows", type=int, help="at most so many windows [default: all]")
    limit = parser.parse_args(arguments).windows
    text = Text("builtin", (STORIES / "heldout.txt").read_text("utf-8"), special=True)
    with tempfile.TemporaryDirectory() as scratch:
        gguf = Path(scratch) / "stories-F16.gguf"
        write_float(gguf)
        folder = convert(gguf, Path(scratch) / "model").folder
        found = evaluate(folder, text, context=N_CTX, windows=limit, jobs=1)
        tokenizer = found.model.tokenizer()
        assert tokenizer is not None
        ids = tokenizer.encode(text.content, parse_special=True)
        theirs, error = llama_cpp_perplexity(gguf, ids, len(found.windows))
    ours = found.summary
    print(f"lilims     {ours.perplexity:.4f} ± {ours.perplexity * ours.nll.error:.4f}")
    print(f"llama.cpp  {theirs:.4f} ± {error:.4f}   over {ours.tokens} tokens")
    return 0 if abs(ours.perplexity / theirs - 1) <= MOST else 1


if __name__ == "__main__":
    sys.exit(main())
