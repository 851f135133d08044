"""Where templates and the ids that end a turn come from; how the makers of a model sample."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from lilims.core.errors import TokenizerError
from lilims.core.testing import test_data
from lilims.tokenizer import ChatTemplateError, Tokenizer, generation_defaults, tokenizer_files
from lilims.tokenizer.chat.ends import END_OF_TURN, end_of_turn_ids
from lilims.tokenizer.chat.sources import find_templates

from .helpers import BASE, loaded, model, piece

HELLO = [{"role": "user", "content": "Hi"}]


def names(found: dict[str, tuple[str, Path]]) -> dict[str, str]:
    return {name: text for name, (text, _) in found.items()}


def test_one_template_in_the_config(tmp_path: Path) -> None:
    assert names(find_templates(tmp_path, {"chat_template": "a"})) == {"default": "a"}
    assert find_templates(tmp_path, {}) == {} == find_templates(tmp_path, {"chat_template": None})


def test_several_templates_in_the_config(tmp_path: Path) -> None:
    listed = [{"name": "default", "template": "a"}, {"name": "tool_use", "template": "b"}]
    assert names(find_templates(tmp_path, {"chat_template": listed})) == {"default": "a", "tool_use": "b"}
    assert names(find_templates(tmp_path, {"chat_template": {"default": "a"}})) == {"default": "a"}


def test_files_replace_the_config(tmp_path: Path) -> None:
    (tmp_path / "chat_template.jinja").write_bytes(b"from\r\nfile")
    (tmp_path / "additional_chat_templates").mkdir()
    (tmp_path / "additional_chat_templates" / "tool_use.jinja").write_text("tools")
    found = find_templates(tmp_path, {"chat_template": "a"})
    assert names(found) == {"default": "from\nfile", "tool_use": "tools"}
    assert found["tool_use"][1] == tmp_path / "additional_chat_templates" / "tool_use.jinja"


def test_a_processors_template_comes_last(tmp_path: Path) -> None:
    (tmp_path / "chat_template.json").write_text(json.dumps({"chat_template": "p"}))
    assert names(find_templates(tmp_path, {})) == {"default": "p"}
    assert names(find_templates(tmp_path, {"chat_template": "a"})) == {"default": "a"}


@pytest.mark.parametrize(
    "value",
    [
        3,
        [1],
        [{"name": "default"}],
        [{"name": 1, "template": "x"}],
        {"default": 1},
        [{"name": "a", "template": "b"}] * 65,
    ],
    ids=["number", "list of numbers", "no template", "no name", "table of numbers", "too many"],
)
def test_a_template_that_is_none(value: Any, tmp_path: Path) -> None:
    with pytest.raises(ChatTemplateError, match="neither text nor a list"):
        find_templates(tmp_path, {"chat_template": value})


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        pytest.param(b"\xff\xfe", "not UTF-8", id="not UTF-8"),
        pytest.param(b"x" * (2 << 20), "larger than", id="too large"),
        pytest.param(b"{% for %}", "not a Jinja template", id="not Jinja"),
        pytest.param(b"{% if 1 %}\n\n{% endfor %}", r"chat_template.jinja:3: not a Jinja", id="line 3"),
    ],
)
def test_a_damaged_file(content: bytes, expected: str, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_bytes(model([*BASE, piece("▁"), piece("a")]))
    (tmp_path / "chat_template.jinja").write_bytes(content)
    tokenizer = Tokenizer.load(tmp_path)
    with pytest.raises(ChatTemplateError, match=expected):
        _ = tokenizer.chat_template


def test_templates_without_a_default(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_bytes(model([*BASE, piece("▁"), piece("a")]))
    (tmp_path / "additional_chat_templates").mkdir()
    (tmp_path / "additional_chat_templates" / "rag.jinja").write_text("x")
    with pytest.raises(ChatTemplateError, match="no default: rag"):
        _ = Tokenizer.load(tmp_path).chat_template


def test_what_a_model_folder_needs(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_bytes(model([*BASE, piece("▁"), piece("a")]))
    (tmp_path / "chat_template.jinja").write_text("x")
    (tmp_path / "additional_chat_templates").mkdir()
    (tmp_path / "additional_chat_templates" / "tool_use.jinja").write_text("y")
    (tmp_path / "additional_chat_templates" / "notes.txt").write_text("z")
    relative = [path.relative_to(tmp_path).as_posix() for path in tokenizer_files(tmp_path)]
    assert relative == ["tokenizer.model", "chat_template.jinja", "additional_chat_templates/tool_use.jinja"]


def test_every_name_of_a_special_token_is_the_templates(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_bytes(model([*BASE, piece("▁"), piece("a")]))
    config = {
        "pad_token": {"content": "<unk>"},
        "chat_template": "{{ bos_token }}{{ eos_token }}{{ pad_token }}{{ sep_token }}",
    }
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config))
    template = Tokenizer.load(tmp_path).chat_template
    assert template is not None and template.render(HELLO) == "<s></s><unk>"


def test_ends_of_qwen2() -> None:
    tokenizer = loaded("tokenizers/qwen2")
    assert tokenizer.eos_ids == (151645, 151643)  # the tokenizer's, then generation_config.json's
    assert tokenizer.end_of_turn_ids == (151645, 151643)


def test_ends_without_a_generation_config(tmp_path: Path) -> None:
    for name in ("vocab.json", "merges.txt", "tokenizer_config.json"):
        shutil.copy(test_data("tokenizers/qwen2") / name, tmp_path / name)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text("utf-8")) | {"eos_token": "<|endoftext|>"}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config), "utf-8")
    tokenizer = Tokenizer.load(tmp_path)
    assert tokenizer.eos_ids == (151643,)
    assert tokenizer.end_of_turn_ids == (151643, 151645)  # a base model's config, and yet a turn ends


@pytest.mark.parametrize(
    ("tokens", "expected"),
    [
        pytest.param(["<|eot_id|>", "<|eom_id|>", "<|end_of_text|>", "<|begin_of_text|>"], 3, id="Llama 3"),
        pytest.param(["<|user|>", "<|assistant|>", "<|end|>", "<|endoftext|>"], 2, id="Phi-3"),
        pytest.param(["<|user|>", "<|observation|>", "<|endoftext|>"], 3, id="GLM-4"),
        pytest.param(["<|end|>", "<|return|>", "<|call|>", "<|start|>"], 2, id="harmony"),
        pytest.param(["<start_of_turn>", "<end_of_turn>"], 1, id="Gemma"),
        pytest.param(["[|endofturn|]", "[|user|]"], 1, id="EXAONE"),
        pytest.param(["<|END_OF_TURN_TOKEN|>"], 1, id="Cohere"),
        pytest.param(["<s>", "[INST]"], 0, id="Mistral"),
    ],
)
def test_ends_of_families(tokens: list[str], expected: int) -> None:
    special = {token: i for i, token in enumerate(tokens)}
    assert len(end_of_turn_ids(special, [])) == expected
    assert end_of_turn_ids(special, [77, 0, 77])[:2] == (77, 0)


def test_the_table_names_its_sources() -> None:
    assert all(len(source) > 4 for source in END_OF_TURN.values())


def test_ordinary_tokens_end_nothing(tmp_path: Path) -> None:
    pieces = [*BASE, piece("▁"), piece("<end_of_turn>")]
    (tmp_path / "tokenizer.model").write_bytes(model(pieces))
    assert Tokenizer.load(tmp_path).end_of_turn_ids == (2,)


def write(folder: Path, config: Any) -> Path:
    (folder / "generation_config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    return folder


def test_defaults_of_qwen2() -> None:
    assert generation_defaults(test_data("tokenizers/qwen2")) == {
        "do_sample": True, "repetition_penalty": 1.1, "temperature": 0.5, "top_k": 40, "top_p": 0.7,
    }  # fmt: skip


def test_no_generation_config(tmp_path: Path) -> None:
    assert generation_defaults(tmp_path) == {}


def test_unknown_keys_and_null_are_as_absent(tmp_path: Path) -> None:
    given = {"temperature": 1, "top_k": None, "min_p": 0.05, "typical_p": 0.9, "penalty_alpha": "?", "max_length": -1}
    found = generation_defaults(write(tmp_path, given))
    assert found == {"temperature": 1.0, "min_p": 0.05, "typical_p": 0.9}
    assert isinstance(found["temperature"], float)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("temperature", -1), ("temperature", "1"), ("temperature", True), ("temperature", 1e9),
        ("temperature", 10**400), ("top_k", 1.5),
        ("top_k", -1), ("top_p", 1.01), ("top_p", [1]), ("min_p", -0.1), ("typical_p", 0), ("repetition_penalty", 0),
        ("do_sample", 1), ("do_sample", "yes"),
    ],
)  # fmt: skip
def test_a_value_that_cannot_be_meant(key: str, value: Any, tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match=f"'{key}' is .*, not "):
        generation_defaults(write(tmp_path, {key: value}))


@pytest.mark.parametrize("text", ["", "[]", "{", "NaN", '{"a": 1, "a": 2}', "\x00"])
def test_a_damaged_generation_config(text: str, tmp_path: Path) -> None:
    with pytest.raises(TokenizerError, match=r"generation_config.json: not"):
        generation_defaults(write(tmp_path, text))


def test_numbers_that_are_none(tmp_path: Path) -> None:
    for spelled in ("NaN", "Infinity"):
        with pytest.raises(TokenizerError, match="'temperature' is"):
            generation_defaults(write(tmp_path, f'{{"temperature": {spelled}}}'))


@pytest.mark.parametrize("value", ["2", [2, None], [2.0], True, 1 << 30, list(range(300))])
def test_eos_ids_that_are_none(value: Any, tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_bytes(model([*BASE, piece("▁"), piece("a")]))
    with pytest.raises(TokenizerError, match="'eos_token_id' is"):
        Tokenizer.load(write(tmp_path, {"eos_token_id": value}))


@pytest.mark.parametrize(("value", "expected"), [(7, (2, 7)), ([7, 2, 5], (2, 7, 5)), (None, (2,)), (-1, (2,))])
def test_eos_ids(value: Any, expected: tuple[int, ...], tmp_path: Path) -> None:
    (tmp_path / "tokenizer.model").write_bytes(model([*BASE, piece("▁"), piece("a")]))
    assert Tokenizer.load(write(tmp_path, {"eos_token_id": value})).eos_ids == expected
