"""Rank files: tiktoken's `.tiktoken`, and Llama 3's `tokenizer.model`, which is one.

Knows the lines (a token's bytes in base64, a space, its rank, which is its id), which encodings there are, and how
byte-level BPE by ranks is put to the `tokenizers` library. Must not know other formats.

tiktoken joins the pair whose union has the lowest rank, whatever its two halves; so all ways to halve a token become
merges, in the order of ranks. A word that is a token is taken as it is.

Sources: `tiktoken_ext/openai_public.py` of openai/tiktoken, `tokenizer.py` of meta-llama/llama-models (the names since
Llama 3.1; those that differ in Llama 3 were reserved there), `tokenization_qwen.py` of Qwen/Qwen-7B.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lilims.core.errors import TokenizerError
from lilims.core.files import read_bytes

from .config import AddedToken, TokenizerConfig
from .decoding import byte_level_token
from .huggingface import parts_of
from .library import library_errors
from .parts import Parts

__all__ = ["ENCODINGS", "Encoding", "is_rank_file", "load"]

_FILE_LIMIT = 64 << 20
_TOKENS_LIMIT = 1 << 20
_LONGEST = 1 << 8  # bytes of a token; real ones have up to 128
_MERGES_PER_TOKEN = 32  # real files have three
_LINE = re.compile(rb"[A-Za-z0-9+/]+={0,2} [0-9]{1,8}\r?(?:\n|\Z)")
_HINT = "fetch the file again; it must be a rank file as tiktoken reads it"


@dataclass(frozen=True)
class Encoding:
    """What a rank file does not say.

    Attributes:
        tokens: how many ranks it has; that is how it is recognised under another name.
        pattern: the regular expression whose matches are words. (tiktoken's own, but for a possessive `{1,3}+`, which
            Oniguruma reads otherwise and which changes nothing there, and `$`, which is `\\z` in Oniguruma.)
        special: ids of special tokens.
        bos, eos: texts of special tokens.
        nfc: text is brought to normal form C first.
    """

    tokens: int
    pattern: str
    special: Mapping[str, int] = field(default_factory=dict)
    bos: str | None = None
    eos: str | None = "<|endoftext|>"
    nfc: bool = False


_ENDINGS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
_UPPER, _LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
_R50K = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++\z|\s+(?!\S)|\s"
_CL100K = (
    r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++\z|\s*[\r\n]"
    r"|\s+(?!\S)|\s"
)
_O200K = (
    rf"[^\r\n\p{{L}}\p{{N}}]?{_UPPER}*{_LOWER}+{_ENDINGS}?|[^\r\n\p{{L}}\p{{N}}]?{_UPPER}+{_LOWER}*{_ENDINGS}?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_WORDS = _ENDINGS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
_LLAMA3 = {
    0: "begin_of_text", 1: "end_of_text", 4: "finetune_right_pad_id", 6: "start_header_id", 7: "end_header_id",
    8: "eom_id", 9: "eot_id", 10: "python_tag",
}  # fmt: skip
_RESERVED = [n for n in range(256) if n not in _LLAMA3]
_FIM = {"<|fim_prefix|>": 100258, "<|fim_middle|>": 100259, "<|fim_suffix|>": 100260}
_CHATML = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *(f"<|extra_{n}|>" for n in range(205))]

ENCODINGS: Mapping[str, Encoding] = {
    "llama3": Encoding(
        128_000,
        _WORDS % "{1,3}",
        {f"<|{name}|>": 128_000 + n for n, name in _LLAMA3.items()}
        | {f"<|reserved_special_token_{k}|>": 128_000 + n for k, n in enumerate(_RESERVED)},
        bos="<|begin_of_text|>",
        eos="<|end_of_text|>",
    ),
    "qwen": Encoding(151_643, _WORDS % "", {text: 151_643 + n for n, text in enumerate(_CHATML)}, nfc=True),
    "r50k_base": Encoding(50_256, _R50K, {"<|endoftext|>": 50_256}),
    "p50k_base": Encoding(50_280, _R50K, {"<|endoftext|>": 50_256}),
    "cl100k_base": Encoding(100_256, _CL100K, {"<|endoftext|>": 100_257, **_FIM, "<|endofprompt|>": 100_276}),
    "o200k_base": Encoding(199_998, _O200K, {"<|endoftext|>": 199_999, "<|endofprompt|>": 200_018}),
}


def is_rank_file(path: Path) -> bool:
    """Whether the file begins as rank files do."""
    try:
        with path.open("rb") as file:
            return _LINE.match(file.read(2 * _LONGEST)) is not None
    except OSError:
        return False


def load(path: Path, config: TokenizerConfig) -> Parts:
    """Reads a rank file. The name, or the number of ranks, tells the encoding; tokens of the config replace its own.

    Raises:
        TokenizerError: the file is damaged, or of an encoding that lilims does not know.
    """
    ranks = _ranks(path)
    encoding = ENCODINGS.get(path.stem) or next((e for e in ENCODINGS.values() if e.tokens == len(ranks)), None)
    if encoding is None:
        raise TokenizerError(
            f"has {len(ranks)} ranks, and lilims does not know how that encoding splits text into words",
            where=path,
            hint=f"known: {', '.join(sorted(ENCODINGS))}; name the file after its encoding, or make a tokenizer.json",
        )
    added = config.added or {i: AddedToken(text, special=True) for text, i in encoding.special.items()}
    with library_errors("cannot be built", path, _HINT):
        backend = _backend(path, ranks, encoding, added)
    bos, eos = (backend.token_to_id(text) if text else None for text in (encoding.bos, encoding.eos))
    if bos is not None and config.flag("add_bos_token", True):
        from tokenizers.processors import TemplateProcessing

        backend.post_processor = TemplateProcessing(
            single=f"{encoding.bos} $A", special_tokens=[(str(encoding.bos), bos)]
        )
    parts = parts_of(backend, path)
    return replace(parts, bos=bos, eos=eos, size=max(*ranks.values(), *added) + 1)


def _ranks(path: Path) -> dict[str, int]:
    """Ranks by token, its bytes spelled with GPT-2's alphabet."""
    ranks: dict[str, int] = {}
    seen: set[int] = set()
    for number, line in enumerate(read_bytes(path, limit=_FILE_LIMIT, error=TokenizerError).splitlines(), 1):
        if not line:
            continue
        token, _, rank = line.partition(b" ") if _LINE.fullmatch(line) else (b"=", b"", b"0")
        try:
            text, i = byte_level_token(binascii.a2b_base64(token, strict_mode=True)), int(rank)
        except ValueError as exc:
            raise TokenizerError(f"line {number} is not base64 and a rank: {exc}", where=path, hint=_HINT) from exc
        if not text or text in ranks or i in seen or len(text) > _LONGEST or i > 2 * _TOKENS_LIMIT:
            raise TokenizerError(f"line {number} has a token or rank that stands twice or is too large", where=path)
        ranks[text] = i
        seen.add(i)
        if len(ranks) > _TOKENS_LIMIT:
            raise TokenizerError(f"more than {_TOKENS_LIMIT} tokens", where=path, hint=_HINT)
    missing = next((byte for byte in range(256) if byte_level_token(bytes([byte])) not in ranks), None)
    if missing is not None:
        raise TokenizerError(f"has no token for the byte {missing:#04x}", where=path, hint=_HINT)
    return ranks


def _backend(path: Path, ranks: dict[str, int], encoding: Encoding, added: Mapping[int, AddedToken]) -> Any:
    from tokenizers import AddedToken as Added
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

    words = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(encoding.pattern), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    taken = set(ranks.values())
    for i, token in added.items():  # in the vocabulary, as the library gives added tokens ids of its own choice
        if token.content in ranks or i in taken or len(words.pre_tokenize_str(token.content)) < 2:
            raise TokenizerError(f"the added token {token.content!r}, {i}, cannot be told from text", where=path)
    vocab, merges = ranks | {token.content: i for i, token in added.items()}, _merges(ranks)
    if len(merges) > _MERGES_PER_TOKEN * len(ranks):
        raise TokenizerError("its tokens can be halved in too many ways", where=path, hint=_HINT)
    backend: Any = Tokenizer(models.BPE(vocab=vocab, merges=merges, fuse_unk=False, ignore_merges=True))
    if encoding.nfc:
        backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = words
    backend.decoder = decoders.ByteLevel()
    backend.add_tokens([Added(token.content, special=token.special, normalized=False) for token in added.values()])
    return backend


def _merges(ranks: dict[str, int]) -> list[tuple[str, str]]:
    return [
        (text[:cut], text[cut:])
        for text in sorted(ranks, key=ranks.__getitem__)
        for cut in range(1, len(text))
        if text[:cut] in ranks and text[cut:] in ranks
    ]
