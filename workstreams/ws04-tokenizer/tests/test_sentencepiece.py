"""SentencePiece models: small ones by hand, real ones against google/sentencepiece, damaged ones."""

from __future__ import annotations

import functools
import json
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lilims.core.errors import TokenizerError
from lilims.core.testing import test_data
from lilims.tokenizer import Tokenizer
from lilims.tokenizer.charsmap import Charsmap
from lilims.tokenizer.sentencepiece_model import parse, read
from lilims.tokenizer.sentencepiece_text import Normalizer

from .helpers import (
    BASE,
    BPE,
    BYTE,
    BYTES,
    CONTROL,
    TEXTS,
    UNIGRAM,
    UNUSED,
    USER_DEFINED,
    field,
    loaded,
    model,
    piece,
)

REAL = {
    "stories260K": "models/stories260K/tokenizer.model",
    "mistral": "tokenizers/mistral/mistral_instruct_tokenizer_240323.model.v3",
    "unigram": "tokenizers/sentencepiece/test_model.model",
    "japanese": "tokenizers/sentencepiece/test_ja_model.model",
}
LETTERS = [piece(c, -9.0) for c in "▁abc"]
SMALL = [*BASE, *LETTERS, piece("ab", -1.0), piece("▁ab", -2.0), piece("bc", -0.5), piece("▁a", -3.0)]


def load(folder: Path, data: bytes, **config: Any) -> Tokenizer:
    (folder / "tokenizer.model").write_bytes(data)
    if config:
        (folder / "tokenizer_config.json").write_text(json.dumps(config), "utf-8")
    return Tokenizer.load(folder)


def tokens(tokenizer: Tokenizer, text: str, **arguments: Any) -> list[str | None]:
    return [tokenizer.token(i) for i in tokenizer.encode(text, **arguments)]


def test_bpe_merges_the_highest_score_first(tmp_path: Path) -> None:
    tokenizer = load(tmp_path, model(SMALL))
    assert tokens(tokenizer, "abc") == ["<s>", "▁a", "bc"]  # bc before ab, though ab comes first
    assert tokens(tokenizer, "ab a") == ["<s>", "▁ab", "▁a"]
    assert tokens(tokenizer, "ab", add_special_tokens=False) == ["▁ab"]


def test_unigram_takes_the_best_path(tmp_path: Path) -> None:
    tokenizer = load(tmp_path, model(SMALL, kind=UNIGRAM), add_bos_token=False, add_eos_token=True)
    assert tokens(tokenizer, "abc") == ["▁a", "bc", "</s>"]  # -3.5 beats ▁ab c at -11
    assert tokens(tokenizer, "ab a") == ["▁ab", "▁a", "</s>"]


@pytest.mark.parametrize("kind", [BPE, UNIGRAM], ids=["bpe", "unigram"])
def test_unknown_text(tmp_path: Path, kind: int) -> None:
    plain = load(tmp_path, model(SMALL, kind=kind))
    assert tokens(plain, "aé漢b") == ["<s>", "▁a", "<unk>", "b"]  # a run is one piece
    assert plain.decode(plain.encode("aéb")) == "a ⁇ b"
    spelled = load(tmp_path, model([*SMALL, *BYTES], kind=kind, byte_fallback=True))
    assert tokens(spelled, "aéb") == ["<s>", "▁a", "<0xC3>", "<0xA9>", "b"]
    assert spelled.decode(spelled.encode("aé漢b")) == "aé漢b"


@pytest.mark.parametrize("kind", [BPE, UNIGRAM], ids=["bpe", "unigram"])
def test_what_stands_outside_text_is_not_found_in_it(tmp_path: Path, kind: int) -> None:
    spelling = [piece(c, -9.0) for c in "<>s/x041"]
    tokenizer = load(tmp_path, model([*SMALL, *spelling, *BYTES], kind=kind, byte_fallback=True))
    assert tokens(tokenizer, "<s>", add_special_tokens=False) == ["▁", "<", "s", ">"]
    assert tokens(tokenizer, "<0x41>", add_special_tokens=False) == ["▁", "<", "0", "x", "4", "1", ">"]
    assert tokens(tokenizer, "<s>a</s>", add_special_tokens=False, parse_special=True) == ["<s>", "▁a", "</s>"]


@pytest.mark.parametrize("kind", [BPE, UNIGRAM], ids=["bpe", "unigram"])
def test_user_defined_symbols_are_found_first_and_whole(tmp_path: Path, kind: int) -> None:
    symbols = [piece("ab", -1.0), piece("bb", 0.0, USER_DEFINED), piece("bba", 0.0, USER_DEFINED)]
    tokenizer = load(tmp_path, model([*BASE, *LETTERS, *symbols], kind=kind))
    assert tokens(tokenizer, "abba", add_special_tokens=False) == ["▁", "a", "bba"]
    assert tokens(tokenizer, "bbc", add_special_tokens=False) == ["▁", "bb", "c"]


def test_bos_and_prefix_behind_special_tokens(tmp_path: Path) -> None:
    legacy = load(tmp_path, model(SMALL), bos_token="<s>", eos_token="</s>")
    assert tokens(legacy, "a</s>a", parse_special=True) == ["<s>", "▁a", "</s>", "▁a"]
    modern = load(tmp_path, model(SMALL), legacy=False)
    assert tokens(modern, "a</s>a", parse_special=True) == ["<s>", "▁a", "</s>", "a"]
    assert (modern.bos_id, modern.eos_ids) == (1, (2,))


def test_tokens_that_the_config_adds(tmp_path: Path) -> None:
    added = {"11": {"content": "<|user|>", "special": True}, "12": {"content": "cc", "special": False}}
    tokenizer = load(tmp_path, model(SMALL), added_tokens_decoder=added, eos_token="<|user|>")
    assert tokenizer.vocab_size == 13 and tokenizer.eos_ids == (11,)
    assert tokenizer.encode("<|user|>", parse_special=True) == [1, 11]
    assert 11 not in tokenizer.encode("<|user|>") and 12 in tokenizer.encode("acc")
    assert tokenizer.decode([11, 12]) == "cc" and tokenizer.decode([11], skip_special_tokens=False) == "<|user|>"


@pytest.mark.parametrize(
    ("added", "message"),
    [
        ({"13": {"content": "x"}}, "leaves a gap between the 11 pieces"),
        ({"3": {"content": "x"}}, "piece 3 is '▁'"),
    ],
    ids=str,
)
def test_a_config_of_another_model_is_refused(tmp_path: Path, added: dict[str, Any], message: str) -> None:
    with pytest.raises(TokenizerError, match=message):
        load(tmp_path, model(SMALL), added_tokens_decoder=added)


@pytest.mark.parametrize(
    ("dummy_prefix", "collapse", "text", "normalised", "decoded"),
    [
        (True, False, " a  b ", "▁▁a▁▁b▁", " a  b "),
        (True, True, "  a   b  ", "▁a▁b", "a b"),
        (False, True, "  a   b  ", "a▁b", "a b"),
        (False, False, " a", "▁a", " a"),
        (True, True, "   ", "", ""),
        (True, True, "a▁", "▁a", "a"),
        (True, False, "", "", ""),
    ],
)
def test_whitespace(
    tmp_path: Path, dummy_prefix: bool, collapse: bool, text: str, normalised: str, decoded: str
) -> None:
    data = model(SMALL, dummy_prefix=dummy_prefix, collapse=collapse)
    assert Normalizer(parse(data))(text) == normalised
    tokenizer = load(tmp_path, data)
    assert tokenizer.decode(tokenizer.encode(text)) == decoded


def charsmap(rules: dict[str, str]) -> bytes:
    """A trie of rules as a double array: every node gets a block of 256 units of its own."""
    texts, offsets = b"", {}
    for key, text in rules.items():
        offsets[key.encode()] = len(texts)
        texts += text.encode() + b"\0"
    prefixes = sorted({key[:n] for key in offsets for n in range(len(key) + 1)}, key=len)
    block = {prefix: 256 * (n + 1) for n, prefix in enumerate(prefixes)}
    units = [0xFFFFFF00] * (256 * (len(prefixes) + 1))
    place = {b"": 0}
    for prefix in prefixes:
        at = place[prefix]
        offset = at ^ block[prefix]
        shifted = offset << 10 if offset < 1 << 21 else (offset >> 8) << 10 | 0x200
        units[at] = shifted | (0x100 if prefix in offsets else 0) | (prefix[-1] if prefix else 0)
        if prefix in offsets:
            units[block[prefix]] = offsets[prefix] | 1 << 31
        for child in prefixes:
            if len(child) == len(prefix) + 1 and child.startswith(prefix):
                place[child] = block[prefix] ^ child[-1]
    trie = struct.pack(f"<{len(units)}I", *units)
    return len(trie).to_bytes(4, "little") + trie + texts


RULES = {"é": "e", "e\u0301": "é", "ab": "B", "abcd": "D", "\t": " ", "x": "", "…": "...", "🙂": "(: )"}


def test_rules_take_the_longest_match() -> None:
    rules = Charsmap(charsmap(RULES))
    assert (rules.singles, rules.starts, rules.seconds) == (set("é\tx…🙂"), set("ea"), set("\u0301b"))
    data = model(SMALL, charsmap=charsmap(RULES))
    for text, expected in [
        ("é", "▁e"),
        ("e\u0301e", "▁ée"),
        ("abc", "▁Bc"),
        ("abcabcd", "▁BcD"),
        ("aab", "▁aB"),
        ("a\tb", "▁a▁b"),
        ("x", "▁"),
        ("🙂…", "▁(:▁)..."),
    ]:
        assert Normalizer(parse(data))(text) == expected, text


@given(st.text(st.sampled_from("é\u0301eabcdx\t …🙂Z"), max_size=12))
def test_rules_against_a_plain_search(text: str) -> None:
    at, expected = 0, ""
    while at < len(text):
        key = max((k for k in RULES if text.startswith(k, at)), key=len, default=None)
        expected += RULES[key] if key else text[at]
        at += len(key) if key else 1
    data = model(SMALL, charsmap=charsmap(RULES), dummy_prefix=False)
    assert Normalizer(parse(data))(text) == expected.replace(" ", "▁")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "it has no pieces"),
        (b"\xff" * 40, "does not end"),
        (b"not a model", "wire type|past the end"),
        (model([piece("a"), piece("b")]), "0 pieces for unknown text"),
        (model([*BASE, BASE[0]]), "stands twice"),
        (model([*BASE, piece("a"), piece("a")]), "piece 4, 'a', stands twice"),
        (model([*BASE, piece("")]), "piece 3 is damaged"),
        (model([*BASE, piece(b"\xff")]), "piece 3 is damaged"),
        (model([*BASE, piece("a", float("nan"))]), "score of piece 3 is nan"),
        (model([*BASE, piece("a", kind=9)]), "piece 3 is damaged"),
        (model([*BASE, piece("a", kind=UNUSED)]), "marked unused, which lilims does not support in BPE"),
        (model([*BASE, piece("<0x00>", kind=BYTE)]), "1 pieces for bytes, where 0"),
        (model([*BASE, *BYTES[1:]], byte_fallback=True), "255 pieces for bytes, where 256"),
        (model(SMALL, kind=3), "model_type 3"),
        (model(SMALL, charsmap=b"\x01\0\0\0abc"), "size of the trie"),
        (model(SMALL, charsmap=charsmap(RULES)[:-4]), "a replacement is missing"),
        (model(SMALL, extra=field(5, field(2, b"x"))), "denormalizer_spec"),
        (model(SMALL, extra=field(3, field(5, 0))), "does not escape whitespace"),
        (model(SMALL, extra=field(2, 7)), "wrong wire type"),
        (model(SMALL)[:-3], "past the end"),
    ],
)
def test_a_damaged_model_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    with pytest.raises(TokenizerError, match=message) as caught:
        load(tmp_path, data)
    assert caught.value.where == str(tmp_path / "tokenizer.model")


@given(st.data())
def test_damaged_bytes_never_do_worse_than_an_error(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    whole = bytearray(model(SMALL, kind=data.draw(st.sampled_from([BPE, UNIGRAM])), charsmap=charsmap({"é": "e"})))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    folder = tmp_path_factory.mktemp("damaged")
    try:
        tokenizer = load(folder, bytes(whole))
    except TokenizerError:
        return
    tokenizer.decode(tokenizer.encode("abc é"))


def test_a_damaged_rule_is_named_when_it_is_used(tmp_path: Path) -> None:
    blob = bytearray(charsmap({"ab": "B"}))
    at = blob.index((1 << 31).to_bytes(4, "little"))
    blob[at : at + 4] = b"\xff\xff\xff\xff"
    tokenizer = load(tmp_path, model(SMALL, charsmap=bytes(blob)))
    with pytest.raises(TokenizerError, match=r"tokenizer\.model: .* a replacement is missing"):
        tokenizer.encode("cab")


def test_control_pieces_end_a_run_of_bytes(tmp_path: Path) -> None:
    tokenizer = load(tmp_path, model([*BASE, *BYTES], byte_fallback=True))
    high, low = tokenizer.token_id("<0xC3>"), tokenizer.token_id("<0xA9>")
    assert high is not None and low is not None
    assert tokenizer.decode([high, low]) == "é"
    assert tokenizer.decode([high, 1, low]) == "\ufffd\ufffd"
    assert tokenizer.decode([low, high, high, low]) == "\ufffd\ufffdé"


@pytest.mark.parametrize("name", REAL)
def test_the_reader_against_recorded_sizes(name: str) -> None:
    sizes = {"stories260K": 512, "mistral": 32768, "unigram": 1000, "japanese": 8000}
    assert len(read(test_data(REAL[name])).pieces) == sizes[name]


@pytest.mark.parity
@pytest.mark.parametrize("name", REAL)
def test_the_reader_against_protobuf(name: str) -> None:
    from sentencepiece import sentencepiece_model_pb2  # type: ignore[import-untyped]

    theirs = sentencepiece_model_pb2.ModelProto()
    theirs.ParseFromString(test_data(REAL[name]).read_bytes())
    ours = read(test_data(REAL[name]))
    assert [tuple(p) for p in ours.pieces] == [(p.piece, p.score, p.type) for p in theirs.pieces]
    trainer, rules = theirs.trainer_spec, theirs.normalizer_spec
    assert (ours.bpe, ours.byte_fallback) == (trainer.model_type == 2, trainer.byte_fallback)
    assert (ours.bos_id, ours.eos_id, ours.unknown_surface) == (trainer.bos_id, trainer.eos_id, trainer.unk_surface)
    assert (ours.add_dummy_prefix, ours.remove_extra_whitespaces) == (
        rules.add_dummy_prefix,
        rules.remove_extra_whitespaces,
    )
    assert ours.charsmap == rules.precompiled_charsmap


@pytest.mark.parity
@pytest.mark.parametrize("name", REAL)
@given(text=TEXTS, seed=st.randoms(use_true_random=False))
def test_against_sentencepiece(name: str, text: str, seed: Any) -> None:
    theirs = _processor(name)
    ours = loaded(REAL[name])
    expected = theirs.encode(text)
    assert ours.encode(text, add_special_tokens=False) == expected, text
    assert ours.decode(expected) == theirs.decode(expected)
    random_ids = [seed.randrange(theirs.get_piece_size()) for _ in range(8)]
    assert ours.decode(random_ids) == theirs.decode(random_ids), random_ids


@functools.cache
def _processor(name: str) -> Any:
    import sentencepiece

    return sentencepiece.SentencePieceProcessor(model_file=str(test_data(REAL[name])))


def test_control_type_is_what_makes_an_id_special(tmp_path: Path) -> None:
    tokenizer = load(tmp_path, model([*SMALL, piece("[X]", kind=CONTROL)]))
    assert tokenizer.decode([1, 10, 11]) == "a" and tokenizer.encode("[X]", parse_special=True) == [1, 11]
