"""Chat templates of published models, against what transformers renders."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from lilims.core.testing import test_data
from lilims.tokenizer import ChatTemplate, ChatTemplateError

DATA = Path(__file__).parent / "data"
CONVERSATIONS: dict[str, dict[str, Any]] = json.loads((DATA / "conversations.json").read_text("utf-8"))
REFERENCES: dict[str, Any] = json.loads((DATA / "chat_references.json").read_text("utf-8"))
NAMES = sorted(path.stem for path in (DATA / "templates").glob("*.jinja"))
NOW = datetime.fromisoformat(REFERENCES["now"])
SHARED = {
    "qwen2": "tokenizers/qwen2/tokenizer_config.json",
    "llama3": "configs/edited-for-mediatek/llama3-8B-instruct/tokenizer_config.json",
    "llama3_2": "configs/edited-for-mediatek/Llama-3.2-1B-Instruct/tokenizer_config.json",
}


def source(name: str) -> str:
    return (DATA / "templates" / f"{name}.jinja").read_text("utf-8")


def render(text: str, conversation: dict[str, Any]) -> str | None:
    """The text, or None where the template refuses."""
    template = ChatTemplate(text, tokens=REFERENCES["tokens"])
    given = dict(conversation)
    try:
        return template.render(given.pop("messages"), now=NOW, **given)
    except ChatTemplateError:
        return None


def test_the_references_are_of_these_templates() -> None:
    assert sorted(REFERENCES["renderings"]) == NAMES
    assert all(list(texts) == list(CONVERSATIONS) for texts in REFERENCES["renderings"].values())
    rendered = [text for texts in REFERENCES["renderings"].values() for text in texts.values() if text is not None]
    assert len(rendered) > 250


@pytest.mark.parametrize("which", CONVERSATIONS)
@pytest.mark.parametrize("name", NAMES)
def test_a_conversation(name: str, which: str) -> None:
    expected = REFERENCES["renderings"][name][which]
    seen: Any = render(source(name), CONVERSATIONS[which])
    if isinstance(expected, dict) and seen is not None:
        seen = {"count": len(seen), "sha256": hashlib.sha256(seen.encode()).hexdigest()}
    assert seen == expected


def _recorder() -> ModuleType:
    path = Path(__file__).parents[3] / "tools" / "record_chat_references.py"
    spec = importlib.util.spec_from_file_location("record_chat_references", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parity
@pytest.mark.parametrize("name", [*NAMES, *(f"shared {name}" for name in SHARED)])
def test_a_template_against_transformers(name: str) -> None:
    recorder = _recorder()
    if name.startswith("shared "):
        path = test_data(SHARED[name.removeprefix("shared ")])
        text = json.loads(path.read_text("utf-8"))["chat_template"]
    else:
        text = source(name)
    for which, conversation in CONVERSATIONS.items():
        assert render(text, conversation) == recorder.rendered(text, conversation), which


def test_the_template_of_a_gguf_file_against_its_own_words() -> None:
    """Phi-3's, as the shared GGUF vocabulary has it."""
    raw = test_data("tokenizers/ggml-vocab/ggml-vocab-phi-3.gguf").read_bytes()
    begin = raw.index(b"{{ bos_token }}{% for message in messages %}")
    end = raw.index(b"{% endfor %}", begin) + len(b"{% endfor %}")
    messages = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo"}]
    text = ChatTemplate(raw[begin:end].decode(), tokens={"bos_token": "<s>"}).render(messages)
    assert text == "<s><|user|>\nHi<|end|>\n<|assistant|>\nYo<|end|>\n"


def test_a_template_for_tools_takes_the_place_of_the_default() -> None:
    found = {"default": ("plain", Path("a")), "tool_use": ("{{ tools | length }} tools", Path("b"))}
    template = ChatTemplate.of(found, {})
    assert template is not None
    messages = [{"role": "user", "content": "Hi"}]
    assert template.render(messages) == "plain"
    assert template.render(messages, tools=[]) == "0 tools"  # as in transformers: tools are there, if none


def test_what_the_template_says_when_it_refuses() -> None:
    template = ChatTemplate("\n\n{{ raise_exception('no system messages') }}", where="model/chat_template.jinja")
    with pytest.raises(ChatTemplateError, match="no system messages") as caught:
        template.render([{"role": "user", "content": "Hi"}])
    assert caught.value.where == "model/chat_template.jinja:3"


@pytest.mark.parametrize(
    ("messages", "expected"),
    [
        pytest.param([], "no messages", id="none"),
        pytest.param(["hi"], "mapping with role and content", id="text"),
        pytest.param([{"role": "user", "content": object()}], "as JSON has them, not object", id="object"),
    ],
)
def test_messages_that_are_none(messages: Any, expected: str) -> None:
    with pytest.raises(ChatTemplateError, match=expected):
        ChatTemplate("{{ messages }}").render(messages)


def test_the_date_is_of_today() -> None:
    before = datetime.now().strftime("%Y-%m-%d")
    seen = ChatTemplate("{{ strftime_now('%Y-%m-%d') }}").render([{"role": "user", "content": "Hi"}])
    assert seen in (before, datetime.now().strftime("%Y-%m-%d"))


def test_reasoning_has_one_name() -> None:
    """Callers say `reasoning` or `thinking`, templates read `reasoning_content`; transformers fills it in, too."""
    template = ChatTemplate("{{ messages[0].reasoning_content }} {{ messages[0].thinking }}")
    for name in ("reasoning_content", "reasoning", "thinking"):
        assert template.render([{"role": "assistant", "content": "x", name: "because"}]) == "because because", name
