"""A tokenizer as the Swift sources read it: tables of bytes, merges and ids, whatever files it came from.

Knows tokenizer.json's parts and SentencePiece models, and which of them TokenizerFile.swift can follow. Must not know
chats. What cannot be followed exactly is refused, by its name: an id that differs would be a worse model, silently.

    kind           what becomes of a text
    byte-level     NFC where wanted, words by patterns, bytes, merges
    sentencepiece  ▁ for spaces and before the text, characters (or bytes), merges over the whole
"""

from __future__ import annotations

import base64
import json
import re
import struct
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lilims.core.errors import UnsupportedError

if TYPE_CHECKING:
    from lilims.tokenizer import Tokenizer

__all__ = ["GPT2_WORDS", "icu_pattern", "tables_of"]

MARKER = "▁"
MARKED, SPECIAL = 1, 2  # TokenizerFile.flags
_LONGEST = 0xFFFF  # bytes of a token
GPT2_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
"""What `ByteLevel(use_regex=True)` cuts by (tokenizers' byte_level.rs)."""

_DIGIT, _DIGITS = r"\p{N}", r"\p{N}+"
_WORD_PREFIX = ("continuing_subword_prefix", "end_of_word_suffix")


def tables_of(tokenizer: Tokenizer, where: Path) -> dict[str, Any]:
    """`TokenizerFile` of TokenizerFile.swift, as JSON.

    Args:
        where: the model's folder, for errors.

    Raises:
        UnsupportedError: the tokenizer is of a kind that the Swift sources cannot follow; it is said which.
    """
    try:
        return {**_bytes(tokenizer), **_around(tokenizer), **_encoding(tokenizer)}
    except _Refused as exc:
        raise UnsupportedError(
            f"the Swift tokenizer cannot follow this one: {exc}",
            where=where,
            hint="it reads byte-level BPE and SentencePiece's BPE; docs/swift.md lists what of them",
        ) from None


class _Refused(Exception):
    """A part of a tokenizer that has no counterpart."""


def _packed(form: str, values: Iterable[int]) -> str:
    numbers = list(values)
    return base64.b64encode(struct.pack(f"<{len(numbers)}{form}", *numbers)).decode()


def _bytes(tokenizer: Tokenizer) -> dict[str, Any]:
    """How ids become text: their bytes, and what is left out."""
    from lilims.tokenizer.decoding import ByteDecoding

    decoding = tokenizer.decoding
    if not isinstance(decoding, ByteDecoding):
        raise _Refused("its decoder looks at neighbouring tokens")
    pieces = [decoding.piece(i) for i in range(tokenizer.vocab_size)]
    if any(len(piece.data) > _LONGEST for piece in pieces):
        raise _Refused(f"a token has more than {_LONGEST} bytes")
    flags = [MARKED * piece.marked | SPECIAL * (i in decoding.special) for i, piece in enumerate(pieces)]
    return {
        "bytes": base64.b64encode(b"".join(piece.data for piece in pieces)).decode(),
        "lengths": _packed("H", (len(piece.data) for piece in pieces)),
        "flags": _packed("B", flags),
        "strip": decoding.strip,
        "each_byte": decoding.errors != "replace",
    }


def _around(tokenizer: Tokenizer) -> dict[str, Any]:
    """The ids that stand before and behind every text."""
    bare, whole = (tokenizer.encode("a", add_special_tokens=add) for add in (False, True))
    for start in range(len(whole) - len(bare) + 1):
        if whole[start : start + len(bare)] == bare:
            return {"before": whole[:start], "after": whole[start + len(bare) :]}
    raise _Refused("what it puts around a text changes the text")


def _encoding(tokenizer: Tokenizer) -> dict[str, Any]:
    parts = tokenizer.parts
    if parts.sentencepiece is not None:
        return _of_sentencepiece(tokenizer)
    if parts.to_json is None:
        raise _Refused("its file is of no known form")
    return _of_json(json.loads(parts.to_json()))


def _of_json(spec: Mapping[str, Any]) -> dict[str, Any]:
    """From what tokenizer.json says."""
    model = spec["model"]
    if model.get("type") != "BPE":
        raise _Refused(f"it is {model.get('type')}, not BPE")
    if model.get("dropout") or any(model.get(name) for name in _WORD_PREFIX):
        raise _Refused("its merges are random, or its tokens have a prefix or suffix of words")
    vocab: dict[str, int] = model["vocab"]
    steps = _steps(spec.get("pre_tokenizer"), "pretokenizers")
    if any(step["type"] == "ByteLevel" for step in steps):
        return {
            **_byte_level(spec, steps, vocab),
            "merges": _merges(model["merges"], vocab),
            "whole_words": bool(model.get("ignore_merges")),
            "added": _added(spec["added_tokens"]),
            "prefix": "never",
            "prefix_unless_marked": False,
            "characters": "",
            "unknown": None,
        }
    if model.get("ignore_merges"):
        raise _Refused("it takes whole words where text is not cut into words")
    unknown = model.get("unk_token")
    return {
        **_sentencepiece_prefix(spec, steps),
        **_characters(vocab, fallback=bool(model.get("byte_fallback"))),
        "merges": _merges(model["merges"], vocab),
        "unknown": _unknown(vocab.get(unknown) if unknown else None, fused=bool(model.get("fuse_unk"))),
        "added": _added(spec["added_tokens"]),
    }


def _steps(part: Mapping[str, Any] | None, key: str) -> list[Mapping[str, Any]]:
    if part is None:
        return []
    return list(part[key]) if part["type"] == "Sequence" else [part]


def _byte_level(
    spec: Mapping[str, Any], steps: Sequence[Mapping[str, Any]], vocab: Mapping[str, int]
) -> dict[str, Any]:
    from lilims.tokenizer.decoding import byte_level_token

    normalizers = [step["type"] for step in _steps(spec.get("normalizer"), "normalizers")]
    if normalizers not in ([], ["NFC"]):
        raise _Refused(f"it normalises by {', '.join(normalizers)}")
    ids = [vocab.get(byte_level_token(bytes([byte])), -1) for byte in range(256)]
    if min(ids) < 0:
        raise _Refused(f"it has no token for the byte {ids.index(-1):#04x}")
    return {"kind": "byte-level", "nfc": bool(normalizers), "byte_ids": ids, "splits": _splits(steps)}


def _splits(steps: Sequence[Mapping[str, Any]]) -> list[str]:
    """The patterns that cut a text into words, in ICU's syntax."""
    patterns = []
    for step in steps:
        kind = step["type"]
        if kind == "ByteLevel":
            if step.get("add_prefix_space"):
                raise _Refused("it puts a space before a text")
            patterns += [GPT2_WORDS] if step.get("use_regex", True) else []
        elif kind == "Split" and "Regex" in step["pattern"]:
            isolated = step["behavior"] == "Isolated" and not step.get("invert")
            if not isolated:
                raise _Refused(f"it cuts text by {step['behavior']}")
            patterns.append(step["pattern"]["Regex"])
        elif kind == "Digits":
            patterns.append(_DIGIT if step.get("individual_digits") else _DIGITS)
        else:
            raise _Refused(f"it cuts text by {kind}")
    return [icu_pattern(pattern) for pattern in patterns]


def icu_pattern(pattern: str) -> str:
    r"""Oniguruma's pattern as ICU means it: there `\s` lacks U+000B and U+0085, and `\z` is spelled the same."""
    return re.sub(r"\\(\\|s|S)", lambda found: {"s": r"\p{White_Space}", "S": r"\P{White_Space}"}.get(
        found[1], found[0]), pattern)  # fmt: skip


def _sentencepiece_prefix(spec: Mapping[str, Any], steps: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """How spaces become ▁, in the two spellings that transformers writes: normalisers, or Metaspace."""
    replace = {"type": "Replace", "pattern": {"String": " "}, "content": MARKER}
    prepend = {"type": "Prepend", "prepend": MARKER}
    normalizers = _steps(spec.get("normalizer"), "normalizers")
    found = {"kind": "sentencepiece", "nfc": False, "splits": [], "whole_words": False}
    on_spaces = [step for step in steps if step["type"] == "Split" and step.get("pattern") == {"String": " "}]
    if normalizers in ([replace], [prepend, replace]) and list(steps) == on_spaces:
        prefix = "always" if len(normalizers) == 2 else "never"
        if prefix == "always" and any(token["normalized"] for token in spec["added_tokens"]):
            raise _Refused("an added token is normalised")
        return {**found, "prefix": prefix, "prefix_unless_marked": False}
    if not normalizers and [step["type"] for step in steps] == ["Metaspace"]:
        step = steps[0]
        if step.get("replacement") != MARKER or step.get("split", True):
            raise _Refused("its Metaspace cuts text into words")
        return {**found, "prefix": step.get("prepend_scheme", "always"), "prefix_unless_marked": True}
    names = [step["type"] for step in [*normalizers, *steps]]
    raise _Refused(f"it prepares text by {', '.join(names) or 'nothing'}")


def _characters(vocab: Mapping[str, int], *, fallback: bool) -> dict[str, Any]:
    """Ids of single characters, and of the bytes of others."""
    single = sorted((ord(text), i) for text, i in vocab.items() if len(text) == 1)
    ids = [vocab.get(f"<0x{byte:02X}>", -1) if fallback else -1 for byte in range(256)]
    return {"characters": _packed("i", (number for pair in single for number in pair)), "byte_ids": ids}


def _unknown(i: int | None, *, fused: bool) -> int | None:
    if i is not None and not fused:
        raise _Refused("it has an unknown token for each unknown character")
    return i


def _merges(merges: Iterable[Any], vocab: Mapping[str, int]) -> str:
    pairs = (tuple(pair.split(" ", 1)) if isinstance(pair, str) else pair for pair in merges)
    triples = ((vocab[left], vocab[right], vocab[left + right]) for left, right in pairs)
    return _packed("i", (i for triple in triples for i in triple))


def _added(tokens: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    found = []
    for token in tokens:
        if token.get("single_word"):
            raise _Refused(f"the added token {token['content']!r} counts as a single word only")
        found.append(
            {"id": token["id"], "text": token["content"], "special": bool(token["special"]),
             "lstrip": bool(token.get("lstrip")), "rstrip": bool(token.get("rstrip"))}
        )  # fmt: skip
    return found


def _of_sentencepiece(tokenizer: Tokenizer) -> dict[str, Any]:
    """From a `.model` file; what its normaliser does beyond ▁ is not followed."""
    from lilims.tokenizer.sentencepiece import merges_of
    from lilims.tokenizer.sentencepiece_model import PieceType

    model = tokenizer.parts.sentencepiece
    assert model is not None
    if not model.bpe:
        raise _Refused("it is SentencePiece's unigram, not BPE")
    odd = {"rules for characters": bool(model.charsmap), "removal of spaces": model.remove_extra_whitespaces,
           "▁ behind words": model.whitespace_as_suffix,
           "user-defined pieces": any(piece.type is PieceType.USER_DEFINED for piece in model.pieces)}  # fmt: skip
    if any(odd.values()):
        raise _Refused(f"its SentencePiece model has {', '.join(name for name, has in odd.items() if has)}")
    vocab = {piece.text: i for i, piece in enumerate(model.pieces)}
    added = [(i, text) for i in range(len(model.pieces), tokenizer.vocab_size) if (text := tokenizer.token(i))]
    special = tokenizer.parts.special
    tokens = [(i, text, text in special) for i, text in added]
    tokens += [(i, text, True) for text, i in special.items() if i < len(model.pieces)]
    prefix = "never" if not model.add_dummy_prefix else "always" if tokenizer.legacy else "first"
    return {
        "kind": "sentencepiece", "nfc": False, "splits": [], "whole_words": False,
        "prefix": prefix, "prefix_unless_marked": False,
        **_characters(vocab, fallback=model.byte_fallback),
        "merges": _merges(merges_of(model), vocab),
        "unknown": model.unknown,
        "added": [
            {"id": i, "text": text, "special": is_special, "lstrip": False, "rstrip": False}
            for i, text, is_special in sorted(tokens)
        ],
    }  # fmt: skip
