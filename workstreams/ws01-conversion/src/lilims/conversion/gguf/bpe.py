"""Byte-level BPE of a GGUF file as tokenizer.json.

Knows how each kind of `tokenizer.ggml.pre` splits text, and the layout of tokenizer.json. Must not know ids of models.
Source: `llm_tokenizer_bpe` of llama.cpp's llama-vocab.cpp for the kinds; the patterns are those of the models' own
tokenizer.json, of which llama.cpp's are copies.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lilims.core.errors import TokenizerError
from lilims.core.files import write_json

from .vocabulary import TokenKind, Vocabulary

__all__ = ["KINDS", "Splitting", "write"]


@dataclass(frozen=True)
class Splitting:
    """What happens to text before BPE.

    Attributes:
        patterns: regular expressions that cut text, one after the other.
        gpt2: whether GPT-2's own expression cuts what is left.
        nfc: whether text is brought to Unicode's normal form C first.
        whole: whether a word that is a token is taken as it is, whatever the merges say.
        bos: whether the first token is put before a text where the file does not say.
    """

    patterns: tuple[str, ...] = ()
    gpt2: bool = True
    nfc: bool = False
    whole: bool = False
    bos: bool = False


_ENDINGS = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_REST = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_TRIPLES = _ENDINGS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}" + _REST
_SINGLES = _ENDINGS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}" + _REST
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_CASES = r"[^\r\n\p{L}\p{N}]?" + _UPPER + "*" + _LOWER + r"+{0}|[^\r\n\p{L}\p{N}]?" + _UPPER + "+" + _LOWER + "*{0}"
_SLASHES = r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"

_LETTERS = (  # of alphabets with two cases, as DeepSeek LLM's tokenizer.json lists them
    "A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-\u1f7dᾀ-ᾴ"
    "ᾶ-ᾼ\u1fbeῂ-ῄῆ-ῌῐ-\u1fd3ῖ-\u1fdbῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤ\u2126ℨ\u212a-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿ"
    "ﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃"
)
_ASIAN = "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"
_MARKS = r"[!-/:-~！-／：-～‘-‟　-。]"
_ASCII_MARKS = r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~]"

_GPT2 = Splitting()
_DIGITS = Splitting((r"\p{N}",))
_LLAMA3 = Splitting((_TRIPLES,), gpt2=False, whole=True, bos=True)
_QWEN2 = Splitting((_SINGLES,), gpt2=False, nfc=True)

KINDS: dict[str, Splitting] = {
    **dict.fromkeys(("gpt-2", "phi-2", "mpt", "olmo", "jais", "trillion", "exaone4", "gigachat"), _GPT2),
    **dict.fromkeys(("a.x-4.0", "mellum", "granite-docling"), _GPT2),
    **dict.fromkeys(("starcoder", "refact", "command-r", "smollm", "codeshell", "exaone", "minerva-7b"), _DIGITS),
    "mellum2": _DIGITS,
    **dict.fromkeys(("llama-bpe", "llama3", "llama-v3", "falcon3", "pixtral", "midm-2.0"), _LLAMA3),
    **dict.fromkeys(("dbrx", "smaug-bpe"), Splitting((_TRIPLES,), gpt2=False)),
    **dict.fromkeys(("qwen2", "deepseek-r1-qwen", "megrez"), _QWEN2),
    "stablelm2": Splitting((_SINGLES,), gpt2=False),
    "deepseek-llm": Splitting(
        (r"[\r\n]", rf"\s?[{_LETTERS}]+", rf"\s?{_MARKS}+", r"\s+$", _ASIAN, r"\p{N}+"), gpt2=False
    ),
    "deepseek-coder": Splitting((r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", _ASIAN, r"\p{N}"), gpt2=False),
    "deepseek-v3": Splitting(
        (
            r"\p{N}{1,3}",
            "[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+",
            _ASCII_MARKS + r"[A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*"
            r"|\s*[\r\n]+|\s+(?!\S)|\s+",
        ),
        gpt2=False,
    ),
    "seed-coder": Splitting(
        (_ENDINGS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+",), gpt2=False
    ),
    "viking": Splitting((r" ?[^(\s|.,!?…。，、।۔،)]+", r"\p{N}"), gpt2=False),
    "superbpe": Splitting((r"\p{N}+", r"(?=(\d{3})+(?!\d))"), gpt2=False),
    "tekken": Splitting((_CASES.replace("{0}", "") + r"|\p{N}" + _SLASHES,), gpt2=False, whole=True, bos=True),
    "gpt-4o": Splitting((_CASES.replace("{0}", _ENDINGS + "?") + r"|\p{N}{1,3}" + _SLASHES,), gpt2=False),
}


def write(vocabulary: Vocabulary, folder: Path) -> dict[str, Any]:
    """Writes tokenizer.json; returns what tokenizer_config.json has to say about it.

    Raises:
        TokenizerError: an unknown kind of `tokenizer.ggml.pre`, or merges that are no pairs of tokens.
    """
    splitting = KINDS.get(vocabulary.pre or "")
    if splitting is None:
        raise TokenizerError(
            f"tokenizer.ggml.pre is {vocabulary.pre!r}: lilims does not know how that splits text",
            where=vocabulary.path,
            hint=f"known: {', '.join(sorted(KINDS))}; files without it are old: convert the model again",
        )
    bos = vocabulary.special.get("bos") if vocabulary.flags.get("add_bos_token", splitting.bos) else None
    eos = vocabulary.special.get("eos") if vocabulary.flags.get("add_eos_token", False) else None
    table = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": _added(vocabulary),
        "normalizer": {"type": "NFC"} if splitting.nfc else None,
        "pre_tokenizer": _pre_tokenizer(splitting),
        "post_processor": _template(vocabulary, bos, eos),
        "decoder": _BYTES,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": "",
            "end_of_word_suffix": "",
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": splitting.whole,
            "vocab": {token: i for i, token in enumerate(vocabulary.tokens)},
            "merges": _merges(vocabulary),
        },
    }
    write_json(folder / "tokenizer.json", table)
    return {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}


_BYTES = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}


def _pre_tokenizer(splitting: Splitting) -> dict[str, Any]:
    cuts: list[dict[str, Any]] = [
        {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
        for pattern in splitting.patterns
    ]
    return {"type": "Sequence", "pretokenizers": [*cuts, {**_BYTES, "use_regex": splitting.gpt2}]}


def _added(vocabulary: Vocabulary) -> list[dict[str, Any]]:
    """Tokens that are found in text before anything else: special ones, and those that a user defined."""
    kinds = {TokenKind.CONTROL: True, TokenKind.UNKNOWN: True, TokenKind.USER_DEFINED: False}
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    special = set(vocabulary.special.values())  # these are, whatever their kind says
    return [
        {"id": i, "content": token, **flags, "special": i in special or kinds[kind]}
        for i, (token, kind) in enumerate(zip(vocabulary.tokens, vocabulary.kinds, strict=True))
        if token and (i in special or kind in kinds)
    ]


def _merges(vocabulary: Vocabulary) -> list[list[str]]:
    """Pairs. Tokens hold no spaces (a space is Ġ), but one may begin with what looks like a space to others."""
    known = set(vocabulary.tokens)
    found = []
    for number, merge in enumerate(vocabulary.merges):
        pair = re.split(" ", merge)
        if len(pair) != 2 or not known.issuperset([*pair, "".join(pair)]):
            raise vocabulary.error(f"merge {number}, {merge[:60]!r}, is not of two tokens to a third")
        found.append(pair)
    return found


def _template(vocabulary: Vocabulary, bos: int | None, eos: int | None) -> dict[str, Any] | None:
    """Puts the first and last token around a text."""
    if bos is None and eos is None:
        return None

    def one(i: int) -> dict[str, Any]:
        return {"SpecialToken": {"id": vocabulary.tokens[i], "type_id": 0}}

    before, after = ([] if i is None else [one(i)] for i in (bos, eos))

    def text(name: str) -> list[dict[str, Any]]:
        return [*before, {"Sequence": {"id": name, "type_id": 0}}, *after]

    used = {vocabulary.tokens[i]: i for i in (bos, eos) if i is not None}
    special = {token: {"id": token, "ids": [i], "tokens": [token]} for token, i in used.items()}
    return {"type": "TemplateProcessing", "single": text("A"), "pair": text("A") + text("B"), "special_tokens": special}
