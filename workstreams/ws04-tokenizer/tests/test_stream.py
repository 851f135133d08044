"""Streams: pieces without half characters that join to the whole text."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lilims.tokenizer import StreamDecoder, Tokenizer

from .helpers import TEXTS, loaded

SOURCES = {
    "gpt2": "tokenizers/gpt2",
    "qwen2": "tokenizers/qwen2",
    "stories260K": "models/stories260K",
    "mistral": "tokenizers/mistral/mistral_instruct_tokenizer_240323.model.v3",
    "unigram": "tokenizers/sentencepiece/test_model.model",
}


def pieces(tokenizer: Tokenizer, ids: list[int], skip: bool = True) -> list[str]:
    decoder = StreamDecoder(tokenizer, skip_special_tokens=skip)
    return [*map(decoder.push, ids), decoder.finish()]


@pytest.mark.parametrize("name", SOURCES)
@given(text=TEXTS)
@example(text="🙂👨\u200d👩\u200d👧 漢字 ع é e\u0301")
def test_text_streams_whole(name: str, text: str) -> None:
    tokenizer = loaded(SOURCES[name])
    ids = tokenizer.encode(text)
    parts = pieces(tokenizer, ids)
    assert "".join(parts) == tokenizer.decode(ids)
    if "\ufffd" not in text:
        assert not any("\ufffd" in part for part in parts)


@pytest.mark.parametrize("name", SOURCES)
@given(data=st.data(), skip=st.booleans())
def test_any_ids_stream_to_their_text(name: str, data: st.DataObject, skip: bool) -> None:
    tokenizer = loaded(SOURCES[name])
    some = st.integers(0, 300) | st.integers(-1, tokenizer.vocab_size)  # small ids are single bytes in most of them
    ids = data.draw(st.lists(some, max_size=20))
    assert "".join(pieces(tokenizer, ids, skip)) == tokenizer.decode(ids, skip_special_tokens=skip)


@pytest.mark.parametrize("name", ["gpt2", "stories260K"])
def test_half_a_character_waits_and_is_replaced_at_the_end(name: str) -> None:
    tokenizer = loaded(SOURCES[name])
    ids = tokenizer.encode("a漢", add_special_tokens=False)
    assert len(ids) == 4  # a, and three tokens for the other character
    decoder = StreamDecoder(tokenizer)
    assert [decoder.push(i) for i in ids] == ["a", "", "", "漢"]
    assert decoder.finish() == ""
    assert [decoder.push(i) for i in ids[:-1]] == ["a", "", ""]
    assert set(decoder.finish()) == {"\ufffd"}
    assert [decoder.push(i) for i in ids] == ["a", "", "", "漢"]  # as new


LLAMA_STEPS = [
    {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
    {"type": "ByteFallback"},
    {"type": "Fuse"},
]
STRIP = {"type": "Strip", "content": " ", "start": 1, "stop": 0}
DECODERS = {
    "llama": {"type": "Sequence", "decoders": [*LLAMA_STEPS, STRIP]},
    "gemma": {"type": "Sequence", "decoders": LLAMA_STEPS},
    "metaspace": {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": True},
    "bpe-suffix": {"type": "BPEDecoder", "suffix": "</w>"},
    "none": None,
}
WORDS = ["▁he", "llo", "▁", "▁world", "wide</w>", "a", "é", "漢", "<s>", *(f"<0x{i:02X}>" for i in range(256))]


@pytest.fixture(scope="module", params=DECODERS)
def json_tokenizer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A tokenizer.json with one of the decoders that models come with."""
    import json

    vocab = {word: i for i, word in enumerate(WORDS)}
    special = {"id": 8, "content": "<s>", "special": True}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    content = {
        "version": "1.0",
        "added_tokens": [{**special, **flags}],
        "decoder": DECODERS[request.param],
        "model": {"type": "BPE", "vocab": vocab, "merges": [], "byte_fallback": True},
    }
    path = tmp_path_factory.mktemp(request.param) / "tokenizer.json"
    path.write_text(json.dumps(content), "utf-8")
    return request.param, path


VALID = st.lists(
    st.sampled_from([[0], [1], [2], [3], [4], [5], [6], [7], [8]])
    | st.sampled_from("é漢🙂x").map(lambda c: [9 + b for b in c.encode()]),
    max_size=8,
).map(lambda parts: [i for part in parts for i in part])


@given(ids=VALID, skip=st.booleans())
def test_decoders_of_tokenizer_json_stream_as_the_library_decodes(
    json_tokenizer: tuple[str, Path], ids: list[int], skip: bool
) -> None:
    from tokenizers import Tokenizer as Library

    _, path = json_tokenizer
    tokenizer = Tokenizer.load(path)
    expected = Library.from_file(str(path)).decode(ids, skip_special_tokens=skip)
    assert tokenizer.decode(ids, skip_special_tokens=skip) == expected
    assert "".join(pieces(tokenizer, ids, skip)) == expected


def test_tokens_without_text_do_not_pile_up(json_tokenizer: tuple[str, Path]) -> None:
    """Special tokens, ids that do not exist, then a word: decoding all of them for each would take minutes."""
    tokenizer = Tokenizer.load(json_tokenizer[1])
    silent = [8, 9_999, -1] * 5_000
    assert "".join(pieces(tokenizer, [0, *silent, 3])) == tokenizer.decode([0, 3])


def test_a_token_costs_the_same_however_many_came_before() -> None:
    """Two hundred thousand tokens in seconds; decoding everything anew for each would take hours."""
    tokenizer = loaded(SOURCES["gpt2"])
    ids = tokenizer.encode("Once upon a time 🙂 ") * 30_000
    start = time.perf_counter()
    assert len("".join(pieces(tokenizer, ids))) == 30_000 * len("Once upon a time 🙂 ")
    assert time.perf_counter() - start < 20
