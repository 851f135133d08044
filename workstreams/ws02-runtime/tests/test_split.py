"""Packages of layers and of functions run as one: what goes where, and whose state is taken."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lilims.core.errors import ExecutionError, UsageError
from lilims.core.manifest import Part
from lilims.runtime.contract import FunctionInterface, Interfaces
from lilims.runtime.coreml import CoreMLExecutor, CoreMLState
from lilims.runtime.executor import ExecutorName, check_rows
from lilims.runtime.portable.program import TensorType
from lilims.runtime.split import SplitExecutor

VALUE = TensorType("fp16", (1,))


@dataclass
class Package:
    """An executor whose functions add up what comes in, remember the calls, and count them in the state.

    With `shares` a state serves any package, as in the portable executor; else its content is copied.
    """

    package: str
    last: bool
    shares: bool
    name: ExecutorName = "portable"
    warms_up: bool = False
    pads: bool = True
    fed: list[list[str]] = field(default_factory=list)
    adopted: int = 0

    def make_state(self) -> list[str]:
        return []

    def adopt(self, state: list[str], own: list[str] | None) -> list[str]:
        self.adopted += 1
        if self.shares:
            return state
        own = [] if own is None else own
        own[:] = state
        return own

    def function(self, name: str) -> Any:
        def predict(inputs: Mapping[str, NDArray[Any]], state: list[str]) -> dict[str, NDArray[Any]]:
            self.fed.append(sorted(inputs))
            state.append(name)
            total = np.float32(sum(float(array.sum()) for array in inputs.values())) + len(state)
            return {"logits" if self.last else "hidden_out": np.array([total])}

        return SimpleNamespace(predict=predict)


def split(parts: list[Part], takes: dict[str, set[str]], *, shares: bool) -> tuple[SplitExecutor, dict[str, Package]]:
    opened: dict[str, Package] = {}
    end = max(part.first_layer for part in parts)
    last = {part.package for part in parts if part.first_layer == end}

    def open_package(package: str) -> Package:
        assert package not in opened, "opened twice"
        opened[package] = Package(package, package in last, shares)
        return opened[package]

    found: dict[str, Interfaces] = {
        part.package: {
            name: FunctionInterface(dict.fromkeys(takes[part.package], VALUE), {}, {}) for name in part.functions
        }
        for part in parts
    }
    return SplitExecutor(parts, found, open_package), opened


def part(package: str, first: int, *functions: str) -> Part:
    return Part(package=package, first_layer=first, layers=1, functions=list(functions))


INPUTS = {"input_ids": np.array([1.0]), "slot": np.array([10.0]), "cos": np.array([100.0])}


def test_each_package_gets_what_it_takes_and_hands_on() -> None:
    parts = [part(name, layer, "decode") for layer, name in enumerate(("a", "b", "c"))]
    takes = {"a": {"input_ids", "slot"}, "b": {"hidden", "slot"}, "c": {"hidden", "cos"}}
    executor, opened = split(parts, takes, shares=True)
    state = executor.make_state()
    first = executor.function("decode").predict(INPUTS, state)
    assert [package.fed for package in opened.values()] == [
        [["input_ids", "slot"]],
        [["hidden", "slot"]],
        [["cos", "hidden"]],
    ]
    assert first["logits"][0] == ((1 + 10 + 1) + 10 + 1) + 100 + 1
    assert executor.function("decode").predict(INPUTS, state)["logits"][0] == first["logits"][0] + 3
    assert executor.function("decode") is executor.function("decode")
    assert list(INPUTS) == ["input_ids", "slot", "cos"]


@pytest.mark.parametrize("shares", [True, False], ids=["one-state", "copies"])
def test_packages_of_functions_go_on_where_the_other_stopped(shares: bool) -> None:
    executor, opened = split(
        [part("d", 0, "decode"), part("p", 0, "prefill")], {"d": {"slot"}, "p": {"slot"}}, shares=shares
    )
    state, other = executor.make_state(), executor.make_state()
    order = ["prefill", "prefill", "decode", "decode", "prefill", "decode"]
    found = [executor.function(name).predict(INPUTS, state)["logits"][0] for name in order]
    assert found == [10 + count for count in range(1, 7)]
    assert (opened["d"].adopted, opened["p"].adopted) == (2, 1)
    assert executor.function("decode").predict(INPUTS, other)["logits"][0] == 11


class RawState:
    """What coremltools' MLState does, of an `MLState` of its own model."""

    def __init__(self, fails: bool = False) -> None:
        self.content = np.zeros(3, np.float32)
        self.fails = fails

    def read_state(self, name: str) -> NDArray[Any]:
        assert name == "kv_cache"
        return self.content.copy()

    def write_state(self, name: str, value: NDArray[Any]) -> None:
        if self.fails:
            raise RuntimeError("no such state")
        self.content[:] = value


def core_ml_state(fails: bool = False) -> CoreMLState:
    return CoreMLState(SimpleNamespace(make_state=lambda: RawState(fails)))


def test_core_ml_copies_a_state() -> None:
    executor = CoreMLExecutor.__new__(CoreMLExecutor)
    one, own = core_ml_state(), core_ml_state()
    one.raw.content[:] = [1, 2, 3]
    assert executor.adopt(one, own) is own
    np.testing.assert_array_equal(own.raw.content, [1, 2, 3])
    assert own.raw.content is not one.raw.content


def test_a_state_that_cannot_be_copied_is_an_error() -> None:
    executor = CoreMLExecutor.__new__(CoreMLExecutor)
    executor._package = "p"  # type: ignore[assignment]
    with pytest.raises(ExecutionError, match="the state cannot be handed to another package: no such state"):
        executor.adopt(core_ml_state(), core_ml_state(fails=True))


@dataclass
class Rows:
    """A package whose state is an array; its functions write their number into the first row."""

    layers: int
    shares: bool
    name: ExecutorName = "portable"
    warms_up: bool = False
    pads: bool = True

    def make_state(self) -> NDArray[np.float16]:
        return np.zeros((2 * self.layers, 1, 4, 2), np.float16)

    def adopt(self, state: NDArray[np.float16], own: NDArray[np.float16] | None) -> NDArray[np.float16]:
        return state if self.shares else state.copy()

    def read_state(self, state: NDArray[np.float16], rows: int) -> NDArray[np.float16]:
        check_rows(state.shape, rows)
        return state[:, :, :rows].copy()

    def write_state(self, state: NDArray[np.float16], values: NDArray[np.float16]) -> None:
        check_rows(state.shape, values.shape)
        state[:, :, : values.shape[2]] = values

    def function(self, name: str) -> Any:
        def predict(inputs: Mapping[str, NDArray[Any]], state: NDArray[np.float16]) -> dict[str, NDArray[Any]]:
            state[:, :, 0] += inputs["slot"][0].astype(np.float16)
            return {"logits": state[:, 0, 0, 0].copy()}

        return SimpleNamespace(predict=predict)


@pytest.mark.parametrize("shares", [True, False], ids=["one-state", "copies"])
def test_rows_of_all_layers(shares: bool) -> None:
    """Three layers in two ranges, of which the second lies in a package for each function."""
    parts = [
        Part(package="d", first_layer=1, layers=2, functions=["decode"]),
        Part(package="a", first_layer=0, layers=1, functions=["decode", "prefill"]),
        Part(package="p", first_layer=1, layers=2, functions=["prefill"]),
    ]
    takes = {"slot": VALUE}
    found: dict[str, Interfaces] = {
        part.package: {name: FunctionInterface(takes, {}, {}) for name in part.functions} for part in parts
    }
    sizes = {part.package: part.layers for part in parts}
    executor = SplitExecutor(parts, found, lambda package: Rows(sizes[package], shares))
    state = executor.make_state()
    assert not executor.read_state(state, 4).any()
    values = np.arange(6 * 3 * 2, dtype=np.float16).reshape(6, 1, 3, 2)
    executor.write_state(state, values)
    np.testing.assert_array_equal(executor.read_state(state, 3), values)
    assert executor.read_state(state, 4).shape == (6, 1, 4, 2)
    for count, name in enumerate(("prefill", "decode", "decode", "prefill"), start=1):
        executor.function(name).predict({"slot": np.array([1.0])}, state)
        np.testing.assert_array_equal(executor.read_state(state, 3)[:, 0, 0], values[:, 0, 0] + count)
        np.testing.assert_array_equal(executor.read_state(state, 3)[:, 0, 1:], values[:, 0, 1:])
    executor.write_state(state, values)
    executor.function("decode").predict({"slot": np.array([2.0])}, state)
    np.testing.assert_array_equal(executor.read_state(state, 1)[:, 0, 0], values[:, 0, 0] + 2)
    with pytest.raises(UsageError, match="do not fit the states of 3 layers"):
        executor.write_state(state, values[:4])
    with pytest.raises(UsageError, match="does not fit into a state of"):
        executor.read_state(state, 5)
