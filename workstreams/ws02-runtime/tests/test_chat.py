"""Messages in, answers out: the template's ids, reasoning apart, ends of turns."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lilims.core.errors import TokenizerError
from lilims.core.manifest import read_manifest
from lilims.runtime import Model
from lilims.tokenizer import Tokenizer

from .fakes import EOS, FakeExecutor, scripted, write_folder

TEMPLATE = (
    "{% for message in messages %}{{ message.role[0] }}:{{ message.content.split('</think>')[-1] }}\n{% endfor %}"
    "{% if add_generation_prompt %}a:{% if enable_thinking %}<think>{% endif %}{% endif %}"
)
ASKED: list[dict[str, Any]] = [{"role": "user", "content": "Hi"}]
SPELLED = b"u:Hi\na:"


def chat_model(folder: Path, executor: FakeExecutor, template: str | None = TEMPLATE) -> Model:
    write_folder(folder)
    if template is not None:
        (folder / "chat_template.jinja").write_text(template, "utf-8")
    return Model(folder, read_manifest(folder), executor, Tokenizer.load(folder))


def answers(text: str, *, prompt: int) -> FakeExecutor:
    return FakeExecutor(scripted(*text.encode(), EOS, prompt=prompt))


def test_messages_become_the_templates_ids(tmp_path: Path) -> None:
    model = chat_model(tmp_path / "m", answers("Ho!", prompt=len(SPELLED)))
    assert model.chats
    generation = model.generate(ASKED)
    assert generation.text() == "Ho!"
    assert generation.statistics.prompt_tokens == len(SPELLED)


def test_reasoning_is_apart_from_the_answer(tmp_path: Path) -> None:
    text = "<think>a fox?</think>A fox."
    tokens = list(chat_model(tmp_path / "m", answers(text, prompt=len(SPELLED))).generate(ASKED))
    assert "".join(token.text for token in tokens) == "A fox."
    assert "".join(token.reasoning for token in tokens) == "a fox?"
    assert tokens[-1].finish_reason == "stop"


def test_reasoning_that_the_template_opens(tmp_path: Path) -> None:
    prompt = len(SPELLED) + len("<think>")
    model = chat_model(tmp_path / "m", answers("a fox?</think>A fox.", prompt=prompt))
    tokens = list(model.generate(ASKED, think=True))
    assert "".join(token.text for token in tokens) == "A fox."
    assert "".join(token.reasoning for token in tokens) == "a fox?"


def test_text_is_continued_as_it_is(tmp_path: Path) -> None:
    model = chat_model(tmp_path / "m", answers("<think>x", prompt=2))
    assert model.generate("Hi").text() == "<think>x"


def test_a_model_without_a_template_takes_the_default_one(tmp_path: Path) -> None:
    model = chat_model(tmp_path / "m", FakeExecutor(), None)
    assert not model.chats
    template = model.tokenizer.default_chat_template
    prompt = len(model.tokenizer.encode_chat(ASKED))
    model = chat_model(tmp_path / "n", FakeExecutor(scripted(*b"Ho!\nUser: more", prompt=prompt)), None)
    assert template.stops
    assert model.generate(ASKED, max_tokens=20).text().startswith("Ho!")
    assert "User:" not in model.generate(ASKED, max_tokens=14).text()


def test_a_template_that_fails(tmp_path: Path) -> None:
    model = chat_model(tmp_path / "m", FakeExecutor(), "{{ raise_exception('no system') }}")
    with pytest.raises(TokenizerError, match="no system"):
        model.generate(ASKED)


def _with_special_token(folder: Path, token: str, place: int) -> None:
    """Puts a special token in the place of a token of the folder's tokenizer."""
    file = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    file["added_tokens"].append(
        {"id": place, "content": token, "special": True, "single_word": False, "lstrip": False, "rstrip": False,
         "normalized": False}
    )  # fmt: skip
    vocab = file["model"]["vocab"]
    vocab.pop(next(token for token, i in vocab.items() if i == place))
    vocab[token] = place
    (folder / "tokenizer.json").write_text(json.dumps(file), "utf-8")


def test_ends_of_turns_end_an_answer(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "m")
    _with_special_token(folder, "<|im_end|>", 250)
    tokenizer = Tokenizer.load(folder)
    assert 250 in tokenizer.end_of_turn_ids
    model = Model(folder, read_manifest(folder), FakeExecutor(scripted(97, 250, 98)), tokenizer)
    assert [token.id for token in model.generate([0])] == [97, 250]


def test_a_prompt_is_encoded_ahead(tmp_path: Path) -> None:
    model = chat_model(tmp_path / "m", answers("Ho!", prompt=len(SPELLED)))
    prompt = model.encode(ASKED)
    assert prompt.ids == model.tokenizer.encode_chat(ASKED)
    assert model.generate(prompt).text() == "Ho!"
    assert model.encode("Hi").ids == model.tokenizer.encode("Hi") and model.encode([1, 2]).ids == [1, 2]


def test_further_variables_of_the_template(tmp_path: Path) -> None:
    model = chat_model(tmp_path / "m", FakeExecutor(), "{{ effort }}:{{ messages[0].content }}")
    assert bytes(model.encode(ASKED, template={"effort": "high"}).ids) == b"high:Hi"


@pytest.mark.parametrize(("tools", "shown"), [([{"type": "function"}], "[TOOL_CALLS]a"), (None, "a")])
def test_marks_of_calls_are_text_where_there_are_tools(tmp_path: Path, tools: Any, shown: str) -> None:
    folder = write_folder(tmp_path / "m")
    _with_special_token(folder, "[TOOL_CALLS]", 250)
    executor = FakeExecutor(scripted(250, 97, EOS, prompt=2))
    model = Model(folder, read_manifest(folder), executor, Tokenizer.load(folder))
    (folder / "chat_template.jinja").write_text("{{ messages[0].content }}", "utf-8")
    assert model.generate(ASKED, tools=tools).text() == shown
