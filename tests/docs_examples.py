"""The desk on which the documentation's examples run."""

from __future__ import annotations

import gc
import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import numpy as np

CONFIG = {  # as small as a model with the built-in one's tokenizer may be
    "model_type": "llama", "vocab_size": 2048, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 3,
    "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 512, "bos_token_id": 0,
    "eos_token_id": 0, "tie_word_embeddings": True,
}  # fmt: skip
TEMPLATE = """\
{%- if tools %}{{ tools | length }} tools. {% endif -%}
{%- for message in messages %}<|{{ message.role }}|>{{ message.content }}
{% endfor -%}{%- if add_generation_prompt %}<|assistant|>{% endif -%}
"""


def desk(folder: Path) -> Path:
    """Checkpoints, models and texts under the names that pages use."""
    from lilims.conversion import convert
    from lilims.conversion.random_checkpoint import write_random_checkpoint
    from lilims.models import builtin_checkpoint

    builtin = builtin_checkpoint()
    for name in ("TinyStories-1M", "base"):
        write_random_checkpoint(CONFIG, folder / name, seed=3)
        for file in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
            shutil.copy(builtin / file, folder / name)
    convert(folder / "base", folder / "tiny")
    convert(folder / "base", folder / "tiny-fp16", quantize="fp16")
    shutil.copytree(folder / "tiny", folder / "model")
    (folder / "model" / "chat_template.jinja").write_text(TEMPLATE, "utf-8")
    story = (builtin / "heldout.txt").read_text("utf-8")
    for name in ("story.txt", "other.txt"):
        (folder / name).write_text(story[:6000], "utf-8")
    (folder / "recipe.yaml").write_text("default: keep\n", "utf-8")
    np.save(folder / "window.npy", np.zeros((1, 512), np.float32))
    _adapter(folder / "my-lora")
    _encoder(folder / "encoder.mlpackage")
    _gguf(folder)
    return folder


def _adapter(folder: Path) -> None:
    """LoRA of rank 2 on one projection."""
    from safetensors.numpy import save_file

    folder.mkdir()
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj"], "bias": "none"}
    (folder / "adapter_config.json").write_text(json.dumps(config), "utf-8")
    place = "base_model.model.model.layers.0.self_attn.q_proj"
    random = np.random.default_rng(1)
    tensors = {
        f"{place}.lora_A.weight": random.standard_normal((2, 64), np.float32),
        f"{place}.lora_B.weight": random.standard_normal((64, 2), np.float32),
    }
    save_file(tensors, folder / "adapter_model.safetensors")


def _encoder(path: Path) -> None:
    """A package that is no decoder, with an input `audio`."""
    import coremltools
    from coremltools.converters.mil import Builder

    @Builder.program(input_specs=[Builder.TensorSpec((1, 512))], opset_version=coremltools.target.iOS18)  # type: ignore[untyped-decorator]
    def encoder(audio: Any) -> Any:
        return Builder.relu(x=audio, name="features")

    with warnings.catch_warnings():  # coremltools leaves temporary folders to the collector, which says so
        warnings.simplefilter("ignore", ResourceWarning)
        target = coremltools.target.iOS18
        made = coremltools.convert(
            encoder, convert_to="mlprogram", minimum_deployment_target=target, skip_model_load=True
        )
        made.save(str(path))
        del made
        gc.collect()


def _gguf(folder: Path) -> None:
    import peers_gguf

    for name in ("model.gguf", "model-Q4_0.gguf", "qwen2.5-0.5b-instruct-q4_0.gguf"):
        peers_gguf.write_float(folder / name, "Q8_0")
