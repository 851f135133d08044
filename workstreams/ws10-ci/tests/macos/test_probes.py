"""The ladder on the portable executor: every probe passes, and fails where what it asks about does not hold."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lilims.ci.macos import backend, llama, probes_decoder, probes_state, probes_weights
from lilims.ci.macos.behaviour import BEHAVIOUR
from lilims.ci.macos.ladder import LADDER
from lilims.ci.macos.rungs import Finding, Target

from .conftest import converts

LONG = ("vocabulary-50257", "300-predictions", "footprint")  # seconds each: for `hatch run soak`
WEIGHTS = [rung.name for rung in LADDER if "probes_weights" in rung.home]


def function_of(home: str) -> Callable[[Target], Finding]:
    module, _, name = home.partition(":")
    found: Callable[[Target], Finding] = getattr(importlib.import_module(module), name)
    return found


def probe(name: str) -> Callable[[Target], Finding]:
    return function_of(next(rung.home for rung in LADDER if rung.name == name))


@converts
@pytest.mark.parametrize(
    "name", [pytest.param(one.name, marks=pytest.mark.soak if one.name in LONG else ()) for one in LADDER]
)
def test_it_passes(name: str, target: Target) -> None:
    found = probe(name)(target)
    assert found.passed, found
    assert found.figures and all(np.isfinite(value) for value in found.figures.values())


@converts
@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("int4-group-32", "nibbles"),
        ("int4-group-32", "noise"),
        ("lut-then-scale", "nibbles"),
    ],
)
def test_weights_that_are_read_otherwise_are_noticed(
    name: str, damage: str, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an executor gives that adds 2 % of noise, or takes two neighbours for each other."""
    plain = backend.Opened.predict

    def predict(self: Any, function: str, inputs: dict[str, Any], state: Any = None) -> Any:
        if damage == "nibbles":
            x = inputs["x"]
            inputs = {"x": x.reshape(*x.shape[:-1], -1, 2)[..., ::-1].reshape(x.shape)}
        y = plain(self, function, inputs, state)
        if damage == "noise":
            return y + 0.02 * y.std() * np.random.default_rng(0).standard_normal(y.shape)
        return y

    monkeypatch.setattr(backend.Opened, "predict", predict)
    assert not probe(name)(target).passed


MISREAD: dict[str, Callable[[Any], Any]] = {  # values of blocks, as an executor may take them for something else
    "negative-scale": np.abs,
    "float-offset": lambda blocks: np.round(blocks) if blocks.max() > 1 else blocks,  # offsets are above, scales below
    "nested-scale": lambda blocks: np.broadcast_to(blocks.mean(axis=1, keepdims=True), blocks.shape),  # the outer alone
}


@converts
@pytest.mark.parametrize("name", MISREAD)
def test_a_form_that_is_taken_for_another_is_noticed(
    name: str, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = probes_weights._blocks
    monkeypatch.setattr(probes_weights, "_blocks", lambda values: MISREAD[name](plain(values)))
    found = probe(name)(target)
    assert not found.passed and found.figures["rms_share"] > 0.04, "far above the bar"


@converts
@pytest.mark.parametrize("damage", ["slot 0", "one row late", "lost", "not seen by the host"])
def test_rows_in_the_wrong_place_are_noticed(damage: str, target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    plain, host = backend.Opened.predict, backend.Opened.make_state

    def predict(self: Any, function: str, inputs: dict[str, Any], state: Any = None) -> Any:
        if "slot" in inputs and damage == "slot 0":
            inputs = {**inputs, "slot": np.zeros(1, np.int32)}
        if "slot" in inputs and damage == "one row late":
            inputs = {**inputs, "rows": np.roll(inputs["rows"], 1, axis=2)}
        if damage == "lost" and function == "read":
            state = host(self, "read")
        return plain(self, function, inputs, state)

    class Blind:
        """A state whose content the host sees as zeros."""

        def __init__(self, state: Any) -> None:
            self.state = state

        def read_state(self, name: str) -> Any:
            return np.zeros_like(self.state.read_state(name))

    monkeypatch.setattr(backend.Opened, "predict", predict)
    if damage == "not seen by the host":
        blind = lambda self, function: Blind(host(self, function))  # noqa: E731
        monkeypatch.setattr(backend.Opened, "make_state", blind)
        given = lambda self, f, inputs, state=None: plain(self, f, inputs, state.state)  # noqa: E731
        monkeypatch.setattr(backend.Opened, "predict", given)
    assert not probes_state.write_then_read(target).passed


@converts
@pytest.mark.parametrize(
    ("name", "row"),
    [
        ("load-functions", 0),
        ("last-slots", -1),
        ("prefill-decode", -1),
        pytest.param("300-predictions", 150, marks=pytest.mark.soak),
    ],
)
def test_a_decoder_that_computes_one_row_otherwise_is_noticed(
    name: str, row: int, target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = llama.logits

    def other(checkpoint: Path, ids: Any) -> Any:
        logits = plain(checkpoint, ids).copy()
        logits[row] = np.roll(logits[row], 1)
        return logits

    monkeypatch.setattr(llama, "logits", other)
    assert not probe(name)(target).passed


@converts
def test_a_vocabulary_that_lost_its_end_is_noticed(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = probes_decoder.open_model

    class Short:
        def __init__(self, model: Any) -> None:
            self.model = model

        def logits(self, ids: Any) -> Any:
            logits = self.model.logits(ids)
            logits[:, 50000:] = 0
            return logits

    monkeypatch.setattr(probes_decoder, "open_model", lambda *given, **options: Short(plain(*given, **options)))
    assert not probes_decoder.vocabulary(target).passed


@converts
def test_weights_that_are_there_once_a_function_are_noticed(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[Any] = []

    def memory() -> dict[str, int]:
        held.append(None)
        return {"private": 30_000_000 * len(held)}

    monkeypatch.setattr("lilims.bench.memory.memory", memory)
    monkeypatch.setattr(probes_decoder, "_LARGER", {})
    found = probes_decoder.footprint(target)
    assert not found.passed and found.figures["score"] == 30_000_000


def test_rungs_have_names_of_their_own() -> None:
    for table in (LADDER, BEHAVIOUR):
        names = [rung.name for rung in table]
        assert len(set(names)) == len(names)
        for rung in table:
            assert callable(function_of(rung.home)), rung.name
            assert rung.shows[0].islower() or rung.shows[0].isdigit(), rung.shows
            assert not rung.shows.endswith(".") and not rung.otherwise.endswith("."), rung.name


@converts
def test_the_forms_are_in_the_packages(target: Target) -> None:
    """What tells the weight probes apart, read from the bytes that are run."""
    from lilims.runtime.portable.package import Package
    from lilims.runtime.portable.reader import read_program

    seen: dict[str, Any] = {}
    for name in WEIGHTS:
        work = target.work / name
        work.mkdir()
        probe(name)(dataclasses.replace(target, work=work))
        ops = read_program(Package(work / "linear.mlpackage")).functions["main"].ops
        seen[name] = [(op.type, op) for op in ops if op.type.startswith("constexpr")]
    assert {name: [kind.removeprefix("constexpr_") for kind, _ in ops] for name, ops in seen.items()} == {
        "int4-group-32": ["blockwise_shift_scale"],
        "negative-scale": ["blockwise_shift_scale"],
        "float-offset": ["blockwise_shift_scale"],
        "nested-scale": ["blockwise_shift_scale", "blockwise_shift_scale"],
        "lut-then-scale": ["lut_to_dense", "blockwise_shift_scale"],
    }
    assert {name for name, ops in seen.items() if "offset" in ops[-1][1].inputs} == {"float-offset"}
