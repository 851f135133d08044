"""The tokenizer that the rest of lilims sees.

Knows where each format is read and what a text is. Must not know formats themselves.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from lilims.core.errors import TokenizerError, UsageError

from .chat.ends import end_of_turn_ids
from .config import TokenizerConfig, read_config
from .files import find_source, writer_for
from .generation_config import generation_eos_ids
from .parts import Decoding, Parts, alternatives, not_ids, scalar_values

if TYPE_CHECKING:
    from .chat.template import ChatTemplate

__all__ = ["Tokenizer"]


class Tokenizer:
    """Text to token ids and back. Made by `Tokenizer.load`; safe to use from several threads."""

    def __init__(
        self, parts: Parts, *, bos_id: int | None, eos_ids: tuple[int, ...], config: TokenizerConfig, folder: Path
    ) -> None:
        self._parts = parts
        self._config = config
        self._folder = folder
        self.bos_id = bos_id
        """The id that begins a text, if the tokenizer has one."""
        self.eos_ids = eos_ids
        """The ids that end a text: the tokenizer's own, then those of generation_config.json beside it."""
        self.end_of_turn_ids = end_of_turn_ids(parts.special, eos_ids)
        """The ids that end an answer: `eos_ids`, and the special tokens that end a turn in known chat formats."""

    @classmethod
    def load(cls, path: Path | str) -> Tokenizer:
        """Reads a tokenizer from a folder, or from one file and the small files beside it.

        In a folder the first of these wins: `tokenizer.json`; `tokenizer.model` (SentencePiece, or Llama 3's ranks);
        `vocab.json` with `merges.txt`; tiktoken's rank files; `tokenizer.bin` (llama2.c). A file is taken by its name:
        `….json`, `….model…`, `vocab.json` or `merges.txt`, `….tiktoken`, `….bin`, `….gguf` (with lilims-conversion).

        Raises:
            TokenizerError: there is no tokenizer, or a file of it is damaged; the file is named.
        """
        source = find_source(Path(path))
        if (write := writer_for(source)) is not None:
            with TemporaryDirectory() as folder:
                write(source, Path(folder))
                return cls.load(folder)
        config = read_config(source.parent)
        parts = _load(source, config)
        bos, eos = _special(parts, config.bos, parts.bos), _special(parts, config.eos, parts.eos)
        ends = dict.fromkeys([*(() if eos is None else (eos,)), *generation_eos_ids(source.parent)])
        return cls(parts, bos_id=bos, eos_ids=tuple(ends), config=config, folder=source.parent)

    @property
    def vocab_size(self) -> int:
        """One more than the largest id, added tokens included."""
        return self._parts.size

    @property
    def parts(self) -> Parts:
        """What the files came down to; for those who write a tokenizer in another form."""
        return self._parts

    @property
    def legacy(self) -> bool:
        """Whether every stretch of text between added tokens has SentencePiece's prefix, not the first alone."""
        return self._config.flag("legacy", True)

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
                could otherwise end a turn by writing its end. A BOS that the text spells out is not added again.

        Raises:
            UsageError: `text` is no string.
        """
        ids = self._parts.encode(scalar_values(text), add_special_tokens, parse_special)
        return self._one_bos(ids) if add_special_tokens and parse_special else ids

    def encode_batch(
        self, texts: Sequence[str], add_special_tokens: bool = True, *, parse_special: bool = False
    ) -> list[list[int]]:
        """The ids of each of `texts`, as `encode` gives them; the texts are shared out to all cores.

        (`TOKENIZERS_PARALLELISM=false` in the environment, or `RAYON_NUM_THREADS`, says otherwise.)

        Raises:
            UsageError: `texts` is one string, or holds something else.
        """
        if isinstance(texts, (str, bytes)):  # whose letters would be taken for texts
            raise UsageError("a batch is a list of texts, not one text", hint="`encode` takes one")
        found = self._parts.encode_batch([scalar_values(text) for text in texts], add_special_tokens, parse_special)
        return [self._one_bos(ids) for ids in found] if add_special_tokens and parse_special else found

    def _one_bos(self, ids: list[int]) -> list[int]:
        return ids[1:] if self.bos_id is not None and ids[:2] == [self.bos_id] * 2 else ids

    @cached_property
    def chat_template(self) -> ChatTemplate | None:
        """The model's chat template, or None where it has none.

        Raises:
            ChatTemplateError: its file is damaged, or it is not Jinja.
        """
        from .chat.sources import find_templates
        from .chat.template import ChatTemplate

        return ChatTemplate.of(find_templates(self._folder, self._config.flags), self._role_tokens())

    @property
    def has_chat_template(self) -> bool:
        """Whether the model brings a chat template; without one `default_chat_template` stands in."""
        return self.chat_template is not None

    def apply_chat_template(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        add_generation_prompt: bool = True,
        **kwargs: Any,
    ) -> str:
        """The text of a conversation, as the model's chat template (or `default_chat_template`) puts it.

        For a look at it: in text, a special token of the template is no longer told from one that stands in a message.
        `encode_chat` gives ids.

        Args:
            messages, tools, add_generation_prompt, kwargs: as `ChatTemplate.render` takes them.

        Raises:
            ChatTemplateError: as `ChatTemplate.render`.
        """
        template = self.chat_template or self.default_chat_template
        return template.render(messages, tools=tools, add_generation_prompt=add_generation_prompt, **kwargs)

    def encode_chat(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        tools: Sequence[Mapping[str, Any]] | None = None,
        add_generation_prompt: bool = True,
        **kwargs: Any,
    ) -> list[int]:
        """The ids of a conversation, as the model's chat template puts it (or `default_chat_template`).

        Special tokens that the template writes are read as such. Those that stand in messages, tools or `kwargs` are
        text, also where the template joins or cuts them together. BOS is the template's affair: none is added.

        Args:
            messages, tools, add_generation_prompt, kwargs: as `ChatTemplate.render` takes them.

        Raises:
            ChatTemplateError: as `ChatTemplate.render`.
        """
        from .chat.encoding import encode_marked

        template = self.chat_template or self.default_chat_template
        text = template.render_marked(messages, tools=tools, add_generation_prompt=add_generation_prompt, **kwargs)
        names = ("<unk>", "[UNK]", self._config.roles.get("unk_token", ""))
        unknown = frozenset(self._parts.special[name] for name in names if name in self._parts.special)
        return encode_marked(text, self._parts, self._special_pattern, unknown=unknown)

    @cached_property
    def default_chat_template(self) -> ChatTemplate:
        """What `encode_chat` takes for a model without a template.

        ChatML where the vocabulary has its two tokens. Otherwise `User:` and `Assistant:` in plain words behind the BOS
        that the tokenizer adds to texts; `template.stops` says at which text such an answer ends.
        """
        from .chat.default import default_template

        bos = self.encode("")[:1] == [self.bos_id]
        return default_template(self._parts.special, self._role_tokens(), bos=bos)

    @cached_property
    def _special_pattern(self) -> re.Pattern[str] | None:
        return alternatives(self._parts.special)

    def _role_tokens(self) -> dict[str, str]:
        """Texts of the special tokens by name, those that the vocabulary itself names too."""
        own = {"bos_token": self.bos_id, "eos_token": self._parts.eos}
        texts = {name: self.token(i) for name, i in own.items() if i is not None}
        return {name: text for name, text in texts.items() if text} | dict(self._config.roles)

    def decode(self, ids: Iterable[int], *, skip_special_tokens: bool = True) -> str:
        """The text of `ids`. Ids outside the vocabulary give nothing; invalid UTF-8 gives U+FFFD.

        Raises:
            UsageError: `ids` are no whole numbers.
        """
        try:
            return self._parts.decoding.decode(ids, skip_special_tokens)
        except TypeError as exc:
            raise not_ids(exc) from exc

    def decode_batch(self, batch: Iterable[Iterable[int]], *, skip_special_tokens: bool = True) -> list[str]:
        """The text of each list of ids, as `decode` gives it."""
        return [self.decode(ids, skip_special_tokens=skip_special_tokens) for ids in batch]

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
    if source.suffix == ".bin":
        from . import llama2c

        return llama2c.load(source, config)
    if ".model" in source.suffixes or source.suffix == ".tiktoken":
        from . import ranks, sentencepiece

        by_ranks = source.suffix == ".tiktoken" or ranks.is_rank_file(source)
        return ranks.load(source, config) if by_ranks else sentencepiece.load(source, config)
    raise TokenizerError("not a tokenizer file that lilims knows by its name", where=source, hint="give the folder")


def _special(parts: Parts, configured: str | None, own: int | None) -> int | None:
    found = parts.token_to_id(configured) if configured else None
    return own if found is None else found
