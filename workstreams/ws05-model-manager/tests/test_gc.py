"""Room is made in the right order: leftovers, caches, then what was used longest ago; never what is kept or in use."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lilims.core import usage
from lilims.core.paths import models_dir
from lilims.core.settings import settings
from lilims.models import gc, space, store

from .conftest import write_model

Run = Callable[..., int]
Out = pytest.CaptureFixture[str]
SIZE = 100_000
GB = 100_000  # what a gigabyte is in these tests


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(space, "GB", GB)


def model(name: str, used: float | None, size: int = SIZE) -> store.Installed:
    """A model of about `size` bytes that was used `used` days ago."""
    folder = models_dir() / f"{name}@1.0.0"
    write_model(folder, name=name, files={"weights": os.urandom(size)})
    if used is not None:
        usage.touch(folder)
        when = time.time() - used * 86400
        os.utime(folder.parents[1] / "state" / "used" / folder.name, (when, when))
    return store.find(name)


def download(home: Path, name: str, days: float) -> Path:
    path = home / "downloads" / f"{name}.part"
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_bytes(bytes(10_000))
    os.utime(path, (time.time() - days * 86400,) * 2)
    return path


def names(victims: list[gc.Victim]) -> list[str]:
    return [victim.name.partition("@")[0] for victim in victims]


def test_the_least_recently_used_goes_first(home: Path) -> None:
    for name, days in (("new", 1), ("old", 9), ("middle", 5)):
        model(name, days)
    total = space.used()
    assert gc.plan(None) == [] and gc.plan(total) == []
    assert names(gc.plan(total - 1)) == ["old"]
    assert names(gc.plan(total - SIZE - 5000)) == ["old", "middle"]
    assert names(gc.plan(0)) == ["old", "middle", "new"]
    usage.hold(store.find("old").folder)()  # it is used now
    assert names(gc.plan(total - 1)) == ["middle"]


def test_what_is_kept(home: Path) -> None:
    pinned, used, other = model("pinned", 9), model("used", 8), model("other", 1)
    write_model(home / "models" / "stories-int4", name="stories-int4")
    store.pin(pinned, keep=True)
    release = usage.hold(used.folder)
    assert names(gc.plan(0)) == ["other"]
    release()
    assert names(gc.plan(0)) == ["other", "used"]  # used a moment ago
    store.pin(pinned, keep=False)
    assert set(names(gc.plan(0))) == {"pinned", "other", "used"}
    assert other.folder.is_dir()


def test_a_model_that_is_used_after_the_plan_stays(home: Path) -> None:
    first, second = model("first", 9), model("second", 5)
    victims = gc.plan(0)
    release = usage.hold(first.folder)
    assert names(gc.collect(victims)) == ["second"]
    assert first.folder.is_dir() and not second.folder.exists()
    release()


def test_shared_files_free_nothing(home: Path) -> None:
    first, second = model("first", 9), model("second", 5)
    (second.folder / "weights").unlink()
    os.link(first.folder / "weights", second.folder / "weights")
    assert space.used() < 2 * SIZE
    victims = gc.plan(space.used() - SIZE // 2)
    assert names(victims)[0] == "first" and victims[0].bytes < 5000  # so another has to go, too
    assert names(victims) == ["first", "second"]


def test_downloads(home: Path) -> None:
    stale, young = download(home, "a" * 64, 20), download(home, "b" * 64, 2)
    assert names(gc.plan(None)) == ["a" * 64]
    assert names(gc.plan(0)) == ["a" * 64, "b" * 64]
    assert names(gc.plan(0, downloads=False)) == ["a" * 64]
    from lilims.core.locks import attempt

    lock = attempt(stale.with_suffix(".lock"))  # a process goes on with it
    assert gc.collect(gc.plan(None)) == []
    assert lock is not None
    lock.release()
    assert len(gc.collect(gc.plan(None))) == 1
    assert list(stale.parent.iterdir()) == [young]


def test_caches_go_before_models(home: Path) -> None:
    from lilims.runtime.portable.cache import settings_store

    model("tiny", 9)
    kept = settings_store()
    (kept.folder / ("0" * 64)).mkdir(parents=True)
    (kept.folder / ("0" * 64) / "graph").write_bytes(bytes(50_000))
    victims = gc.plan(space.used() - 1)
    assert [victim.kind for victim in victims] == ["cache"]
    gc.collect(victims)
    assert kept.entries() == [] and store.find("tiny").folder.is_dir()


def test_what_evaluations_and_calibrations_keep_goes_before_models(home: Path) -> None:
    from lilims.conversion.evaluation.cache import Shelf
    from lilims.conversion.shelves import shelf_folder

    model("tiny", 9)
    old, new = Shelf(shelf_folder("evaluation", "a" * 64), 8).folder, shelf_folder("calibration", "b" * 64)
    for folder, hours in ((old, 5), (new, 2)):
        folder.mkdir(parents=True)
        (folder / "0.rows").write_bytes(bytes(30_000))
        os.utime(folder, (time.time() - hours * 3600,) * 2)
    texts = home / "cache" / "calibration" / "texts"
    texts.mkdir()
    found = gc.plan(space.used() - 40_000)
    assert [victim.name for victim in found] == ["logits of a reference aaaaaaaa", "a calibration bbbbbbbb"]
    os.utime(new)  # it is being written
    assert [victim.name for victim in gc.plan(space.used() - 40_000)] == [found[0].name, "tiny@1.0.0"]
    assert len(gc.collect(gc.plan(0))) == 2
    assert not old.exists() and new.is_dir() and texts.is_dir() and not store.all_models()


def test_the_command(home: Path, lilims: Run, capsys: Out) -> None:
    for name, days in (("old", 9), ("new", 1)):
        model(name, days)
    assert lilims("gc") == 0
    assert capsys.readouterr().out == "nothing to remove: there is no quota\n"
    assert lilims("gc", "--keep", "1.5", "--dry-run", "--json") == 0
    value = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in value["victims"]] == ["old@1.0.0"] and value["freed"] == 0
    assert lilims("gc", "--keep", "1.5") == 2  # nobody to ask
    assert len(store.all_models()) == 2
    capsys.readouterr()
    assert lilims("gc", "--keep", "1.5", "--yes") == 0
    assert capsys.readouterr().out.startswith("removed model old@1.0.0")
    store.pin(store.find("new"), keep=True)
    assert lilims("gc", "--keep", "0", "--yes") == 0
    assert "stay, more than 0 bytes: pinned, built in, or in use" in capsys.readouterr().err
    assert [one.name for one in store.all_models()] == ["new"]


@pytest.mark.parametrize("enough", [True, False])
def test_a_pull_makes_room_or_removes_nothing(
    enough: bool, home: Path, tmp_path: Path, lilims: Run, capsys: Out, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LILIMS_QUOTA_GB", "3")
    monkeypatch.setenv("LILIMS_MAX_MODEL_GB", "0")
    settings.cache_clear()
    model("old", 9, 80_000)
    model("new", 1, 80_000)
    write_model(tmp_path / "src", name="more", files={"weights": os.urandom(200_000 if enough else 400_000)})
    assert lilims("pull", tmp_path / "src") == (0 if enough else 1)
    there = [one.name for one in store.all_models()]
    error = capsys.readouterr().err
    if enough:
        assert there == ["more", "new"] and "removed model old@1.0.0" in error
    else:
        assert there == ["new", "old"] and "of the quota of 300.0 kB are taken" in error
