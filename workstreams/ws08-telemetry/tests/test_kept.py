"""What is kept of an event: the table's fields, in their forms, and nothing that could be a text."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lilims.telemetry import EVENTS, keep

from .helpers import MODEL, done

SAFE = re.compile(r"chat|text_completion|portable|coreml|fast|exact|fp16|stop|length|interrupt|[0-9a-f]{64}")


def test_a_generation_is_kept_by_the_conventions_names() -> None:
    kept = keep("generate.done", done())
    assert kept == {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": MODEL,
        "lilims.executor": "portable",
        "lilims.precision": "fast",
        "gen_ai.usage.input_tokens": 12,
        "gen_ai.usage.cache_read.input_tokens": 4,
        "gen_ai.usage.output_tokens": 40,
        "gen_ai.response.time_to_first_chunk": 0.25,
        "lilims.seconds": 2.2,
        "lilims.prefill.tokens_per_second": 32.0,
        "lilims.decode.tokens_per_second": 20.0,
        "lilims.speculation.drafted_tokens": 0,
        "lilims.speculation.accepted_tokens": 0,
        "lilims.memory.peak": 123_000_000,
        "gen_ai.response.finish_reasons": "stop",
    }


def test_names_are_those_of_the_published_conventions() -> None:
    from opentelemetry.semconv._incubating.attributes import error_attributes, gen_ai_attributes

    published = {value for module in (gen_ai_attributes, error_attributes) for value in vars(module).values()
                 if isinstance(value, str)}  # fmt: skip
    ours = {field.name for fields in EVENTS.values() for field in fields}
    assert {name for name in ours if not name.startswith("lilims.")} <= published


@pytest.mark.parametrize("name", sorted(EVENTS))
@given(data=st.data())
def test_no_text_gets_through(name: str, data: st.DataObject) -> None:
    anything = st.one_of(st.text(), st.binary(), st.integers(), st.floats(), st.none(), st.lists(st.text()))
    fields = {field.field: data.draw(anything) for field in EVENTS[name]}
    kept = keep(name, {**fields, "prompt": "a secret"})
    assert kept is not None
    for key, value in kept.items():
        if isinstance(value, str):
            assert SAFE.fullmatch(value) or re.fullmatch(r"[A-Z][A-Za-z0-9]*|[a-z][a-z-]*", value), key
            assert len(value) <= 64
    json.dumps(kept, allow_nan=False)


BAD: dict[str, Any] = {
    "a path for a model": {"model": "/home/ann/model"},
    "a sentence for an error": {"error_type": "No such file"},
    "not a number": {"seconds": float("nan")},
    "infinite": {"decode_tokens_per_second": float("inf")},
    "negative": {"prompt_tokens": -1},
    "a truth value": {"generated_tokens": True},
    "more than JSON holds": {"peak_rss": 1 << 60},
    "an unknown reason": {"finish_reason": "because of Ann"},
}


@pytest.mark.parametrize("fields", BAD.values(), ids=BAD)
def test_values_without_the_form_are_dropped(fields: dict[str, Any]) -> None:
    assert keep("generate.failed", fields) == {}


def test_other_events_are_not_kept() -> None:
    assert keep("convert.tensor", {"name": "x"}) is None
