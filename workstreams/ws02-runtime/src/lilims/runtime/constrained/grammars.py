"""From a JSON schema, a regular expression or a Lark grammar to a constraint.

Knows what llguidance takes and how it words its refusals. Must not know sampling.

Grammars are hostile input: their size is bounded here, their complexity by llguidance's own limits, which end in an
error; nothing is fetched or read, so `$ref` reaches into the schema itself alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from lilims.tokenizer import Tokenizer

from ..errors import ConstraintError
from .matcher import GrammarConstraint
from .vocabulary import vocabulary_of

__all__ = ["grammar", "json_schema", "regex"]

_MOST = 1 << 20  # characters


def json_schema(
    schema: Mapping[str, Any] | str | bool,
    tokenizer: Tokenizer,
    *,
    end_ids: Sequence[int] | None = None,
    whitespace: bool = False,
) -> GrammarConstraint:
    """A text that is one JSON value, valid by a schema.

    Written as `json.dumps` does, with `, ` and `: ` and no other whitespace: a model that may put any amount of it
    between tokens sometimes never comes to an end.

    Args:
        schema: JSON Schema, as a mapping or as text; `{"type": "object"}` is any object, `True` any value. A keyword
            that llguidance cannot follow (such as `not`) is refused, not ignored.
        tokenizer: of the model.
        end_ids: which tokens may end the text; None is `tokenizer.eos_ids`.
        whitespace: allow JSON's whitespace wherever JSON does.

    Raises:
        ConstraintError: not JSON, not a schema, unsupported, unsatisfiable or too large.
        MissingDependencyError: llguidance is not installed.
        UnsupportedError: the tokenizer's tokens do not stand for bytes.
    """
    vocabulary = vocabulary_of(tokenizer, end_ids)
    text = _schema_text(schema)
    from llguidance import LLMatcher

    form = {"whitespace_flexible": True} if whitespace else {"item_separator": ", ", "key_separator": ": "}
    overrides = {"whitespace_flexible": False, "lenient": False, **form}
    try:
        compiled = LLMatcher.grammar_from_json_schema(text, overrides=overrides)  # type: ignore[arg-type]
    except ValueError as exc:
        raise ConstraintError(f"not a JSON schema: {exc}", where="json_schema") from exc
    return GrammarConstraint.compile(vocabulary, compiled, "json_schema")


def regex(pattern: str, tokenizer: Tokenizer, *, end_ids: Sequence[int] | None = None) -> GrammarConstraint:
    """A text that matches a regular expression from its first to its last character.

    Args:
        pattern: in the syntax of Rust's `regex` crate: no look-around, no back-references.

    Raises:
        ConstraintError, MissingDependencyError, UnsupportedError: as `json_schema`.
    """
    vocabulary = vocabulary_of(tokenizer, end_ids)
    from llguidance import LLMatcher

    compiled = LLMatcher.grammar_from_regex(_bounded(pattern, "regex"))
    return GrammarConstraint.compile(vocabulary, compiled, "regex")


def grammar(lark: str, tokenizer: Tokenizer, *, end_ids: Sequence[int] | None = None) -> GrammarConstraint:
    """A text of a context-free language.

    Args:
        lark: a grammar in llguidance's dialect of Lark, which begins at the rule `start`.

    Raises:
        ConstraintError, MissingDependencyError, UnsupportedError: as `json_schema`.
    """
    vocabulary = vocabulary_of(tokenizer, end_ids)
    from llguidance import LLMatcher

    compiled = LLMatcher.grammar_from_lark(_bounded(lark, "grammar"))
    return GrammarConstraint.compile(vocabulary, compiled, "grammar")


def _schema_text(schema: Mapping[str, Any] | str | bool) -> str:
    where = "json_schema"
    try:
        text = _bounded(schema if isinstance(schema, str) else json.dumps(schema, allow_nan=False), where)
        parsed = json.loads(text)
    except (TypeError, ValueError, RecursionError) as exc:
        raise ConstraintError(f"not JSON: {exc}", where=where, hint="check quotes, brackets and types") from exc
    if parsed is True:
        return "{}"
    if not isinstance(parsed, dict):
        reason = "no text fulfils it" if parsed is False else "a schema is an object or a boolean"
        raise ConstraintError(f"{reason}: {text[:40]}", where=where)
    return text


def _bounded(text: str, where: str) -> str:
    if not isinstance(text, str):
        raise ConstraintError(f"must be text, not {type(text).__name__}", where=where)
    if len(text) > _MOST:
        raise ConstraintError(f"{len(text)} characters are more than {_MOST}", where=where, hint="make it smaller")
    try:
        text.encode()
    except UnicodeEncodeError as exc:
        raise ConstraintError(
            "holds half a surrogate pair", where=where, hint="write text that UTF-8 can hold"
        ) from exc
    return text
