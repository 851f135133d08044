"""`starter.json`: what the Swift sources are told of a model beside its manifest, and what they can run at all.

Knows which models the Swift sources can run, and the record's fields (Starter.swift reads them). Must not know where
files lie.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lilims.core.errors import UnsupportedError
from lilims.core.manifest import Manifest

from .prompts import ChatPieces, chat_pieces
from .tables import tables_of

if TYPE_CHECKING:
    from lilims.tokenizer import Tokenizer

__all__ = ["PROBES", "SCHEMA_VERSION", "STARTER", "check_model", "starter_record"]

STARTER = "starter.json"
"""What an app needs to know of a model beside its manifest: the file's name in the model's folder."""
SCHEMA_VERSION = 1

PROBES = (
    "Once upon a time, there was a little girl.",
    "It's 12345 o'clock; they'll say: \"don't!\"",
    "  two spaces,\ttab\n\nand lines \r\n ",
    "naïve café – Straße, 東京で寿司, Привет, مرحبا, हिन्दी",
    "🙂👍🏽 emoji, e\u0301 and \u00e9, \u212b",
    "<|endoftext|> </s> [INST] are text here",
)
"""Texts that are encoded and decoded here and again on the device, when the model is opened."""

_NEUTRAL = {"top_p": 1.0, "repetition_penalty": 1.0}
_SAMPLING = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")


def check_model(manifest: Manifest, folder: Path) -> None:
    """Refuses what the Swift sources cannot run.

    Raises:
        UnsupportedError: the model's form is not one that they know.
        ContractError: its sizes or rotary parameters contradict each other.
    """
    from lilims.runtime.contract import decoder_shape

    decoder_shape(manifest, package=folder)  # which refuses sizes and rotary rules that neither side knows
    layers = [(part.first_layer, part.layers) for part in manifest.packages()]
    if len(set(layers)) != len(layers):
        raise UnsupportedError(
            "its functions lie in packages of their own, and Core ML cannot share a state between packages",
            where=folder,
            hint="convert it without --split-functions (splitting by layers, --max-chunk-mb, is fine)",
        )


def starter_record(folder: Path, manifest: Manifest, tokenizer: Tokenizer) -> tuple[dict[str, Any], str | None]:
    """The record, and why the model knows no conversations; None where it does.

    Raises:
        UnsupportedError: the tokenizer is of a kind that the Swift sources cannot follow.
    """
    from lilims.tokenizer import generation_defaults

    found = chat_pieces(tokenizer)
    chat, why = (found, None) if isinstance(found, ChatPieces) else (None, found)
    template = tokenizer.chat_template
    bos = tokenizer.bos_id if manifest.tokens.bos is None else manifest.tokens.bos
    ends = dict.fromkeys([*manifest.tokens.eos, *tokenizer.eos_ids, *tokenizer.end_of_turn_ids])
    defaults = generation_defaults(folder)
    record = {
        "schema_version": SCHEMA_VERSION,
        "chat": None if chat is None else dataclasses.asdict(chat),
        "begin": bos,
        "stop_tokens": [int(i) for i in ends],
        "stop_strings": [] if template is None else list(template.stops),
        "sampling": _sampling(defaults),
        "probes": [_probe(tokenizer, text) for text in PROBES],
        "tokenizer": tables_of(tokenizer, folder),
    }
    return record, why


def _sampling(defaults: Mapping[str, Any]) -> dict[str, Any]:
    """What its makers sample by; as transformers, nothing but the penalty where they do not sample."""
    names = _SAMPLING if defaults.get("do_sample") else ("repetition_penalty",)
    return {name: defaults[name] for name in names if defaults.get(name) and defaults[name] != _NEUTRAL.get(name)}


def _probe(tokenizer: Tokenizer, text: str) -> dict[str, Any]:
    ids = tokenizer.encode(text)
    return {"text": text, "ids": ids, "decoded": tokenizer.decode(ids)}
