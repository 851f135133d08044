"""The tokenizer that the rest of lilims sees.

Knows where each format is read and what a text is. Must not know formats themselves.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from lilims.core.errors import TokenizerError

from .config import TokenizerConfig, read_config
from .files import find_source
from .parts import Decoding, Parts

__all__ = ["Tokenizer"]


class Tokenizer:
    """Text to token ids and back. Made by `Tokenizer.load`; safe to use from several threads."""

    def __init__(self, parts: Parts, *, bos_id: int | None, eos_ids: tuple[int, ...]) -> None:
        self._parts = parts
        self.bos_id = bos_id
        """The id that begins a text, if the tokenizer has one."""
        self.eos_ids = eos_ids
        """The ids that end a text as the tokenizer names them; a generation config may know more."""

    @classmethod
    def load(cls, path: Path | str) -> Tokenizer:
        """Reads a tokenizer from a folder, or from one file and the small files beside it.

        In a folder the first of these wins: `tokenizer.json`; `tokenizer.model` (SentencePiece); `vocab.json` with
        `merges.txt`. A file is taken by its name: `….json`, `….model…`, `vocab.json` or `merges.txt`.

        Raises:
            TokenizerError: there is no tokenizer, or a file of it is damaged; the file is named.
        """
        source = find_source(Path(path))
        config = read_config(source.parent)
        parts = _load(source, config)
        bos, eos = _special(parts, config.bos, parts.bos), _special(parts, config.eos, parts.eos)
        return cls(parts, bos_id=bos, eos_ids=() if eos is None else (eos,))

    @property
    def vocab_size(self) -> int:
        """One more than the largest id, added tokens included."""
        return self._parts.size

    @property
    def decoding(self) -> Decoding:
        """How ids become text; `StreamDecoder` is the way to use it token by token."""
        return self._parts.decoding

    def encode(self, text: str, add_special_tokens: bool = True, *, parse_special: bool = False) -> list[int]:
        """The ids of `text`.

        Args:
            text: any string. Halves of surrogate pairs that stand alone become U+FFFD.
            add_special_tokens: add what the tokenizer puts around a text, such as the BOS of Llama.
            parse_special: read special tokens that are spelled out in `text` as such. Not for text of a user, who
                could otherwise end a turn by writing its end.
        """
        return self._parts.encode(_scalar_values(text), add_special_tokens, parse_special)

    def decode(self, ids: Iterable[int], *, skip_special_tokens: bool = True) -> str:
        """The text of `ids`. Ids outside the vocabulary give nothing; invalid UTF-8 gives U+FFFD."""
        return self._parts.decoding.decode(ids, skip_special_tokens)

    def token_id(self, token: str) -> int | None:
        """The id of a token as the vocabulary spells it (`<|endoftext|>`, `Ġthe`, `▁the`), or None."""
        return self._parts.token_to_id(token)

    def token(self, i: int) -> str | None:
        """The token of an id as the vocabulary spells it, or None."""
        return self._parts.id_to_token(i) if 0 <= i < self.vocab_size else None


def _load(source: Path, config: TokenizerConfig) -> Parts:
    if source.name in ("vocab.json", "merges.txt"):
        from . import gpt2

        return gpt2.load(source.with_name("vocab.json"), config)
    if source.suffix == ".json":
        from . import huggingface

        return huggingface.load(source)
    if ".model" in source.suffixes:
        from . import sentencepiece

        return sentencepiece.load(source, config)
    raise TokenizerError("not a tokenizer file that lilims knows by its name", where=source, hint="give the folder")


def _special(parts: Parts, configured: str | None, own: int | None) -> int | None:
    found = parts.token_to_id(configured) if configured else None
    return own if found is None else found


def _scalar_values(text: str) -> str:
    """`text` as UTF-8 can hold it: surrogate pairs joined, lone halves replaced by U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text
