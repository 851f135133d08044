"""Whatever a model says, the output is valid: random logits, several languages, byte-level BPE and SentencePiece."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from lilims.core.testing import test_data
from lilims.runtime.constrained import GrammarConstraint, grammar, json_schema, regex
from lilims.runtime.sampling import Sampler, SamplingParameters
from lilims.tokenizer import StreamDecoder, Tokenizer

TOKENIZERS = {
    "sentencepiece-512": "models/stories260K/tokenizer.model",
    "sentencepiece-mistral": "tokenizers/mistral/mistral_instruct_tokenizer_240323.model.v3",
    "bytes-gpt2": "tokenizers/gpt2",
}
SMALL = "sentencepiece-512"

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "minLength": 1, "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "tags": {"type": "array", "items": {"enum": ["a", "ü", "日本"]}, "maxItems": 3},
    },
    "required": ["name", "age"],
    "additionalProperties": False,
}
TREE = {
    "$ref": "#/$defs/tree",
    "$defs": {
        "tree": {
            "type": "object",
            "properties": {
                "value": {"type": ["boolean", "null"]},
                "next": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/tree"}]},
            },
            "required": ["value", "next"],
            "additionalProperties": False,
        }
    },
}
SUMS = """
start: sum
sum: product | sum ("+" | "-") product
product: atom | product "*" atom
atom: /[0-9]{1,3}/ | "(" sum ")"
"""


def is_person(text: str) -> bool:
    found = json.loads(text)
    name, age, tags = found["name"], found["age"], found.get("tags", [])
    return (
        set(found) <= {"name", "age", "tags"}
        and isinstance(name, str)
        and 1 <= len(name) <= 12
        and type(age) is int
        and 0 <= age <= 150
        and len(tags) <= 3
        and set(tags) <= {"a", "ü", "日本"}
    )


def is_tree(text: str) -> bool:
    found = json.loads(text)
    while found is not None:
        if set(found) != {"value", "next"} or found["value"] not in (True, False, None):
            return False
        found = found["next"]
    return True


def is_sum(text: str) -> bool:
    if not re.fullmatch(r"[0-9()+*-]+", text):
        return False
    compile(re.sub(r"\d+", "1", text), "sum", "eval")  # a SyntaxError is a failure
    return True


LANGUAGES: dict[str, tuple[Callable[..., GrammarConstraint], Any, Callable[[str], bool]]] = {
    "person": (json_schema, PERSON, is_person),
    "tree": (json_schema, TREE, is_tree),
    "tuple": (
        json_schema,
        {"type": "array", "prefixItems": [{"const": 1.5}, {"type": "boolean"}], "items": False, "minItems": 2},
        lambda text: json.loads(text) in ([1.5, True], [1.5, False]),
    ),
    "date": (
        regex, r"(19|20)[0-9]{2}-(0[1-9]|1[0-2])/[a-zé😀]{2,5}",
        lambda text: bool(re.fullmatch(r"(19|20)[0-9]{2}-(0[1-9]|1[0-2])/[a-zé😀]{2,5}", text)),
    ),
    "sum": (grammar, SUMS, is_sum),
}  # fmt: skip


@cache
def tokenizer(name: str) -> Tokenizer:
    return Tokenizer.load(test_data(TOKENIZERS[name]))


@cache
def compiled(language: str, name: str) -> GrammarConstraint:
    make, source, _ = LANGUAGES[language]
    return make(source, tokenizer(name))


def generate(constraint: GrammarConstraint, name: str, seed: int, **parameters: Any) -> tuple[str, Sampler, list[int]]:
    """Up to 400 tokens that a model of no sense at all says."""
    rng = np.random.Generator(np.random.PCG64(seed))
    sampler = Sampler(SamplingParameters(seed=seed, **parameters), constraint.fork())
    ids: list[int] = []
    while len(ids) < 400 and not sampler.finished:
        ids.append(sampler.choose(noise(rng, tokenizer(name))).id)
        if ids[-1] in tokenizer(name).eos_ids:
            break
    stream = StreamDecoder(tokenizer(name))
    stream.push(tokenizer(name).encode("x")[-1])  # what stands before is not the beginning of a text
    return "".join(map(stream.push, ids)) + stream.finish(), sampler, ids


def noise(rng: np.random.Generator, tokenizer: Tokenizer) -> NDArray[np.float32]:
    return rng.standard_normal(tokenizer.vocab_size).astype(np.float32) * 3


@pytest.mark.parametrize("name", TOKENIZERS)
@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_the_output_is_valid(language: str, name: str, temperature: float) -> None:
    whole = 0
    for seed in range(4):
        text, sampler, _ = generate(compiled(language, name), name, seed, temperature=temperature)
        if sampler.complete:
            assert LANGUAGES[language][2](text), text
            whole += 1
    assert whole


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    language=st.sampled_from(list(LANGUAGES)),
    parameters=st.sampled_from(
        [{"top_k": 3}, {"top_p": 0.3}, {"min_p": 0.5}, {"typical_p": 0.3}, {"repetition_penalty": 1.5}]
    ),
)
def test_filters_and_penalties_keep_it_valid(seed: int, language: str, parameters: dict[str, Any]) -> None:
    text, sampler, _ = generate(compiled(language, SMALL), SMALL, seed, temperature=1.0, **parameters)
    assert not sampler.complete or LANGUAGES[language][2](text), text


def test_a_text_that_is_cut_says_so() -> None:
    rng, constraint = np.random.Generator(np.random.PCG64(0)), compiled("person", SMALL)
    sampler = Sampler(SamplingParameters(), constraint.fork())
    for _ in range(5):
        sampler.choose(noise(rng, tokenizer(SMALL)))
    assert (sampler.complete, sampler.finished) == (False, False)


def test_an_end_token_is_allowed_only_where_the_text_may_end() -> None:
    words = tokenizer(SMALL)
    (end,) = words.eos_ids
    constraint = regex("a+", words)
    assert not constraint.allowed()[end]
    constraint.accept(byte(words, "a"))
    assert constraint.allowed()[end] and constraint.can_stop and not constraint.is_finished
    constraint.accept(end)
    assert constraint.can_stop and constraint.is_finished


def test_without_an_end_token_a_text_ends_where_nothing_can_follow() -> None:
    words = tokenizer(SMALL)
    constraint = regex("ab", words, end_ids=())
    for letter in "ab":
        constraint.accept(byte(words, letter))
    assert constraint.is_finished and constraint.can_stop
    assert not constraint.allowed()[: words.vocab_size].any()


def test_special_tokens_are_no_text() -> None:
    words = tokenizer("bytes-gpt2")
    (end,) = words.eos_ids
    constraint = regex(r"(<\|endoftext\|>)?x", words)
    assert not constraint.allowed()[end]  # its spelling would fit; it ends a text instead


# -- moving about ----------------------------------------------------------------------------------------------------


def byte(words: Tokenizer, letter: str) -> int:
    found = words.token_id(letter)
    assert found is not None
    return found


def test_rollback_and_fork() -> None:
    words = tokenizer(SMALL)
    a, b, c = (byte(words, letter) for letter in "abc")
    constraint = regex("a(b|c)c", words)
    constraint.accept(a)
    twin = constraint.fork()
    constraint.accept(b)
    assert constraint.allowed()[c] and not constraint.allowed()[b]
    assert twin.allowed()[b]
    constraint.rollback(2)
    assert constraint.allowed()[a] and not constraint.allowed()[c]
    twin.accept(c)
    twin.accept(c)
    assert twin.is_finished


def test_how_far_tokens_fit_and_what_is_forced() -> None:
    words = tokenizer(SMALL)
    a, b, c = (byte(words, letter) for letter in "abc")
    constraint = regex("abca?", words)
    assert constraint.acceptable([a, b, a]) == 2
    assert constraint.acceptable([b]) == 0
    assert words.decode(constraint.forced()) == "abc"
    assert constraint.allowed()[a]  # nothing was accepted
    constraint.accept(a)
    with pytest.raises(Exception, match="not allowed here"):
        constraint.accept(c)
    constraint.accept(b)  # the refusal left it where it was


def test_json_is_written_in_one_way_unless_whitespace_is_allowed() -> None:
    words = tokenizer(SMALL)
    schema = {"type": "object", "properties": {"a": {"const": 1}}, "required": ["a"], "additionalProperties": False}
    assert words.decode(json_schema(schema, words).forced()) == '{"a": 1}'
    loose = json_schema(json.dumps(schema), words, whitespace=True)
    loose.accept(loose.forced()[0])
    assert loose.allowed()[byte(words, "▁")]
