"""What is no text and no token id is said so; ids outside every vocabulary give nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lilims.core.errors import UsageError
from lilims.tokenizer import StreamDecoder, Tokenizer

from .helpers import loaded

SOURCES = ["tokenizers/gpt2", "models/stories260K", "window"]


@pytest.fixture(params=SOURCES)
def tokenizer(request: pytest.FixtureRequest, tmp_path: Path) -> Tokenizer:
    if request.param != "window":
        return loaded(request.param)
    content = {  # its decoder looks at neighbouring tokens: the library decodes
        "version": "1.0", "added_tokens": [], "decoder": {"type": "BPEDecoder", "suffix": "</w>"},
        "model": {"type": "BPE", "vocab": {"a": 0, "b</w>": 1}, "merges": []},
    }  # fmt: skip
    (tmp_path / "tokenizer.json").write_text(json.dumps(content), "utf-8")
    return Tokenizer.load(tmp_path)


@pytest.mark.parametrize("i", [-1, -(2**70), 2**31, 2**32 - 1, 2**32, 2**63, 2**200])
def test_ids_outside_the_vocabulary_give_nothing(tokenizer: Tokenizer, i: int) -> None:
    known = [0, 1]
    assert tokenizer.decode([i]) == "" and tokenizer.decode([*known, i]) == tokenizer.decode(known)
    stream = StreamDecoder(tokenizer)
    assert "".join([*map(stream.push, [i, *known, i]), stream.finish()]) == tokenizer.decode(known)
    assert tokenizer.token(i) is None


def test_ids_may_be_numpys(tokenizer: Tokenizer) -> None:
    np = pytest.importorskip("numpy", reason="this package does not need it")
    assert tokenizer.decode(np.array([0, 1])) == tokenizer.decode([0, 1])


@pytest.mark.parametrize("ids", [None, 5, [None], ["a"], [0.5], "ab"], ids=repr)
def test_what_is_no_id(tokenizer: Tokenizer, ids: Any) -> None:
    with pytest.raises(UsageError, match="token ids are whole numbers"):
        tokenizer.decode(ids)
    with pytest.raises(UsageError, match="token ids are whole numbers"):
        tokenizer.decode_batch([ids])
    if isinstance(ids, list):
        with pytest.raises(UsageError, match="token ids are whole numbers"):
            StreamDecoder(tokenizer).push(ids[0])


@pytest.mark.parametrize("text", [None, b"a", 5, ["a"]], ids=repr)
def test_what_is_no_text(tokenizer: Tokenizer, text: Any) -> None:
    with pytest.raises(UsageError, match=f"a text is a string, not {type(text).__name__}"):
        tokenizer.encode(text)
    with pytest.raises(UsageError, match=f"a text is a string, not {type(text).__name__}"):
        tokenizer.encode_batch(["a", text])


def test_one_text_is_no_batch(tokenizer: Tokenizer) -> None:
    with pytest.raises(UsageError, match="a list of texts"):
        tokenizer.encode_batch("ab")
