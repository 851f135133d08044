"""vocab.json with merges.txt, the two-file layout of byte-level BPE since GPT-2.

Knows which tokenizer classes split text how before BPE. Must not know tokenizer.json.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lilims.core.errors import TokenizerError
from lilims.core.files import read_bytes, read_json

from .config import TokenizerConfig
from .huggingface import parts_of
from .library import library_errors
from .parts import Parts

__all__ = ["STYLES", "Style", "load"]

_LIMIT = 64 << 20


@dataclass(frozen=True, slots=True)
class Style:
    """What a tokenizer class does to text before BPE.

    Attributes:
        pattern: the regular expression whose matches are the words; None is GPT-2's, which the library has built in.
        nfc: whether text is first brought to Unicode's normal form C.
        end: the token that ends a text where no config names one.
    """

    pattern: str | None = None
    nfc: bool = False
    end: str | None = "<|endoftext|>"


_GPT2 = Style()
_QWEN2 = Style(  # transformers' `tokenization_qwen2.py`, PRETOKENIZE_REGEX
    pattern=r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    nfc=True,
)
STYLES = {
    "GPT2Tokenizer": _GPT2,
    "CodeGenTokenizer": _GPT2,
    "Qwen2Tokenizer": _QWEN2,
}


def load(vocab_path: Path, config: TokenizerConfig) -> Parts:
    """Reads vocab.json and the merges.txt beside it.

    Raises:
        TokenizerError: a file is missing or damaged, or the tokenizer class is not one of `STYLES`.
    """
    from tokenizers import Tokenizer, decoders, models, normalizers

    style = _style(vocab_path, config)
    vocab = _vocab(vocab_path)
    merges_path = vocab_path.with_name("merges.txt")
    hint = "vocab.json and merges.txt must be of one tokenizer; fetch both again"
    with library_errors("does not agree with vocab.json", merges_path, hint):
        backend = Tokenizer(models.BPE(vocab=vocab, merges=_merges(merges_path), fuse_unk=False))
    if style.nfc:
        backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = _pre_tokenizer(style, config.flag("add_prefix_space", False))
    backend.decoder = decoders.ByteLevel()
    _add_tokens(backend, vocab_path, config, style)
    bos = backend.token_to_id(config.bos) if config.bos else None
    if config.flag("add_bos_token", False) and bos is not None:
        from tokenizers.processors import TemplateProcessing

        backend.post_processor = TemplateProcessing(single=f"{config.bos} $A", special_tokens=[(config.bos, bos)])
    return parts_of(backend, vocab_path)


def _style(path: Path, config: TokenizerConfig) -> Style:
    style = STYLES.get(config.class_name or "GPT2Tokenizer")
    if style is None:
        raise TokenizerError(
            f"lilims does not know how a {config.class_name} splits text into words",
            where=path,
            hint="make a tokenizer.json: transformers' AutoTokenizer.from_pretrained(...).save_pretrained(...)",
        )
    return style


def _vocab(path: Path) -> dict[str, int]:
    vocab = read_json(path, limit=_LIMIT, error=TokenizerError)
    if not isinstance(vocab, dict) or not vocab:
        raise TokenizerError("not an object of tokens and ids", where=path, hint="fetch the file again")
    seen = bytearray(len(vocab))
    for token, i in vocab.items():
        if isinstance(i, bool) or not isinstance(i, int) or not 0 <= i < len(vocab) or seen[i]:
            message = f"the id of {token!r}, {i!r}, is not one of 0 to {len(vocab) - 1}, each once"
            raise TokenizerError(message, where=path, hint="fetch the file again")
        seen[i] = 1
    return vocab


def _merges(path: Path) -> list[tuple[str, str]]:
    """Lines of two tokens; a first line "#version…" is skipped. Ends of lines may be LF or CRLF."""
    raw = read_bytes(path, limit=_LIMIT, error=TokenizerError)
    try:
        lines = raw.decode("utf-8-sig").split("\n")  # splitlines would also cut at U+0085 and others
    except UnicodeDecodeError as exc:
        raise TokenizerError(f"not UTF-8: {exc.reason}", where=path, hint="fetch the file again") from exc
    merges = []
    for number, line in enumerate(lines, 1):
        line = line.removesuffix("\r")
        if not line or (number == 1 and line.startswith("#version")):
            continue
        left, _, right = line.partition(" ")
        if not left or not right or " " in right:
            raise TokenizerError(
                f"line {number} is not two tokens: {line[:60]!r}", where=path, hint="fetch the file again"
            )
        merges.append((left, right))
    return merges


def _pre_tokenizer(style: Style, prefix: bool) -> Any:
    from tokenizers import Regex, pre_tokenizers

    if style.pattern is None:
        return pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(style.pattern), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex=False),
        ]
    )


def _add_tokens(backend: Any, path: Path, config: TokenizerConfig, style: Style) -> None:
    """Adds the configured tokens in the order of their ids, and the end token of the style where nothing names one."""
    from tokenizers import AddedToken

    for i, token in config.added.items():
        one = AddedToken(
            token.content,
            special=token.special,
            normalized=token.normalized,
            lstrip=token.lstrip,
            rstrip=token.rstrip,
            single_word=token.single_word,
        )
        backend.add_tokens([one])
        if backend.token_to_id(token.content) != i:
            found = backend.token_to_id(token.content)
            message = f"the added token {token.content!r} would get id {found}, the config says {i}"
            raise TokenizerError(message, where=path, hint="vocab.json and the config must be of one tokenizer")
    for content in (config.bos, config.eos, style.end):
        if content and backend.token_to_id(content) is not None:
            backend.add_special_tokens([AddedToken(content, special=True, normalized=False)])
