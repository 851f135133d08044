"""Writes docs/architectures.md: every architecture, what it can have, and how close its packages come to transformers.

    hatch run parity:python tools/architecture_table.py            all architectures
    hatch run parity:python tools/architecture_table.py gemma phi  the rows of these; the others stay

Features are read from the specs of the tiny models that the tests convert
(workstreams/ws01-conversion/tests/references/models.json), so what stands in the table has a test. The figures are
measured live on those models with other weights (seed 11): the package, executed exactly, against transformers in
float32 with the weights as they are stored, over 48 positions; the worst of a family's models.
"""

from __future__ import annotations

import argparse
import json
import re
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lilims.conversion.architectures import Config, architecture_for, supported
from lilims.conversion.spec import DecoderSpec, Experts, TensorSource

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "architectures.md"
MODELS = ROOT / "workstreams" / "ws01-conversion" / "tests" / "references" / "models.json"
SCHEMES = ("fp16", "int8", "int4")
POSITIONS, SEED = 48, 11
EXAMPLES = {
    "cohere": "Command R",
    "exaone": "EXAONE 3.5",
    "exaone4": "EXAONE 4.0 1.2B and 32B",
    "gemma": "Gemma 2B and 7B",
    "gemma2": "Gemma 2",
    "gemma3_text": "Gemma 3 (text)",
    "gpt2": "GPT-2",
    "gpt_neo": "TinyStories, GPT-Neo",
    "gpt_neox": "Pythia, GPT-NeoX",
    "granite": "Granite 3",
    "llama": "Llama 1 to 3, TinyLlama, SmolLM",
    "mistral": "Mistral 7B",
    "mixtral": "Mixtral 8×7B",
    "olmo2": "OLMo 2",
    "phi": "Phi-1, Phi-1.5, Phi-2",
    "phi3": "Phi-3 mini",
    "qwen2": "Qwen 2, Qwen 2.5",
    "qwen3": "Qwen 3",
    "qwen3_moe": "Qwen 3 30B-A3B",
    "smollm3": "SmolLM 3",
    "stablelm": "StableLM 2, StableLM 3B",
    "starcoder2": "StarCoder 2",
}
HEAD = """\
# Architectures

Written by `tools/architecture_table.py`; do not edit. An architecture is known by the `model_type` of config.json, and
is one file of `workstreams/ws01-conversion/src/lilims/conversion/architectures/`. A config with anything that is not
supported is refused with the key's name.

Features are those of the tiny random models that the tests convert and compare with transformers, position by
position. The last three columns are the relative RMS of the logits (the root mean square of the difference, over the
standard deviation) and the share of equal top-1 tokens, for packages in fp16, int8 and int4, executed exactly, against
transformers in float32 with the weights as they are stored; 48 positions, the worst of the family's models. Tests hold
the first below 1e-3. Where a top-1 differs, `tie` is how far apart transformers has the two tokens, over the same
deviation: no more than the errors of the two logits, so that either may come first. What quantising itself costs is in
[quantisation.md](quantisation.md).

| model_type | models | features | fp16 | int8 | int4 |
|---|---|---|---|---|---|
"""


NORMS = {"head": "each head", "each head": "each head by its own weights", "projection": "each projection"}


@dataclass(frozen=True)
class Figure:
    """How close a package is: relative RMS of its logits, the share of positions with the same top-1, and `tie`.

    That is, over the positions with another top-1, the most by which transformers puts its own above the package's,
    in standard deviations of the logits.
    """

    rms: float
    same: float
    tie: float = 0.0

    def __str__(self) -> str:
        figures = _short(self.rms) + f", {self.same:.0%}"
        return f"{figures} (tie: {_short(self.tie)})" if self.same < 1 else figures


def _short(value: float) -> str:
    return f"{value:.0e}".replace("e-0", "e-")


def spec_of(config: Mapping[str, Any]) -> DecoderSpec:
    return architecture_for(config, MODELS).spec(Config(config, MODELS))


def features(config: Mapping[str, Any]) -> set[str]:
    """What a model has that others have not, from its spec and its tensors' places."""
    spec = spec_of(config)
    sources = architecture_for(config, MODELS).tensors.values()
    found = {f"rotary scaling {table['kind']}" for table in _tables(spec) if table["kind"] != "default"}
    for layer in spec.layers:
        heads, mlp = layer.attention, layer.mlp
        given = {
            "one KV head": heads.kv_heads == 1 < heads.heads,
            "grouped heads": 1 < heads.kv_heads < heads.heads,
            "head_dim ≠ hidden / heads": heads.head_dim * heads.heads != spec.hidden_size,
            f"biases on {', '.join(sorted(heads.biases, key='qkvo'.index))}": bool(heads.biases),
            f"QK-norm over {NORMS[heads.qk_norm_over]}": heads.qk_norm is not None,
            "attention soft-cap": heads.softcap is not None,
            "all layers local": spec.window is not None,
            "some layers local": spec.local_window is not None,
            "layers without rotary": heads.rotary is None and spec.rotary is not None,
            "parallel blocks": layer.parallel,
            "norms before and behind": bool(layer.attention_norm and layer.attention_output_norm),
            "norms behind": bool(layer.attention_output_norm and not layer.attention_norm),
            "LayerNorm": (layer.attention_norm or layer.attention_output_norm or spec.final_norm).kind == "layer",
            "residual multiplier": layer.residual_scale != 1,
            "experts": isinstance(mlp, Experts),
            "MLP biases": not isinstance(mlp, Experts) and bool(mlp.biases),
            "plain MLP": not isinstance(mlp, Experts) and mlp.kind == "plain",
        }
        found |= {name for name, there in given.items() if there}
    whole = {
        "partial rotary": any(table["rotary_dim"] < spec.head_dim for table in _tables(spec)),
        "interleaved rotary": any(isinstance(source, TensorSource) and source.interleaved for source in sources),
        "local rotary tables": spec.local_rotary is not None,
        "learned positions": spec.learned_positions is not None,
        "tied head": spec.tied,
        "untied head": not spec.tied,
        "head bias": spec.head_bias,
        "embedding multiplier": spec.embedding_scale != 1,
        "logit multiplier": spec.logit_scale != 1,
        "logit soft-cap": spec.logit_softcap is not None,
    }
    return found | {name for name, there in whole.items() if there}


def _tables(spec: DecoderSpec) -> list[Mapping[str, Any]]:
    return [table for table in (spec.rotary, spec.local_rotary) if table is not None]


def models() -> dict[str, Mapping[str, Any]]:
    """The tiny models' configs by name."""
    entries = json.loads(MODELS.read_text("utf-8"))["models"]
    return {name: entry["config"] for name, entry in entries.items()}


def features_of(model_type: str) -> list[str]:
    """What some tiny model of the architecture has, sorted."""
    family = [config for config in models().values() if config["model_type"] == model_type]
    return sorted(set().union(*map(features, family)))


def measure(configs: Iterable[Mapping[str, Any]], scheme: str) -> Figure:
    """The worst of some models."""
    from lilims.conversion import convert
    from lilims.conversion.random_checkpoint import write_random_checkpoint
    from lilims.runtime import load
    from record_model_references import reference

    worst = Figure(0.0, 1.0)
    for config in configs:
        with tempfile.TemporaryDirectory() as scratch:
            source, out = Path(scratch) / "checkpoint", Path(scratch) / "model"
            write_random_checkpoint(config, source, seed=SEED)
            prompt = np.random.default_rng(SEED).integers(0, config["vocab_size"], POSITIONS).tolist()
            wanted = reference(source, scheme, prompt, greedy=False)[f"logits_{scheme}"]
            convert(source, out, quantize=scheme)
            found = load(out, precision="exact").logits(prompt)
        rms = float(np.sqrt(np.mean((found - wanted) ** 2)) / wanted.std())
        mine, theirs = (np.take_along_axis(wanted, x.argmax(1)[:, None], axis=1) for x in (found, wanted))
        tie = float((theirs - mine).max() / wanted.std())
        same = float((found.argmax(1) == wanted.argmax(1)).mean())
        worst = Figure(max(worst.rms, rms), min(worst.same, same), max(worst.tie, tie))
    return worst


def row(model_type: str) -> str:
    family = [config for config in models().values() if config["model_type"] == model_type]
    figures = [str(measure(family, scheme)) for scheme in SCHEMES]
    return " | ".join([f"| {model_type}", EXAMPLES[model_type], ", ".join(features_of(model_type)), *figures]) + " |"


def read_rows() -> dict[str, str]:
    """The rows of the document by model_type."""
    if not DOCUMENT.is_file():
        return {}
    lines = DOCUMENT.read_text("utf-8").splitlines()
    return {found[1]: line for line in lines if (found := re.match(r"\| (\w+) \|(?! models)", line))}


def main() -> None:
    """Measures what is named, and writes the document."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model_types", nargs="*", metavar="MODEL_TYPE")
    wanted = parser.parse_args().model_types or supported()
    if unknown := sorted(set(wanted) - set(supported())):
        parser.error(f"no architecture {', '.join(unknown)}")
    rows = {name: line for name, line in read_rows().items() if name in supported()}
    for model_type in wanted:
        rows[model_type] = row(model_type)
        print(rows[model_type], flush=True)
        DOCUMENT.write_text(HEAD + "".join(f"{rows[name]}\n" for name in sorted(rows)), "utf-8")


if __name__ == "__main__":
    main()
