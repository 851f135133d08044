"""The loop: what it emits, when it stops, what it measures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lilims.core.errors import ContextOverflowError, ExecutionError, TokenizerError, UsageError
from lilims.core.events import Event, listening
from lilims.core.manifest import identity
from lilims.runtime import Model, Sampler, SamplingParameters
from lilims.runtime.session import Session

from .fakes import BOS, CHUNK, CONTEXT, EOS, VOCAB, FakeExecutor, fake_model, logits_of, mixed, scripted

Make = Callable[..., Model]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def model(executor: FakeExecutor | None = None, *, tokenizer: bool = True) -> Model:
        return fake_model(tmp_path / "model", executor or FakeExecutor(), tokenizer=tokenizer)

    return model


def ids(model: Model, prompt: Any, **options: Any) -> list[int]:
    return [token.id for token in model.generate(prompt, **options)]


def naive(prompt: list[int], count: int, choose: Callable[[np.ndarray], int]) -> list[int]:
    """Generation by its definition: no state, no chunks."""
    tokens = list(prompt)
    for _ in range(count):
        tokens.append(choose(logits_of(mixed(tokens))))
    return tokens[len(prompt) :]


@pytest.mark.parametrize("count", [1, 2, CHUNK, CHUNK + 1, 20])
def test_greedy(count: int, make: Make) -> None:
    prompt = [(5 * i) % 256 for i in range(count)]
    assert ids(make(), prompt, max_tokens=12) == naive(prompt, 12, lambda logits: int(logits.argmax()))


def test_sampled_with_a_seed(make: Make) -> None:
    model = make()
    sampler = Sampler(SamplingParameters(temperature=0.9, top_k=20, top_p=0.95, seed=5))
    wanted = naive([1, 2, 3], 12, lambda logits: sampler.choose(logits).id)
    options: dict[str, Any] = {"max_tokens": 12, "temperature": 0.9, "top_k": 20, "top_p": 0.95, "ignore_eos": True}
    assert ids(model, [1, 2, 3], seed=5, **options) == wanted
    assert ids(model, [1, 2, 3], seed=6, **options) != wanted
    assert model.stats.seed == 6


def test_an_unseeded_generation_can_be_repeated(make: Make) -> None:
    model = make()
    first = ids(model, [1], max_tokens=10, temperature=1.0, ignore_eos=True)
    seed = model.stats.seed
    assert seed is not None
    assert ids(model, [1], max_tokens=10, temperature=1.0, ignore_eos=True, seed=seed) == first


# -- stopping --------------------------------------------------------------------------------------------------------


def test_it_stops_at_eos_without_text(make: Make) -> None:
    model = make(FakeExecutor(scripted(ord("a"), ord("b"), EOS, ord("c"))))
    tokens = list(model.generate([0], max_tokens=10))
    assert [(t.id, t.text, t.finish_reason) for t in tokens] == [
        (97, "a", None), (98, "b", None), (EOS, "", "stop"),
    ]  # fmt: skip
    assert model.stats.finish_reason == "stop"
    assert model.stats.generated_tokens == 3


def test_every_eos_id_stops(tmp_path: Path) -> None:
    from lilims.core.manifest import read_manifest
    from lilims.tokenizer import Tokenizer

    from .fakes import write_folder

    folder = write_folder(tmp_path / "m", tokens={"eos": [10, 20], "padding": 0})
    for stop in (10, 20, EOS):  # two of the manifest, one of the tokenizer
        executor = FakeExecutor(scripted(97, stop, 98))
        model = Model(folder, read_manifest(folder), executor, Tokenizer.load(folder))
        assert ids(model, [0]) == [97, stop]


def test_eos_may_be_ignored(make: Make) -> None:
    model = make(FakeExecutor(scripted(97, EOS, 98)))
    assert ids(model, [0], max_tokens=3, ignore_eos=True) == [97, EOS, 98]
    assert model.stats.finish_reason == "length"


def test_max_tokens(make: Make) -> None:
    executor = FakeExecutor(scripted(97, 98, 99))
    tokens = list(make(executor).generate([0], max_tokens=2))
    assert [(t.text, t.finish_reason) for t in tokens] == [("a", None), ("b", "length")]
    assert executor.calls == ["decode", "decode"]  # no step after the last token


@pytest.mark.parametrize("count", [1, 5, CONTEXT - 1, CONTEXT])
def test_a_full_context_ends_with_length(count: int, make: Make) -> None:
    model = make()
    tokens = list(model.generate([3] * count))
    assert len(tokens) == CONTEXT - count + 1
    assert tokens[-1].finish_reason == model.stats.finish_reason == "length"


def test_a_prompt_that_does_not_fit(make: Make) -> None:
    executor = FakeExecutor()
    with pytest.raises(ContextOverflowError, match="has 41 tokens, the context holds 40") as caught:
        make(executor).generate([1] * (CONTEXT + 1))
    assert "by 1 tokens" in (caught.value.hint or "")
    assert executor.calls == []


# -- text ------------------------------------------------------------------------------------------------------------


def test_text_is_never_half_a_character(make: Make) -> None:
    answer = "né ✓!".encode()
    tokens = list(make(FakeExecutor(scripted(*answer, EOS, prompt=2))).generate("ab"))
    assert [token.text for token in tokens if token.text] == ["n", "é", " ", "✓", "!"]


def test_an_unfinished_character_comes_at_the_end(make: Make) -> None:
    model = make(FakeExecutor(scripted(97, 0xE2, 0x9C)))
    assert model.generate([0], max_tokens=3).text() == "a\N{REPLACEMENT CHARACTER}"


def test_the_prompt_is_not_repeated_and_its_half_character_is_completed(make: Make) -> None:
    model = make(FakeExecutor(scripted(0x93, 97, prompt=3)))
    tokens = model.generate([ord("x"), 0xE2, 0x9C], max_tokens=2)
    assert [str(token) for token in tokens] == ["✓", "a"]


def test_text_and_its_ids_give_the_same(make: Make) -> None:
    model = make()
    assert ids(model, "Once", max_tokens=5) == ids(model, list(b"Once"), max_tokens=5)


def test_an_empty_prompt_begins_a_text(make: Make) -> None:
    executor = FakeExecutor()
    model = make(executor)
    assert ids(model, "", max_tokens=3) == ids(model, [BOS], max_tokens=3)


def test_without_a_tokenizer(make: Make) -> None:
    model = make(tokenizer=False)
    tokens = list(model.generate([1, 2], max_tokens=3))
    assert [t.text for t in tokens] == ["", "", ""]
    assert model.generate([1, 2], max_tokens=3).text() == ""
    with pytest.raises(TokenizerError, match="no tokenizer"):
        model.generate("text")


# -- arguments and failures ------------------------------------------------------------------------------------------

BAD: dict[str, tuple[Any, dict[str, Any]]] = {
    "no-tokens": ([], {}),
    "too-large": ([VOCAB], {}),
    "negative": ([-1], {}),
    "max-tokens": ([1], {"max_tokens": 0}),
    "temperature": ([1], {"temperature": -1}),
    "top-p": ([1], {"top_p": 0}),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_arguments_are_refused_at_the_call(case: str, make: Make) -> None:
    prompt, options = BAD[case]
    executor = FakeExecutor()
    model = make(executor)
    with pytest.raises(UsageError):
        model.generate(prompt, **options)
    assert executor.calls == []
    assert not executor.loaded


def test_a_generation_that_is_dropped_leaves_the_model_usable(make: Make) -> None:
    model = make()
    wanted = ids(model, [1, 2], max_tokens=5)
    stream = model.generate([1, 2])
    assert next(stream).id == wanted[0]
    del stream
    assert ids(model, [1, 2], max_tokens=5) == wanted


def test_logits_that_are_not_finite(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make()
    broken = np.full((1, 1, 320), np.nan, np.float32)
    monkeypatch.setattr(FakeExecutor, "function", lambda self, name: _Returns(broken))
    with pytest.raises(ExecutionError, match="not finite"):
        ids(model, [1, 2])


class _Returns:
    def __init__(self, logits: np.ndarray) -> None:
        self.logits = logits

    def predict(self, inputs: object, state: object) -> dict[str, np.ndarray]:
        return {"logits": self.logits}


# -- logits ----------------------------------------------------------------------------------------------------------


def test_logits_of_every_position(make: Make) -> None:
    executor = FakeExecutor()
    model = make(executor)
    tokens = [(11 * i) % 256 for i in range(19)]
    found = model.logits(tokens)
    assert found.shape == (19, VOCAB)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, [logits_of(mixed(tokens[: i + 1])) for i in range(19)])
    np.testing.assert_array_equal(model.step_logits(tokens), found)
    np.testing.assert_array_equal(model.step_logits(tokens, prefill=10), found[9:])


def test_logits_at_the_edges(make: Make) -> None:
    model = make()
    assert model.logits([]).shape == (0, VOCAB)
    assert model.logits([1] * CONTEXT).shape == (CONTEXT, VOCAB)
    with pytest.raises(ContextOverflowError):
        model.logits([1] * (CONTEXT + 1))


def test_score_is_loaded_only_when_it_is_used(make: Make) -> None:
    executor = FakeExecutor()
    model = make(executor)
    ids(model, [1, 2, 3], max_tokens=4)
    assert executor.loaded == {"prefill", "decode"}
    model.logits([1, 2])
    assert "score" in executor.loaded


# -- figures ---------------------------------------------------------------------------------------------------------


def test_statistics(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("time.perf_counter", lambda: now)

    def answer(tokens: Any) -> int:
        nonlocal now
        now += 1 if len(tokens) < 5 else 3  # a prompt of 3, then steps of 1, 3 and 3 seconds
        return mixed(tokens)

    model = make(FakeExecutor(answer))
    ids(model, [1, 2, 3], max_tokens=4)
    stats = model.stats
    assert (stats.prompt_tokens, stats.generated_tokens) == (3, 4)
    assert (stats.time_to_first_token, stats.prefill_seconds, stats.decode_seconds) == (1, 1, 7)
    assert list(stats.steps) == [1, 3, 3]
    assert stats.prefill_tokens_per_second == 3
    assert stats.decode_tokens_per_second == 3 / 7
    assert set(stats.as_dict()) == {
        "prompt_tokens", "reused_tokens", "generated_tokens", "time_to_first_token", "prefill_tokens_per_second",
        "decode_tokens_per_second", "drafted_tokens", "accepted_tokens", "speedup", "peak_rss", "finish_reason",
        "constraint_met", "seed",
    }  # fmt: skip
    profile = model.profile()
    assert profile.decode is not None
    assert (profile.decode.steps, profile.decode.p50, profile.decode.longest) == (3, 3, 3)
    assert (profile.prefill, profile.first_token) == (1, 1)
    assert profile.state_bytes == 2 * int(np.prod(model.manifest.state.shape))
    assert profile.as_dict()["decode"]["mean"] == 7 / 3


def test_a_slow_consumer_does_not_count(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("time.perf_counter", lambda: now)
    model = make()
    for _ in model.generate([1], max_tokens=5):
        now += 100
    assert model.stats.decode_seconds == 0


def test_an_event_tells_the_figures_and_no_text(make: Make) -> None:
    heard: list[Event] = []
    model = make()
    with listening(heard.append):
        ids(model, "secret", max_tokens=3)
    assert [event.name for event in heard] == ["generate.done"]
    assert heard[0].fields["prompt_tokens"] == 6
    told = {name: heard[0].fields[name] for name in ("operation", "executor", "precision", "model")}
    assert told == {
        "operation": "text_completion",
        "executor": model.executor,
        "precision": "fast",
        "model": identity(model.manifest),
    }
    assert heard[0].fields["seconds"] == model.stats.seconds > 0
    assert "secret" not in str(heard)


def test_an_event_tells_the_error_of_a_generation_that_fails(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[Event] = []
    model = make()
    generation = model.generate([1, 2], max_tokens=5)
    next(generation)

    def fail(*_: object, **__: object) -> None:
        raise ExecutionError("no more of secret")

    monkeypatch.setattr(Session, "append", fail)
    with listening(heard.append), pytest.raises(ExecutionError):
        next(generation)
    assert [(event.name, event.fields["error_type"]) for event in heard] == [("generate.failed", "ExecutionError")]
    assert heard[0].fields["generated_tokens"] == 1
    assert "secret" not in str(heard)


def test_the_first_generation_warms_up_on_a_state_of_its_own(make: Make) -> None:
    executor = FakeExecutor(warms_up=True)
    model = make(executor)
    assert ids(model, [1, 2], max_tokens=3) == naive([1, 2], 3, lambda logits: int(logits.argmax()))
    assert executor.calls == ["prefill", "decode", "prefill", "decode", "decode"]
    assert executor.states == 2
    ids(model, [1, 2], max_tokens=1)
    assert executor.states == 3


def test_functions_are_loaded_before_the_clock_starts(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("time.perf_counter", lambda: now)
    executor = FakeExecutor()
    load = executor.function

    def slow(name: str) -> Any:
        nonlocal now
        now += 0 if name in executor.loaded else 100
        return load(name)

    monkeypatch.setattr(executor, "function", slow)
    model = make(executor)
    ids(model, [1, 2, 3], max_tokens=2)
    assert executor.loaded == {"prefill", "decode"}
    assert model.stats.time_to_first_token == 0


# -- defaults --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "wanted"),
    [
        ({}, {}),
        ({"temperature": 0.6, "top_p": 0.9}, {}),
        ({"do_sample": False, "temperature": 0.6, "repetition_penalty": 1.1}, {"repetition_penalty": 1.1}),
        ({"do_sample": True, "top_p": 0.9}, {"temperature": 1.0, "top_p": 0.9}),
        ({"do_sample": True, "temperature": 0.6, "top_k": 20}, {"temperature": 0.6, "top_k": 20}),
    ],
    ids=["none", "no-do-sample", "greedy", "temperature-1", "all"],
)
def test_defaults_of_generation_config(tmp_path: Path, config: dict[str, Any], wanted: dict[str, Any]) -> None:
    from lilims.core.manifest import read_manifest

    from .fakes import write_folder

    folder = write_folder(tmp_path / "m")
    model = Model(folder, read_manifest(folder), FakeExecutor(), defaults=config)
    assert model.sampling() == SamplingParameters(**wanted)
    assert model.sampling(temperature=0.2, top_k=None) == SamplingParameters(**{**wanted, "temperature": 0.2})
