"""The behaviour suite on the portable executor's fp16: cases pass, and fail where an executor or a session does not."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest

from lilims.ci.macos import cases_text
from lilims.ci.macos.behaviour import BEHAVIOUR
from lilims.ci.macos.rungs import Target
from lilims.core.errors import LilimsError
from lilims.runtime import Session
from lilims.runtime.generation.stops import StopStrings
from lilims.runtime.model import Model
from lilims.runtime.ported import PortableExecutor

from .conftest import converts
from .test_probes import function_of

pytestmark = converts
QUICK = ("fork", "moved-state", "stop-strings")


def every(names: Iterable[str]) -> list[Any]:
    """The names as parameters; those that take long are for `hatch run soak`."""
    return [pytest.param(name, marks=() if name in QUICK else pytest.mark.soak) for name in names]


@pytest.mark.parametrize("name", every(rung.name for rung in BEHAVIOUR))
def test_it_passes(name: str, target: Target) -> None:
    found = function_of(next(rung.home for rung in BEHAVIOUR if rung.name == name))(target)
    assert found.passed, found
    assert all(np.isfinite(value) for value in found.figures.values())
    if name not in ("stop-strings", "end-of-text", "sampling", "isolated"):  # these compare texts alone
        assert {"max", "rms_share", "top1", "kl"} <= found.figures.keys()


def _fork_shares(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Session, "fork", lambda self: self)


def _rewind_forgets_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Session.rewind
    monkeypatch.setattr(Session, "rewind", lambda self, count: plain(self, 0))


def _one_state_for_all(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, made = PortableExecutor.make_state, {}

    def make(self: PortableExecutor) -> Any:
        return made.setdefault(id(self), plain(self))

    monkeypatch.setattr(PortableExecutor, "make_state", make)


def _writes_of_states_are_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PortableExecutor, "write_state", lambda self, state, values: None)


def _stops_are_not_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = StopStrings.__init__
    monkeypatch.setattr(StopStrings, "__init__", lambda self, strings: plain(self, []))


def _ends_are_not_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = Model.generate

    def generate(self: Model, prompt: Any, **options: Any) -> Any:
        return plain(self, prompt, **{**options, "ignore_eos": True})

    monkeypatch.setattr(Model, "generate", generate)


def _seeds_are_not_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, calls = Model.generate, []

    def generate(self: Model, prompt: Any, **options: Any) -> Any:
        calls.append(1)
        return plain(self, prompt, **{**options, "seed": len(calls)})

    monkeypatch.setattr(Model, "generate", generate)


def _noise(share: float) -> Callable[[pytest.MonkeyPatch], None]:
    def damage(monkeypatch: pytest.MonkeyPatch) -> None:
        """Logits of the fp16 executor, and of it alone, are off by a share of their deviation."""
        plain = Session._rows
        random = np.random.default_rng(0)

        def rows(self: Any, step: Any, outputs: Any, *, every: bool) -> Any:
            found = plain(self, step, outputs, every=every)
            exact = getattr(self._executor, "_precision", "fp16") == "exact"
            return found if exact else found + random.normal(0, share * found.std(), found.shape).astype(np.float32)

        monkeypatch.setattr(Session, "_rows", rows)

    return damage


DAMAGES: dict[str, Callable[[pytest.MonkeyPatch], None]] = {
    "fork": _fork_shares,
    "rewind": _rewind_forgets_nothing,
    "interleaved": _one_state_for_all,
    "moved-state": _writes_of_states_are_lost,
    "saved": _writes_of_states_are_lost,
    "overflow": _noise(0.05),
    "long-prompt": _noise(0.05),
    "generate-int4": _noise(0.05),
    "perplexity": _noise(0.05),
    "policies": _noise(0.05),
    "buckets": _noise(0.05),
    "stop-strings": _stops_are_not_heard,
    "end-of-text": _ends_are_not_heard,
    "sampling": _seeds_are_not_heard,
}


@pytest.mark.parametrize("name", every(DAMAGES))
def test_what_does_not_behave_is_noticed(name: str, target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    case = function_of(next(rung.home for rung in BEHAVIOUR if rung.name == name))
    DAMAGES[name](monkeypatch)
    if name in ("rewind", "saved"):  # the session itself refuses what does not fit together
        with contextlib.suppress(LilimsError):
            assert not case(target).passed
    else:
        assert not case(target).passed


@pytest.mark.parametrize(("gap", "passed"), [(0.5, True), (1.5, True), (2.5, False), (-1.0, False)])
def test_where_tokens_may_part(gap: float, passed: bool, target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    """At a token whose logit is lower by no more than twice the largest difference."""

    class Says:
        def __init__(self, ids: list[int], logits: Any) -> None:
            self.ids, self.logits, self.tokenizer = ids, logits, self

        def encode(self, _text: str) -> list[int]:
            return [0]

        def step_logits(self, _ids: list[int], prefill: int) -> Any:
            return self.logits

    wanted = np.random.default_rng(0).normal(0, 1000, (3, 8)).astype(np.float32)
    wanted[1, 5], wanted[1, 6] = 3000, 3000 - gap
    found = wanted + np.float32(1)
    pair = type("Pair", (), {"wanted": Says([1, 5, 2], wanted), "found": Says([1, 6, 2], found)})
    monkeypatch.setattr(cases_text, "open_pair", lambda *_: pair)
    monkeypatch.setattr(cases_text, "greedy", lambda model, _prompt: model.ids)
    result = cases_text.generate_fp16(target)
    assert result.passed is passed and "token 1 is another" in result.what
