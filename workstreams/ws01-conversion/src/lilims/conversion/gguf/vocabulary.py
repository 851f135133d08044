"""The vocabulary of a GGUF file: tokens, their kinds, special ids; and the files that are made of it.

Knows the keys `tokenizer.*` and which of the two kinds of files a vocabulary becomes. Must not know how those are
written (bpe.py, spm.py).
Source: `llama_vocab::impl::load` of llama.cpp's llama-vocab.cpp; kinds of tokens are those of SentencePiece.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np

from lilims.core.errors import TokenizerError
from lilims.core.files import write_json

__all__ = ["TokenKind", "Vocabulary", "read_vocabulary", "write_tokenizer"]

_HINT = "the file's tokenizer is damaged: fetch the file again"
# Tokens that end a turn under whatever key, as llama.cpp finds them by name; only special ones count.
_ENDS = (
    "<|eot_id|>", "<|im_end|>", "<|end|>", "<|return|>", "<end_of_turn>", "<turn|>", "<|endoftext|>", "<|end_of_text|>",
    "<|eom_id|>", "<EOT>", "_<EOT>", "<|END_OF_TURN_TOKEN|>", "[|endofturn|]", "<|endofturn|>",
)  # fmt: skip


class TokenKind(IntEnum):
    """`llama_token_type`."""

    NORMAL = 1
    UNKNOWN = 2
    CONTROL = 3
    USER_DEFINED = 4
    UNUSED = 5
    BYTE = 6


@dataclass(frozen=True)
class Vocabulary:
    """Tokens by id, as the file has them.

    Attributes:
        model: `tokenizer.ggml.model`: "gpt2" is byte-level BPE, "llama" SentencePiece's BPE.
        pre: `tokenizer.ggml.pre`: how byte-level BPE splits text into words.
        scores: of SentencePiece's pieces; zeros where the file has none.
        merges: of byte-level BPE.
        flags: `add_bos_token`, `add_eos_token`, `add_space_prefix`, `remove_extra_whitespaces` that the file has.
        special: the ids that it names (`bos`, `eos`, `unknown`, `padding`, `eot`, `eom`).
        chat_template: Jinja, or None.
    """

    path: Path
    model: str
    pre: str | None
    tokens: list[str]
    kinds: list[TokenKind]
    scores: list[float]
    merges: list[str]
    flags: Mapping[str, bool]
    special: Mapping[str, int]
    chat_template: str | None

    @property
    def ends(self) -> list[int]:
        """Ids at which a text ends: those that the file names, then those that are known by their spelling."""
        named = [self.special[key] for key in ("eos", "eot", "eom") if key in self.special]
        spelled = [
            i
            for i, (token, kind) in enumerate(zip(self.tokens, self.kinds, strict=True))
            if kind in (TokenKind.CONTROL, TokenKind.USER_DEFINED) and token in _ENDS
        ]
        return list(dict.fromkeys([*named, *spelled]))

    def error(self, message: str) -> TokenizerError:
        return TokenizerError(message, where=self.path, hint=_HINT)


def read_vocabulary(path: Path, metadata: Mapping[str, Any]) -> Vocabulary | None:
    """The vocabulary, or None where the file has none.

    Raises:
        TokenizerError: its parts do not fit together.
    """
    tokens = metadata.get("tokenizer.ggml.tokens")
    model = metadata.get("tokenizer.ggml.model")
    if tokens is None or model is None or (isinstance(model, str) and model in ("no_vocab", "none")):
        return None

    def fail(message: str) -> TokenizerError:
        return TokenizerError(message, where=path, hint=_HINT)

    if not isinstance(model, str) or not isinstance(tokens, list):
        raise fail("tokenizer.ggml.model or tokenizer.ggml.tokens is no text")
    if len(set(tokens)) != len(tokens):
        raise fail("tokenizer.ggml.tokens has a token twice")
    kinds = _numbers(metadata, "token_type", [1] * len(tokens), fail, np.int32)
    if any(kind not in TokenKind._value2member_map_ for kind in set(kinds)):
        raise fail("tokenizer.ggml.token_type has an unknown kind")
    merges = metadata.get("tokenizer.ggml.merges", [])
    template, pre = metadata.get("tokenizer.chat_template"), metadata.get("tokenizer.ggml.pre")
    if not isinstance(merges, list) or not all(isinstance(text, (str, type(None))) for text in (template, pre)):
        raise fail("tokenizer.ggml.merges, tokenizer.ggml.pre or tokenizer.chat_template is no text")
    names = ("add_bos_token", "add_eos_token", "add_space_prefix", "remove_extra_whitespaces")
    flags = {name: metadata.get(f"tokenizer.ggml.{name}") for name in names}
    special = {
        key: metadata.get(f"tokenizer.ggml.{key}_token_id")
        for key in ("bos", "eos", "unknown", "padding", "eot", "eom")
    }
    return Vocabulary(
        path=path,
        model=model,
        pre=pre,
        tokens=tokens,
        kinds=[TokenKind(kind) for kind in kinds],
        scores=_numbers(metadata, "scores", [0.0] * len(tokens), fail, np.float32),
        merges=merges,
        flags={name: flag for name, flag in flags.items() if isinstance(flag, bool)},
        special={key: i for key, i in special.items() if type(i) is int and 0 <= i < len(tokens)},
        chat_template=template,
    )


def _numbers(
    metadata: Mapping[str, Any], key: str, default: list[Any], fail: Callable[[str], TokenizerError], dtype: Any
) -> list[Any]:
    values = metadata.get(f"tokenizer.ggml.{key}")
    if values is None:
        return default
    if not isinstance(values, np.ndarray) or len(values) != len(default):
        raise fail(f"tokenizer.ggml.{key} is not a number for each of the {len(default)} tokens")
    with np.errstate(over="ignore", invalid="ignore"):
        found: list[Any] = values.astype(dtype).tolist()
    return found


def write_tokenizer(vocabulary: Vocabulary, folder: Path) -> None:
    """Writes the files that `lilims.tokenizer` (and transformers) read: the vocabulary's and tokenizer_config.json.

    Raises:
        TokenizerError: a model or a way to split text that lilims does not know; a damaged vocabulary.
    """
    from . import bpe, spm

    writers = {"gpt2": bpe.write, "llama": spm.write}
    if vocabulary.model not in writers:
        raise TokenizerError(
            f"tokenizer.ggml.model {vocabulary.model!r} is not supported",
            where=vocabulary.path,
            hint=f"supported: {', '.join(writers)}; put the model's own tokenizer.json beside the converted package",
        )
    config = writers[vocabulary.model](vocabulary, folder)
    for role, key in (("bos_token", "bos"), ("eos_token", "eos"), ("unk_token", "unknown"), ("pad_token", "padding")):
        if key in vocabulary.special:
            config[role] = vocabulary.tokens[vocabulary.special[key]]
    if vocabulary.chat_template is not None:
        config["chat_template"] = vocabulary.chat_template
    write_json(folder / "tokenizer_config.json", config)
