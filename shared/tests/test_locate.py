"""A model is a path, a name, or what a resolver makes of a name."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import pytest

from lilims.core.errors import ModelNotFoundError
from lilims.core.locate import installed, locate


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
