"""A registry: names to sources, each pinned; every mistake is told with its line."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from lilims.core.errors import InputError
from lilims.models import store
from lilims.models.registry import read_registry

from .conftest import write_model

Run = Callable[..., int]
Out = pytest.CaptureFixture[str]
COMMIT, HASH = "0123456789abcdef0123456789abcdef01234567", "a" * 64


def registry(home: Path, text: str) -> Path:
    home.mkdir(exist_ok=True)
    (home / "registry.yaml").write_text(text)
    return home / "registry.yaml"


@pytest.fixture
def models(home: Path, tmp_path: Path) -> Path:
    """A registry of three versions of `tiny`, whose folders have another name in their manifests."""
    text = "models:\n  tiny:\n"
    for version in ("1.0.0", "1.2.0", "2.0.0"):
        write_model(tmp_path / version, name="other", version=version)
        found = hashlib.sha256((tmp_path / version / "manifest.json").read_bytes()).hexdigest()
        text += f"    - version: {version}\n      source: ../{version}\n      sha256: {found}\n"
    return registry(home, text)


def test_a_name_is_pulled(models: Path, lilims: Run, capsys: Out) -> None:
    assert lilims("pull", "tiny@^1", "-q") == lilims("pull", "tiny", "-q") == 0
    assert [one.reference for one in store.all_models()] == ["tiny@1.2.0", "tiny@2.0.0"]
    capsys.readouterr()
    assert lilims("pull", "tiny@1.2.0", "--as", "mine") == 0
    assert capsys.readouterr().out.startswith("installed mine@1.2.0")


def test_what_the_registry_has_not(models: Path, lilims: Run, capsys: Out) -> None:
    for name, words in {
        "tiny@3": "it has 1.0.0, 1.2.0, 2.0.0",
        "more": "it has tiny",
        "tiny@newest": "is not a range",
    }.items():
        assert lilims("pull", name) > 0
        assert words in capsys.readouterr().err
    models.unlink()
    assert lilims("pull", "tiny") == 1
    assert "'tiny' is no path, and there is no registry" in capsys.readouterr().err


def test_what_is_not_what_is_pinned(models: Path, tmp_path: Path, lilims: Run, capsys: Out) -> None:
    write_model(tmp_path / "changed", name="other", version="2.0.0", licence="MIT")
    (tmp_path / "changed" / "manifest.json").replace(tmp_path / "2.0.0" / "manifest.json")
    assert lilims("pull", "tiny") == 1
    assert "is pinned" in capsys.readouterr().err
    models.write_text(models.read_text().replace("version: 1.2.0", "version: 1.3.0"))
    assert lilims("pull", "tiny@1.3") == 1
    assert "has the version 1.2.0, 1.3.0 is pinned" in capsys.readouterr().err
    assert lilims("pull", "tiny@1.0", "--sha256", "b" * 64) == 2
    assert store.all_models() == []


def test_another_place(models: Path, tmp_path: Path, lilims: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from lilims.core.settings import settings

    moved = models.rename(tmp_path / "home" / "mine.yaml")
    monkeypatch.setenv("LILIMS_REGISTRY", str(moved))
    settings.cache_clear()
    assert lilims("pull", "tiny@1.0", "-q") == 0


def test_all_kinds_of_sources(home: Path) -> None:
    file = registry(
        home,
        f"""models:
  a:
    - {{version: 1.0.0, source: "https://example.org/a/", sha256: {HASH}}}
    - {{version: 1.1.0-rc.1, source: "hf:org/a@{COMMIT}", key: {HASH}}}
  b: [{{version: 0.1.0, source: b.tar}}]
""",
    )
    found = read_registry(file)
    assert [(one.name, str(one.version), one.sha256, one.key) for one in found] == [
        ("a", "1.0.0", HASH, None), ("a", "1.1.0-rc.1", None, HASH), ("b", "0.1.0", None, None),
    ]  # fmt: skip
    assert found[2].source == str(home / "b.tar")


WRONG = {
    "no-models": ("tiny: []", 1, "is not a registry"),
    "more": ("models: {}\nother: 1", 1, "is not a registry"),
    "name": ("models:\n  ../x: []", 2, "cannot be a model's name"),
    "no-list": ("models:\n  x: 1.0.0", 2, "is not a list of versions"),
    "no-version": ("models:\n  x:\n    - source: y", 3, "lacks version"),
    "unknown": ("models:\n  x:\n    - version: 1.0.0\n      sauce: y", 4, "unknown key 'sauce'"),
    "version": ("models:\n  x:\n    - version: 1.0\n      source: y", 4, "'1.0' is not a version"),
    "number": ("models:\n  x:\n    - version: 1\n      source: y", 3, "version has not the right form"),
    "hash": (
        f"models:\n  x:\n    - version: 1.0.0\n      source: y\n      sha256: {HASH[1:]}",
        5,
        "has not the right form",
    ),
    "unpinned": ("models:\n  x:\n    - version: 1.0.0\n      source: https://example.org/x/", 3, "lacks sha256"),
    "branch": ("models:\n  x:\n    - version: 1.0.0\n      source: hf:org/x@main", 3, "is pinned by its commit"),
    "hub": ("models:\n  x:\n    - version: 1.0.0\n      source: hf:x", 4, "is not a model of the hub"),
    "twice": (
        "models:\n  x:\n    - {version: 1.0.0, source: y}\n    - {version: 1.0.0+a, source: y}",
        2,
        "stands twice",
    ),
    "anchor": ("models: &a\n  x: *a", 1, "anchors and aliases"),
}


@pytest.mark.parametrize("case", WRONG)
def test_mistakes(case: str, home: Path) -> None:
    text, line, words = WRONG[case]
    file = registry(home, text)
    with pytest.raises(InputError) as caught:
        read_registry(file)
    assert words in str(caught.value) and str(caught.value).startswith(f"{file}:{line}:")
