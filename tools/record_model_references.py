"""Records what transformers computes for the tiny random models that the tests convert.

    hatch run parity:python tools/record_model_references.py            every model
    hatch run parity:python tools/record_model_references.py llama phi  these only

For each model and scheme: logits of every position of one prompt; where all schemes are recorded also a greedy
continuation. The weights that
transformers gets are the stored ones: quantised and dequantised here, by a formula of its own, so that what is compared
is the package and not the loss of quantising. Written to workstreams/ws01-conversion/tests/references/, with versions.
"""

from __future__ import annotations

import json
import platform
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from lilims.conversion.random_checkpoint import write_random_checkpoint

REFERENCES = Path(__file__).parents[1] / "workstreams" / "ws01-conversion" / "tests" / "references"
POSITIONS = 48  # tokens of a prompt
BEGINNING, CONTINUATION = 40, 20  # tokens of it that some models continue greedily, and how far: within 64 positions
SCHEMES = ("fp16", "int8", "int4")
MLP_WIDTHS = ("intermediate_size", "moe_intermediate_size", "n_inner", "ffn_dim")


def quantized(matrix: np.ndarray, scheme: str, padded: frozenset[int] = frozenset()) -> np.ndarray:
    """A matrix [out, in] as the scheme stores it, in float32: block by block, straight from the definition.

    padded: the widths that a package pads to whole blocks (an MLP's own), so that its last block is a part of one.
    """
    if scheme == "fp16":
        return matrix.astype(np.float16).astype(np.float32)
    width = matrix.shape[1]
    group = next(g for g in (32, 16, width) if width % g == 0 or (g == 32 and width in padded))
    low, high = {"int8": (-128, 127), "int4": (-8, 7)}[scheme]
    result = np.empty_like(matrix)
    for row in range(matrix.shape[0]):
        for first in range(0, width, group):
            block = matrix[row, first : first + group]
            scale = np.float32(np.float16(max(block.max() / high, block.min() / low)))
            result[row, first : first + group] = np.clip(np.round(block / scale), low, high) * scale
    return result


# Families that transformers lacks: the same arithmetic as Llama's, under other names.
AS_LLAMA: dict[str, dict[str, str]] = {
    "exaone": {
        "transformer.wte": "model.embed_tokens",
        "transformer.ln_f": "model.norm",
        "transformer.h.": "model.layers.",
        ".ln_1.": ".input_layernorm.",
        ".ln_2.": ".post_attention_layernorm.",
        ".attn.attention.out_proj": ".self_attn.o_proj",
        ".attn.attention.": ".self_attn.",
        ".mlp.c_fc_0.": ".mlp.gate_proj.",
        ".mlp.c_fc_1.": ".mlp.up_proj.",
        ".mlp.c_proj.": ".mlp.down_proj.",
    }
}


def as_llama(folder: Path, names: dict[str, str]) -> Path:
    """The checkpoint as transformers can load it: Llama's config and Llama's names, the same bytes."""
    config = json.loads((folder / "config.json").read_text())
    config |= {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "rms_norm_eps": config["layer_norm_epsilon"],
    }
    config |= {"num_hidden_layers": config["num_layers"], "hidden_act": config["activation_function"]}
    raw = (folder / "model.safetensors").read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = raw[8 : 8 + length].decode()
    for theirs, ours in names.items():
        header = header.replace(theirs, ours)
    out = folder / "as_llama"
    out.mkdir(exist_ok=True)
    (out / "config.json").write_text(json.dumps(config))
    encoded = header.encode()
    (out / "model.safetensors").write_bytes(len(encoded).to_bytes(8, "little") + encoded + raw[8 + length :])
    return out


def load_quantized(folder: Path, scheme: str) -> Any:
    """The checkpoint in transformers, float32 arithmetic, with its weights as the scheme stores them."""
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.pytorch_utils import Conv1D

    config = json.loads((folder / "config.json").read_text())
    model_type = config["model_type"]
    padded = frozenset(config[key] for key in MLP_WIDTHS if config.get(key)) - {config.get("hidden_size")}
    if model_type in AS_LLAMA:
        folder = as_llama(folder, AS_LLAMA[model_type])
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    transposed = {id(m.weight) for m in model.modules() if isinstance(m, Conv1D)}
    with torch.no_grad():
        for name, parameter in model.named_parameters():  # a tied table comes once
            values = parameter.numpy()
            if values.ndim < 2 and "gemma" in model.config.model_type:  # its norms are stored as 1 + w
                stored = (values + 1).astype(np.float16).astype(np.float32) - 1
            elif values.ndim < 2 or "norm" in name or "wpe" in name or "mlp.gate.weight" in name:  # nor a router
                stored = quantized(values, "fp16")
            elif id(parameter) in transposed and "c_attn" in name:  # the fused projection is stored in three parts
                stored = np.concatenate([quantized(p, scheme, padded) for p in np.split(values.T, 3)]).T
            elif id(parameter) in transposed:
                stored = quantized(values.T, scheme, padded).T
            else:  # experts are stacked in one tensor
                stored = quantized(values.reshape(-1, values.shape[-1]), scheme, padded).reshape(values.shape)
            parameter.copy_(torch.from_numpy(np.ascontiguousarray(stored)))
    return model


def continuation(model: Any, prompt: list[int]) -> tuple[list[int], float]:
    """A greedy continuation, and the least gap between the two top logits on the way."""
    import torch

    ids, gap = list(prompt), np.inf
    for _ in range(CONTINUATION):
        with torch.no_grad():
            row = model(torch.tensor([ids])).logits[0, -1].numpy()
        first, second = np.sort(row)[::-1][:2]
        gap = min(gap, float(first - second))
        ids.append(int(row.argmax()))
    return ids[len(prompt) :], gap


def reference(folder: Path, scheme: str, prompt: list[int], *, greedy: bool = True) -> dict[str, np.ndarray]:
    """Logits [n, vocab] of the prompt, and the greedy continuation."""
    import torch

    model = load_quantized(folder, scheme)
    with torch.no_grad():
        logits = model(torch.tensor([prompt])).logits[0].numpy()
    if not greedy:
        return {f"logits_{scheme}": logits}
    following, gap = continuation(model, prompt[:BEGINNING])
    print(f"  {scheme}: least gap between the top logits {gap:.4f}, their deviation {logits.std():.3f}")
    return {f"logits_{scheme}": logits, f"greedy_{scheme}": np.array(following, np.int32)}


def make_prompt(entry: dict[str, Any]) -> list[int]:
    """The prompt of a model: random ids from its seed."""
    ids: list[int] = np.random.default_rng(entry["seed"]).integers(0, entry["config"]["vocab_size"], POSITIONS).tolist()
    return ids


def main() -> None:
    """Records models of models.json: those that are named, or every one."""
    import torch
    import transformers

    models = json.loads((REFERENCES / "models.json").read_text())["models"]
    if unknown := set(sys.argv[1:]) - set(models):
        sys.exit(f"not in models.json: {', '.join(sorted(unknown))}")
    for name in sys.argv[1:] or models:
        entry = models[name]
        print(name)
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            write_random_checkpoint(entry["config"], folder, seed=entry["seed"])
            greedy = len(entry["schemes"]) > 1
            prompt = make_prompt(entry)
            arrays = {"prompt": np.array(prompt, np.int32), "greedy_prompt": np.array(prompt[:BEGINNING], np.int32)}
            for scheme in entry["schemes"]:
                arrays |= reference(folder, scheme, prompt, greedy=greedy)
            np.savez_compressed(REFERENCES / f"{name}.npz", allow_pickle=False, **arrays)
    versions = {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }
    text = json.dumps({"recorded_with": versions, "models": models}, indent=2)
    (REFERENCES / "models.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
