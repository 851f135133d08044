"""A search on a real model: the budget holds on the package, at fewer bits than any one scheme takes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from lilims.conversion import convert
from lilims.conversion.budget import ladder
from lilims.conversion.pipeline import Conversion
from lilims.core.cli import lilims
from lilims.core.errors import LilimsError, QuantizationError, UsageError
from lilims.core.events import Event, listening
from lilims.core.testing import test_data

GOAL = "kl<=0.03"


@pytest.fixture(scope="module", autouse=True)
def short_ladder() -> Iterator[None]:
    """Three rungs: a search takes as many seconds as there are."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ladder, "LADDERS", {**ladder.LADDERS, "gpu": ("int4-g32", "int8-g32", "fp16")})
        yield


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from lilims.tokenizer import Tokenizer

    with np.load(Path(__file__).parents[1] / "references" / "stories260K_sampled.npz") as file:
        ids = file["ids"][:4].ravel().tolist()
    path = tmp_path_factory.mktemp("text") / "story.txt"
    path.write_text(Tokenizer.load(test_data("models/stories260K")).decode(ids), "utf-8")
    return path


def search(out: Path, story: Path, **options: Any) -> Conversion:
    given = {"budget": GOAL, "calibrate": str(story), "calibration_tokens": 1024, "context": 128, "jobs": 1, **options}
    return convert(test_data("models/stories260K"), out, **given)


@pytest.fixture(scope="module")
def found(story: Path, tmp_path_factory: pytest.TempPathFactory) -> Conversion:
    return search(tmp_path_factory.mktemp("m") / "m", story)


def test_the_budget_holds_at_fewer_bits_than_any_scheme_takes(found: Conversion) -> None:
    assert found.budget is not None
    chosen, front = found.budget.found.chosen, found.budget.found.front
    assert chosen.figures.divergence <= 0.03
    uniform = [point for point in front if len(set(point.schemes)) == 1 and point.figures.divergence <= 0.03]
    assert all(chosen.bits < point.bits for point in uniform)
    bits = [point.bits for point in front]
    losses = [point.figures.divergence for point in front]
    assert bits == sorted(bits) and losses == sorted(losses, reverse=True) and chosen in front


def test_the_package_is_what_was_measured(found: Conversion) -> None:
    assert found.budget is not None
    chosen = found.budget.found.chosen
    assert found.budget.package_change == pytest.approx(chosen.figures.change, abs=1e-3)
    assert found.manifest.quantization.bits_per_weight == pytest.approx(chosen.bits, abs=2e-4)
    assert found.manifest.quantization.scheme == "mixed"
    recipe = (found.folder / "recipe.yaml").read_text("utf-8")
    assert recipe == found.budget.found.recipe and "recipe.yaml" in found.manifest.files


def test_the_recipe_makes_the_same_schemes(found: Conversion, tmp_path: Path) -> None:
    again = convert(test_data("models/stories260K"), tmp_path / "m", recipe=found.folder / "recipe.yaml", context=128)
    assert {r: t.scheme for r, t in again.manifest.quantization.tensors.items()} == {
        r: t.scheme for r, t in found.manifest.quantization.tensors.items()
    }


def test_nothing_is_measured_twice(found: Conversion, story: Path, tmp_path: Path) -> None:
    alone: list[Event] = []
    units: list[bool] = []

    def hear(event: Event) -> None:
        if event.name == "budget.alone":
            alone.append(event)
        if event.name == "calibrate.unit":
            units.append(event.fields["kept"])

    with listening(hear):
        again = search(tmp_path / "m", story)
    assert not alone and units and all(units)
    assert again.budget is not None and found.budget is not None
    assert again.budget.found == found.budget.found
    assert next(again.folder.rglob("weight.bin")).read_bytes() == next(found.folder.rglob("weight.bin")).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("helpers", ["two processes", "a cluster of two"])
def test_others_find_the_same(
    helpers: str, found: Conversion, story: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lilims.core.settings import settings

    monkeypatch.setenv("LILIMS_HOME", str(tmp_path / "home"))
    settings.cache_clear()
    try:
        if helpers == "two processes":
            again = search(tmp_path / "m", story, jobs=2)
        else:
            distributed = pytest.importorskip("distributed")
            with distributed.LocalCluster(
                n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0", silence_logs=60
            ) as cluster:
                again = search(tmp_path / "m", story, jobs=None, dask=cluster.scheduler_address)
    finally:
        settings.cache_clear()
    assert again.budget is not None and found.budget is not None
    assert again.budget.found == found.budget.found


@pytest.mark.slow
def test_bits_are_bounded(found: Conversion, story: Path, tmp_path: Path) -> None:
    assert found.budget is not None
    chosen = found.budget.found.chosen
    made = search(tmp_path / "m", story, budget="kl<=0.08", max_bpw=chosen.bits)
    assert made.budget is not None and made.budget.found.chosen.bits < chosen.bits
    with pytest.raises(
        QuantizationError, match=r"cannot be met: the best that was reached is 0\.\d+ nats at [45]\.\d\d"
    ):
        search(tmp_path / "n", story, max_bpw=made.budget.found.chosen.bits)
    with pytest.raises(QuantizationError, match="the coarsest schemes take"):
        search(tmp_path / "n", story, max_bpw=3.0)
    assert not (tmp_path / "n").exists()


def test_the_command_prints_the_front(found: Conversion, story: Path, tmp_path: Path) -> None:
    command = [
        "convert",
        str(test_data("models/stories260K")),
        "-o",
        str(tmp_path / "m"),
        "--context",
        "128",
        "--jobs",
        "1",
    ]
    command += ["--budget", GOAL, "--calibrate", str(story), "--calibration-tokens", "1024"]
    shown = CliRunner().invoke(lilims, command)
    assert shown.exit_code == 0, shown.output
    assert re.search(rf"budget {re.escape(GOAL)}: held on \d+ held-out tokens", shown.stdout)
    assert re.search(r"→ +\d\.\d\d +[+-]\d+\.\d\d% ± \d+\.\d\d% +0\.0\d+ +\d+ × \w+", shown.stdout)
    data = json.loads(CliRunner().invoke(lilims, [*command, "--force", "--json"]).stdout)
    assert data["budget"]["goal"] == GOAL and data["budget"]["divergence"] <= 0.03
    assert [point["bits_per_weight"] for point in data["budget"]["front"]] == sorted(
        point["bits_per_weight"] for point in data["budget"]["front"]
    )


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"quantize": "int4"}, "--budget chooses the schemes"),
        ({"group_size": 64}, "--budget chooses the schemes"),
        ({"budget": "ppl<=3"}, "is no budget"),
        ({"max_bpw": -1}, "a number above 0"),
        ({"calibration_tokens": 130}, "too few to hold one out"),
        ({"budget": None, "max_bpw": 5}, "--max-bpw belongs to a budget"),
        ({"budget": None, "heldout": "builtin"}, "--heldout belongs to a budget"),
    ],
)
def test_what_does_not_go_together(options: dict[str, Any], match: str, story: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=match):
        search(tmp_path / "m", story, **options)
    assert not (tmp_path / "m").exists()


def test_values_that_are_not_finite_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, story: Path) -> None:
    from lilims.conversion.calibration.opened import Opened

    run = Opened.run

    def broken(self: Opened, hidden: Any, matrices: Any) -> Any:
        return run(self, hidden * np.nan if self.name == "layer 1" else hidden, matrices)

    monkeypatch.setattr(Opened, "run", broken)
    with pytest.raises(LilimsError, match="layer 1 gives values that are not finite"):
        search(tmp_path / "m", story, calibration_tokens=600)
