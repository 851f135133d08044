"""Saved conversations: they go on where they were, are private, and hostile ones are refused."""

from __future__ import annotations

import json
import stat
import sys
from pathlib import Path
from typing import Any

import pytest

from lilims.core.errors import InputError, StorageError
from lilims.runtime import Model, load
from lilims.ui.terminal import conversation_file as files
from lilims.ui.terminal.conversation import Conversation

from .helpers import contents


@pytest.fixture(scope="module")
def model(shared_home: Path) -> Model:
    return load(shared_home / "models" / "stories-int4", executor="portable", threads=1)


def talk(model: Model, **options: Any) -> Conversation:
    asked = {"temperature": 1.5, "seed": 3, "max_tokens": 16, "ignore_eos": True, **options}
    return Conversation(model, lambda: asked, chats=False)


def run(tokens: Any) -> str:
    return "".join(token.text for token in tokens)


def test_it_goes_on_without_running_anything_again(model: Model, tmp_path: Path) -> None:
    path, first = tmp_path / "talk.json", talk(model)
    for word in ("Once upon a time", "Then"):
        run(first.say(word))
    files.write(first, path, "stories")
    files.write_cache(first, path)
    second = talk(model)
    saved = files.read(path)
    assert (saved.model, saved.chats, saved.messages) == ("stories", False, first.messages)
    assert files.restore(second, saved, path) is None
    assert run(second.say("One day")) == run(first.say("One day"))
    found = second.statistics
    assert found is not None
    assert found.prompt_tokens - found.reused_tokens <= 3


def test_without_its_cache_it_goes_on_all_the_same(model: Model, tmp_path: Path) -> None:
    path, first = tmp_path / "talk.json", talk(model)
    run(first.say("Once upon a time"))
    files.write(first, path, None)
    files.write_cache(first, path)
    files.cache_of(path).write_bytes(b"damaged")
    second = talk(model)
    problem = files.restore(second, files.read(path), path)
    assert problem is not None and "run again" in problem
    assert run(second.say("Then"))
    assert contents(second.messages)[:2] == contents(first.messages)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no modes")
def test_both_files_are_private(model: Model, tmp_path: Path) -> None:
    path, first = tmp_path / "talk.json", talk(model)
    run(first.say("Once upon a time"))
    files.write(first, path, None)
    files.write_cache(first, path)
    assert [stat.S_IMODE(one.stat().st_mode) for one in sorted(tmp_path.iterdir())] == [0o600, 0o600]


def test_a_path_is_not_kept_as_a_name(model: Model, tmp_path: Path) -> None:
    files.write(talk(model), tmp_path / "talk.json", "/home/somebody/model")
    assert files.read(tmp_path / "talk.json").model is None


def test_a_folder_that_is_not_there(model: Model, tmp_path: Path) -> None:
    with pytest.raises(StorageError):
        files.write(talk(model), tmp_path / "nowhere" / "talk.json", None)


GOOD = {"kind": "conversation", "schema_version": 1, "messages": [{"role": "user", "content": "x"}]}
BAD: dict[str, tuple[Any, str]] = {
    "not JSON": ("{", "not valid JSON"),
    "a list": ([], "is no conversation"),
    "another kind": ({**GOOD, "kind": "generation"}, "is no conversation"),
    "a later version": ({**GOOD, "schema_version": 2}, "later version"),
    "no messages": ({**GOOD, "messages": None}, "messages that are none"),
    "a message that is a text": ({**GOOD, "messages": ["x"]}, "messages that are none"),
    "another role": ({**GOOD, "messages": [{"role": "root", "content": "x"}]}, "messages that are none"),
    "a content that is a list": ({**GOOD, "messages": [{"role": "user", "content": ["x"]}]}, "messages that are none"),
}


@pytest.mark.parametrize(("found", "message"), BAD.values(), ids=BAD)
def test_a_file_that_is_none_is_refused(found: Any, message: str, tmp_path: Path) -> None:
    path = tmp_path / "talk.json"
    path.write_text(found if isinstance(found, str) else json.dumps(found), "utf-8")
    with pytest.raises(InputError, match=message) as raised:
        files.read(path)
    assert str(path) in str(raised.value)
    assert raised.value.hint


def test_fields_that_are_not_known_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "talk.json"
    message = {"role": "user", "content": "x", "tool_calls": [1], "reasoning_content": 5}
    path.write_text(json.dumps({**GOOD, "messages": [message], "model": "../x"}), "utf-8")
    assert files.read(path) == files.Saved([{"role": "user", "content": "x"}], None, True)
