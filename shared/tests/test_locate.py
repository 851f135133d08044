"""A model is a path, a name, or what a resolver makes of a name."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import pytest

from lilims.core.errors import ModelNotFoundError, UnsupportedError, UsageError
from lilims.core.locate import folders, installed, is_installed, locate


def model(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "manifest.json").write_text("{}")
    return folder


def test_a_folder_a_package_and_a_name(home: Path, tmp_path: Path) -> None:
    folder = model(tmp_path / "mine")
    package = tmp_path / "model.mlpackage"
    package.mkdir()
    named = model(home / "models" / "tiny-int4")
    assert locate(str(folder)) == folder
    assert locate(str(package)) == package
    assert locate("tiny-int4") == named
    assert installed() == ["tiny-int4"]


def test_a_path_comes_before_a_name(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model(home / "models" / "tiny")
    model(tmp_path / "tiny")
    monkeypatch.chdir(tmp_path)
    assert locate("tiny") == Path("tiny")


def test_a_folder_that_is_no_model_does_not_hide_a_name(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = model(home / "models" / "tiny")
    (tmp_path / "tiny").mkdir()
    monkeypatch.chdir(tmp_path)
    assert locate("tiny") == named


def test_what_is_not_found(home: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="no model 'tiny'") as caught:
        locate("tiny")
    assert "no model is installed" in (caught.value.hint or "")
    model(home / "models" / "other")
    with pytest.raises(ModelNotFoundError) as caught:
        locate("tiny")
    assert caught.value.hint == "installed: other"
    with pytest.raises(ModelNotFoundError, match=r"has no manifest\.json"):
        locate(str(tmp_path))
    (tmp_path / "file").write_text("")
    with pytest.raises(ModelNotFoundError, match="is a file"):
        locate(str(tmp_path / "file"))
    (tmp_path / "old.mlmodel").write_text("")
    with pytest.raises(UnsupportedError, match=r"old\.mlmodel: a \.mlmodel file is of the old format"):
        locate(str(tmp_path / "old.mlmodel"))


@pytest.mark.parametrize("name", ["../other", "..", "a/../../b", "x" * 5000, "a\0b", ""])
def test_a_name_is_never_a_way_out(name: str, home: Path) -> None:
    model(home / "other")
    with pytest.raises(ModelNotFoundError):
        locate(name)


def test_resolvers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Entry:
        name = "fake"

        def load(self) -> object:
            return lambda name: tmp_path / name if name == "built-in" else None

    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [Entry()] if "resolvers" in group else [])
    assert locate("built-in") == tmp_path / "built-in"
    with pytest.raises(ModelNotFoundError):
        locate("another")


def versions(home: Path, *names: str, plain: str | None = None) -> Path:
    """Folders tiny@VERSION, and `tiny` of the version `plain`."""
    for name in names:
        model(home / "models" / f"tiny@{name}")
    if plain:
        (model(home / "models" / "tiny") / "manifest.json").write_text(f'{{"version": "{plain}"}}')
    return home / "models"


FOUND = {
    "tiny": "tiny@1.10.0",  # not by the alphabet, and no pre-release
    "tiny@": "tiny@1.10.0",
    "tiny@^1.2": "tiny@1.10.0",
    "tiny@1.2": "tiny@1.2.1",
    "tiny@1.3": "tiny",
    "tiny@2.0.0-rc.1": "tiny@2.0.0-rc.1",
}


@pytest.mark.parametrize("name", FOUND)
def test_versions_side_by_side(home: Path, name: str) -> None:
    root = versions(home, "1.2.1", "1.10.0", "2.0.0-rc.1", plain="1.3.0")
    assert locate(name) == root / FOUND[name]
    assert installed() == ["tiny"]
    assert [str(version) for _, version, _ in folders("tiny")] == ["1.2.1", "1.3.0", "1.10.0", "2.0.0-rc.1"]


def test_a_folder_of_the_same_version_without_one_in_its_name_is_the_users_own(home: Path) -> None:
    root = versions(home, "1.0.0", plain="1.0.0")
    assert locate("tiny") == locate("tiny@1") == root / "tiny"


def test_a_version_that_is_not_there(home: Path) -> None:
    versions(home, "1.0.0", "1.2.0")
    with pytest.raises(ModelNotFoundError, match="no version of 'tiny' is in \\^2") as caught:
        locate("tiny@^2")
    assert caught.value.hint == "installed: 1.0.0, 1.2.0"
    with pytest.raises(ModelNotFoundError, match="no model 'other@1'"):
        locate("other@1")
    with pytest.raises(UsageError, match="not a range"):
        locate("tiny@newest")


def test_whether_a_word_is_an_installed_name(home: Path) -> None:
    versions(home, "1.0.0")
    assert all(is_installed(text) for text in ("tiny", "tiny@1", "tiny@9"))
    assert not any(is_installed(text) for text in ("other", "tiny@home", "tiny@1 more", "Once upon", "./tiny", ""))


def test_folders_that_are_no_models(home: Path) -> None:
    versions(home, "1.0.0")
    for name in ("tiny@new", ".tiny@2.0.0.new-0123", "tiny@2.0.0@3.0.0"):
        model(home / "models" / name)
    (home / "models" / "tiny@3.0.0").mkdir()
    model(home / "models" / "broken")  # its manifest has no version: it is still found
    assert [path.name for _, _, path in folders()] == ["broken", "tiny@1.0.0"]
    assert locate("broken") == home / "models" / "broken"
