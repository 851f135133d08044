"""Names of models, and the built-in one that is converted when it is first asked for."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

import lilims.models as package
from lilims.core.errors import ModelNotFoundError
from lilims.models import names
from lilims.models.names import builtin, resolve

from .conftest import write_model

Conversions = list[dict[str, Any]]


def test_paths_and_installed_names(home: Path, tmp_path: Path, conversions: Conversions) -> None:
    write_model(tmp_path / "mine")
    write_model(home / "models" / "tiny")
    assert resolve(str(tmp_path / "mine")) == tmp_path / "mine"
    assert resolve("tiny") == home / "models" / "tiny"
    assert conversions == []


def test_what_is_not_found(home: Path, conversions: Conversions) -> None:
    write_model(home / "models" / "tiny")
    with pytest.raises(ModelNotFoundError, match="no model 'other'") as caught:
        resolve("other")
    assert caught.value.hint == "installed: tiny; built in: stories"


@pytest.mark.parametrize("name", [None, "stories"])
def test_the_built_in_model_is_converted_once(
    name: str | None, home: Path, checkpoint: Path, conversions: Conversions, capsys: pytest.CaptureFixture[str]
) -> None:
    target = home / "models" / "stories-int4"
    assert resolve(name) == target
    assert resolve(name) == target
    assert conversions == [
        {"source": checkpoint, "out": target, "quantize": "int4", "name": "stories-int4", "force": True}
    ]
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("converting the built-in model") == 1


@pytest.mark.parametrize("damage", ["manifest", "file", "version"])
def test_a_stale_or_damaged_one_is_made_again(damage: str, home: Path, conversions: Conversions) -> None:
    target = home / "models" / "stories-int4"
    if damage == "version":
        write_model(target, name="stories-int4", lilims="0.0.1")
    else:
        resolve()
        path = target / ("manifest.json" if damage == "manifest" else "model.mlpackage/Manifest.json")
        path.write_text("damaged")
    before = len(conversions)
    assert resolve() == target
    assert len(conversions) == before + 1
    resolve()
    assert len(conversions) == before + 1


def test_two_at_once_convert_once(home: Path, conversions: Conversions, monkeypatch: pytest.MonkeyPatch) -> None:
    from lilims.conversion import pipeline

    convert = pipeline.convert

    def slow(*arguments: Any, **options: Any) -> Any:
        threading.Event().wait(0.3)
        return convert(*arguments, **options)

    monkeypatch.setattr(pipeline, "convert", slow)
    threads = [threading.Thread(target=resolve) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(conversions) == 1


def test_a_failed_conversion_leaves_nothing_and_can_be_repeated(
    home: Path, conversions: Conversions, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lilims.conversion import pipeline

    convert = pipeline.convert

    def fails(*arguments: Any, **options: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(pipeline, "convert", fails)
    with pytest.raises(KeyboardInterrupt):
        resolve()
    monkeypatch.setattr(pipeline, "convert", convert)
    assert resolve().is_dir()


def test_the_resolver_knows_its_names_only(home: Path, conversions: Conversions) -> None:
    assert builtin("another") is None
    assert builtin("stories") == home / "models" / "stories-int4"


def test_a_model_in_the_current_folder_does_not_replace_the_default(
    home: Path, tmp_path: Path, conversions: Conversions, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_model(tmp_path / "stories")
    monkeypatch.chdir(tmp_path)
    assert resolve() == home / "models" / "stories-int4"
    assert resolve("stories") == Path("stories")


def test_an_installation_without_the_checkpoint(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(names, "__file__", str(tmp_path / "names.py"))
    with pytest.raises(ModelNotFoundError, match="not part of this installation"):
        names.builtin_checkpoint()


def test_the_text_that_models_are_measured_on() -> None:
    text = names.builtin_text().read_text("utf-8")
    assert text.count("<|endoftext|>") > 50 and len(text) > 50_000


def test_public_names() -> None:
    assert package.__all__ == sorted(package._HOMES)
    for name in package.__all__:
        assert getattr(package, name) is not None
    assert not hasattr(package, "absent")
