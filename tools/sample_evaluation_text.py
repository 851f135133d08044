"""Samples an evaluation text from a model's own fp16 package, as token ids.

    python tools/sample_evaluation_text.py ../shared/data/models/stories260K \\
        workstreams/ws01-conversion/tests/references/stories260K_sampled.npz

Every sequence begins with the model's BOS token on an empty state and is drawn at temperature 1, in float32 arithmetic,
nothing cut off. So the text's expected loss under the model is the model's own entropy: no better text is to be had for
telling what quantisation loses. The same seed gives the same ids wherever the logits agree to their last bits; the
versions stand in the file.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import numpy as np

from lilims.conversion import convert
from lilims.runtime import Model, load


def sample(model: Model, *, sequences: int, length: int, seed: int) -> Iterator[list[int]]:
    """Sequences of `length` ids, BOS among them; the i-th is drawn with seed + i.

    Raises:
        ValueError: the model has no BOS token.
    """
    begin = model.manifest.tokens.bos
    if begin is None:
        raise ValueError(f"{model.manifest.name} has no BOS token to begin with")
    for index in range(sequences):
        tokens = model.generate([begin], max_tokens=length - 1, temperature=1.0, seed=seed + index, ignore_eos=True)
        yield [begin, *(token.id for token in tokens)]


def main() -> None:
    """Converts, samples and writes."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("checkpoint", type=Path, help="Hugging Face folder")
    parser.add_argument("out", type=Path, help="the .npz to write")
    parser.add_argument("--sequences", type=int, default=40)
    parser.add_argument("--length", type=int, default=500, help="tokens of a sequence")
    parser.add_argument("--seed", type=int, default=260)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        made = convert(options.checkpoint, Path(scratch) / "model", quantize="fp16")
        model = load(made.folder, precision="exact")
        drawn = sample(model, sequences=options.sequences, length=options.length, seed=options.seed)
        ids = np.array(list(drawn), np.uint16 if model.vocab_size <= 1 << 16 else np.uint32)
        record = {
            "source": made.manifest.source.model_dump(),
            "temperature": 1.0,
            "seed": options.seed,
            "versions": {name: version(name) for name in ("lilims-core", "numpy", "onnxruntime", "coremltools")},
            "python": platform.python_version(),
            "machine": platform.machine(),
        }
        print(model.tokenizer.decode([int(token) for token in ids[0]]))
    np.savez_compressed(options.out, allow_pickle=False, ids=ids, record=np.array(json.dumps(record)))
    print(f"{options.out}: {ids.size} tokens, {options.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
