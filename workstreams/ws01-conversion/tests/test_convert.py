"""What a conversion refuses, what it says, and that it leaves nothing behind."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lilims.conversion import convert
from lilims.conversion.sources.checkpoint import open_checkpoint
from lilims.core.errors import CheckpointError, LilimsError, UnsupportedModelError, UsageError
from lilims.core.events import Event, listening
from lilims.core.manifest import read_manifest

from .test_safetensors import write


@pytest.fixture
def source(checkpoint_of: Callable[[str], Path], tmp_path: Path) -> Path:
    return Path(shutil.copytree(checkpoint_of("llama"), tmp_path / "source"))


def rewrite(folder: Path, change: Callable[[dict[str, np.ndarray]], None]) -> None:
    """Changes the tensors of a checkpoint."""
    checkpoint = open_checkpoint(folder)
    tensors = {name: np.array(checkpoint.tensor(name)) for name in checkpoint.names}
    change(tensors)
    header: dict[str, Any] = {}
    data = b""
    for name, values in tensors.items():
        raw = values.astype("<f4").tobytes()
        offsets = [len(data), len(data) + len(raw)]
        header[name] = {"dtype": "F32", "shape": list(values.shape), "data_offsets": offsets}
        data += raw
    write(folder / "model.safetensors", header, data)


def misshape(tensors: dict[str, np.ndarray]) -> None:
    tensors["model.layers.1.mlp.up_proj.weight"] = tensors["model.layers.1.mlp.up_proj.weight"][:-1]


TENSORS: dict[str, tuple[Callable[[dict[str, np.ndarray]], Any], type[LilimsError], str]] = {
    "missing": (lambda t: t.pop("model.norm.weight"), CheckpointError, "'model.norm.weight' is missing"),
    "misshapen": (misshape, CheckpointError, r"has shape \[111, 64\], the config says \[112, 64\]"),
    "left over": (
        lambda t: t.update({"model.layers.0.self_attn.q_norm.weight": np.ones(24)}),
        UnsupportedModelError,
        "q_norm.weight' .1 in all. is not part of a llama decoder",
    ),
    "infinite": (
        lambda t: t["model.norm.weight"].__setitem__(3, np.inf),
        CheckpointError,
        "'model.norm.weight' holds NaN or infinite",
    ),
}


@pytest.mark.parametrize("name", TENSORS)
def test_wrong_tensors_are_named_and_nothing_is_left(source: Path, tmp_path: Path, name: str) -> None:
    change, error, message = TENSORS[name]
    rewrite(source, change)
    before = sorted(p.name for p in tmp_path.iterdir())
    with pytest.raises(error, match=message):
        convert(source, tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"quantize": "int3"}, "'int3'"),
        ({"group_size": 48}, "48"),
        ({"context": 65}, "outside the model's 64 positions"),
        ({"context": 0}, "outside the model's 64 positions"),
    ],
    ids=["scheme", "group", "context", "empty"],
)
def test_options_that_do_not_exist(source: Path, tmp_path: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        convert(source, tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_companions_are_copied_and_the_manifest_reads_them(source: Path, tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models

    import lilims.tokenizer

    (source / "generation_config.json").write_text(json.dumps({"eos_token_id": [5, 7], "bos_token_id": 3}))
    (source / "README.md").write_text("---\nlanguage: en\nlicense: apache-2.0\n---\n# A model\n")
    (source / "LICENSE").write_text("the text")
    library = Tokenizer(models.BPE(vocab={"a": 0, "b": 1}, merges=[]))
    library.save(str(source / "tokenizer.json"))
    (source / "chat_template.jinja").write_text("plain")
    (source / "additional_chat_templates").mkdir()
    (source / "additional_chat_templates" / "tool_use.jinja").write_text("with tools")
    folder = convert(source, tmp_path / "out", context=40, name="mine").folder
    manifest = read_manifest(folder)
    assert (manifest.name, manifest.licence, manifest.context) == ("mine", "apache-2.0", 40)
    assert manifest.tokens.eos == [5, 7, 2]  # generation_config's first, then config's
    assert manifest.tokens.bos == 3
    assert manifest.functions["prefill"].tokens == 64
    assert manifest.state.shape[2] == 128  # 40 of context, 64 of scratch, rounded up to 32
    assert (folder / "LICENSE").read_text() == "the text"
    assert "generation_config.json" in manifest.files
    assert "additional_chat_templates/tool_use.jinja" in manifest.files
    tokenizer = lilims.tokenizer.Tokenizer.load(folder)
    assert tokenizer.eos_ids == (5, 7)
    messages = [{"role": "user", "content": "Hi"}]
    assert [tokenizer.apply_chat_template(messages, tools=tools) for tools in (None, [])] == ["plain", "with tools"]


def test_events_tell_what_happened(source: Path, tmp_path: Path) -> None:
    heard: list[Event] = []
    with listening(heard.append):
        convert(source, tmp_path / "out", group_size=128)
    tensors = {e.fields["role"]: e.fields for e in heard if e.name == "convert.tensor"}
    assert tensors["layers.0.attention.q.weight"]["scheme"] == "int4 per channel"  # 64 wide: 128 does not fit
    assert tensors["layers.0.attention.q.weight"]["fell_back"]
    assert not tensors["layers.0.mlp.down.weight"]["fell_back"]  # padded to 128
    assert [e.name for e in heard if e.name == "convert.no_tokenizer"] == ["convert.no_tokenizer"]


def test_a_checkpoint_of_the_bare_model_lacks_the_prefix(source: Path, tmp_path: Path) -> None:
    whole = convert(source, tmp_path / "whole", quantize="fp16").manifest

    def bare(tensors: dict[str, np.ndarray]) -> None:
        for name in [n for n in tensors if n.startswith("model.")]:
            tensors[name.removeprefix("model.")] = tensors.pop(name)

    rewrite(source, bare)
    found = convert(source, tmp_path / "bare", quantize="fp16").manifest
    weights = "model.mlpackage/Data/com.apple.CoreML/weights/weight.bin"
    assert found.files[weights] == whole.files[weights]
