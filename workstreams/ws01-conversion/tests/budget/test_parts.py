"""The parts of a search: what is asked for, which group is next, what is known already."""

from __future__ import annotations

import sys
from itertools import product
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from lilims.conversion.budget import Point, search
from lilims.conversion.budget.allocate import Choice, path
from lilims.conversion.budget.goal import Figures, Goal, read_goal
from lilims.conversion.budget.ladder import LADDERS, Group, ladder_for, recipe_text
from lilims.conversion.budget.ledger import Ledger
from lilims.conversion.policy.recipe import read_recipe
from lilims.conversion.quantize import parse_scheme
from lilims.core.errors import QuantizationError, UsageError


def test_goals() -> None:
    assert read_goal("ppl<=3%") == Goal("ppl", 0.03) == read_goal(" ppl <= 3.0 % ")
    assert read_goal("kl<=0.05") == Goal("kl", 0.05)
    assert [str(read_goal(text)) for text in ("ppl<=0.5%", "kl<=0.02")] == ["ppl<=0.5%", "kl<=0.02"]
    figures = Figures(log_ratio=0.02, log_ratio_error=0.01, divergence=0.06, nll=2.0, tokens=100)
    assert read_goal("ppl<=2.1%").met(figures) and not read_goal("ppl<=2%").met(figures)  # e^0.02 - 1 is 2.02 %
    assert not read_goal("kl<=0.05").met(figures)
    assert not read_goal("kl<=0.05").met(Figures(0, 0, float("nan"), 2, 1))


@pytest.mark.parametrize("text", ["", "3%", "ppl<3%", "ppl<=3", "kl<=3%", "ppl<=-1%", "ppl<=0%", "kl<=0", "acc<=1%"])
def test_what_is_no_goal(text: str) -> None:
    with pytest.raises(UsageError, match="--budget"):
        read_goal(text)


def test_steps_lie_on_the_front_of_all_assignments() -> None:
    random = np.random.default_rng(0)
    groups = []
    for _ in range(4):
        bits = np.sort(random.choice(np.arange(1, 40), 4, replace=False)).astype(float)
        groups.append([Choice(b, float(loss)) for b, loss in zip(bits, -np.sort(-random.random(4)), strict=True)])

    def cost(step: tuple[int, ...]) -> tuple[float, float]:
        chosen = [group[i] for group, i in zip(groups, step, strict=True)]
        return sum(c.bits for c in chosen), sum(c.loss for c in chosen)

    every = [cost(step) for step in product(range(4), repeat=4)]
    found = [cost(step) for step in path(groups)]
    assert found[0][0] == min(bits for bits, _ in every) and found[-1][1] == min(loss for _, loss in every)
    for bits, loss in found:
        assert not any(b <= bits and other < loss for b, other in every)
    assert found == sorted(found) and len(set(found)) == len(found)


def test_a_point_beside_the_path_may_be_the_only_one_that_meets_a_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    module = sys.modules["lilims.conversion.budget.search"]

    class Measured:
        groups: ClassVar[list[object]] = []

        def __init__(self, *given: object) -> None:
            self.points: list[Point] = []

        def bits(self, step: Any) -> float:
            return float(step[0])

        def point(self, step: Any) -> Point:
            self.points.append(Point(step, step[0], Figures(0.0, 0.0, step[1], 0.0, 1)))
            return self.points[-1]

        def roles(self, step: Any) -> dict[str, Any]:
            return {}

    def steps(at: Measured) -> list[tuple[float, float]]:
        at.point((5.4, 0.04))  # every group with one scheme
        return [(4.5, 0.2), (5.3, 0.06), (6.0, 0.01)]

    given: list[Any] = [None] * 5
    for name, value in (("_Search", Measured), ("_steps", steps), ("recipe_text", lambda *given: "")):
        monkeypatch.setattr(module, name, value)
    assert search(read_goal("kl<=0.05"), 5.5, *given).chosen.bits == 5.4
    assert search(read_goal("kl<=0.05"), None, *given).chosen.bits == 5.4
    with pytest.raises(QuantizationError, match=r"reached is 0\.0400 nats at 5\.40 bits"):
        search(read_goal("kl<=0.03"), 5.5, *given)


def test_choices_that_are_worth_nothing_are_never_taken() -> None:
    dear, equal, good = Choice(8, 0.5), Choice(4, 0.5), Choice(16, 0.0)
    assert path([[equal, dear, good]]) == [(0,), (2,)]
    assert path([[Choice(4, 1.0)]]) == [(0,)]


@pytest.mark.parametrize("profile", LADDERS)
def test_rungs_take_more_and_more_bits(profile: str) -> None:
    from lilims.conversion.weights.sizes import form_of

    rungs = ladder_for(profile, "gptq")  # type: ignore[arg-type]
    bits = [form_of(rung, (512, 512)).bits for rung in rungs]
    assert bits == sorted(bits) and len(set(bits)) == len(bits) and rungs[-1].kind == "fp16"


def test_the_recipe_says_what_was_chosen(tmp_path: Path) -> None:
    groups = [
        Group("embedding", ("embedding",)),
        *(Group(f"layers.{i}.mlp.*", (f"layers.{i}.mlp.up.weight",)) for i in (0, 1)),
    ]
    chosen = [parse_scheme("lut6-r16-gptq"), parse_scheme("int4-g16-gptq"), parse_scheme("int4-g16-gptq")]
    file = tmp_path / "recipe.yaml"
    file.write_text(recipe_text(groups, chosen, "why\nand how"), "utf-8")
    assert file.read_text("utf-8").startswith("# why\n# and how\ndefault: int4-g16\n")
    for method in ("gptq", "rtn"):
        found = read_recipe(file, 32, method)  # type: ignore[arg-type]
        assert found.default == parse_scheme("int4-g16", method=method)  # type: ignore[arg-type]
        (rule,) = found.rules
        assert rule.matches("embedding") and rule.scheme == parse_scheme("lut6-r16", method=method)  # type: ignore[arg-type]


@pytest.mark.parametrize("torn", [b'{"name": "c", "fig', b'{"name": "c", "figures": {}}\n', b"\xff\xfe\n"])
def test_a_ledger_goes_on_behind_its_last_whole_line(torn: bytes, home: Path) -> None:
    figures = Figures(0.1, 0.01, 0.2, 2.5, 99)
    key = f"ledger-{torn.hex()}"
    first = Ledger(key)
    first.put("a", figures)
    with (home / "cache" / "budget" / f"{key}.jsonl").open("ab") as file:
        file.write(torn)
    second = Ledger(key)
    assert second.get("a") == figures and second.get("c") is None
    second.put("b", figures)
    third = Ledger(key)
    assert third.get("a") == third.get("b") == figures
    assert third.or_measure("a", lambda: pytest.fail("measured again")) == figures
