"""`lilims export --to swift`: the folder, whole or not at all."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from lilims.core.cli import run
from lilims.core.errors import (
    IntegrityError,
    LilimsError,
    OutputExistsError,
    TokenizerError,
    UnsupportedError,
    UsageError,
)
from lilims.core.integrity import verify_files
from lilims.core.manifest import read_manifest, write_manifest
from lilims.ui.commands.export_swift import command
from lilims.ui.swift import STARTER as RECORD
from lilims.ui.swift import SwiftApp, export_swift

from .helpers import STARTER, read_settings

NAME = "stories-int4@1.0.0.lilims"


@pytest.fixture
def model(home: Path, tmp_path: Path) -> Path:
    """A copy of the built-in model that a test may damage."""
    return Path(shutil.copytree(home / "models/stories-int4", tmp_path / "model"))


def _hashes(folder: Path) -> dict[str, str]:
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
            for p in sorted(folder.rglob("*")) if p.is_file()}  # fmt: skip


def test_the_folder_holds_the_sources_and_the_model(model: Path, tmp_path: Path) -> None:
    made = export_swift(model, tmp_path / "app", app=SwiftApp("Tales", "org.example.tales"))
    assert made.bundled and made.model == tmp_path / "app/Models" / NAME
    found, sources = _hashes(tmp_path / "app"), _hashes(STARTER)
    changed = {"gitignore", "Config/App.xcconfig"}
    assert {name: found[name] for name in sources.keys() - changed if ".build" not in name} == {
        name: value for name, value in sources.items() if name not in changed and ".build" not in name
    }
    assert found[".gitignore"] == sources["gitignore"]
    settings = read_settings(tmp_path / "app/Config/Application.xcconfig")
    assert (settings["LILIMS_APP_NAME"], settings["PRODUCT_BUNDLE_IDENTIFIER"]) == ("Tales", "org.example.tales")


def test_the_models_folder_is_whole_by_its_own_manifest(model: Path, tmp_path: Path) -> None:
    made = export_swift(model, tmp_path / "app")
    manifest = read_manifest(made.model)
    verify_files(made.model, manifest, verify="full")
    assert set(_hashes(made.model)) == {*manifest.files, "manifest.json"}
    assert RECORD in manifest.files and "tokenizer.json" not in manifest.files
    assert manifest.functions == read_manifest(model).functions


def test_the_record_says_how_the_model_ends_and_samples(model: Path, tmp_path: Path) -> None:
    record = json.loads((export_swift(model, tmp_path / "app").model / RECORD).read_text("utf-8"))
    assert record["chat"] is None and record["stop_tokens"] == [0] and record["begin"] == 0
    assert record["sampling"] == {"temperature": 0.8, "top_k": 40}
    assert len(record["probes"]) >= 5


def test_the_same_model_gives_the_same_bytes(model: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        export_swift(model, tmp_path / name)
    assert _hashes(tmp_path / "one") == _hashes(tmp_path / "two")


def test_a_model_that_is_too_large_lies_beside_the_app(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lilims.ui.swift.writing.EMBEDDED", 1000)
    made = export_swift(model, tmp_path / "app")
    assert not made.bundled and made.model == tmp_path / "app/Import" / NAME
    assert [path.name for path in (tmp_path / "app/Models").iterdir()] == [".gitkeep"]
    assert export_swift(model, tmp_path / "always", bundle="always").bundled
    assert not export_swift(model, tmp_path / "never", bundle="never").bundled


def test_the_model_alone(model: Path, tmp_path: Path) -> None:
    made = export_swift(model, tmp_path / NAME, model_only=True)
    assert made.model == tmp_path / NAME and not (tmp_path / NAME / "Models").exists()
    verify_files(tmp_path / NAME, read_manifest(tmp_path / NAME), verify="full")


def test_a_dry_run_checks_and_writes_nothing(model: Path, tmp_path: Path) -> None:
    made = export_swift(model, tmp_path / "app", dry_run=True)
    assert made.bytes > 1_000_000 and not (tmp_path / "app").exists()
    weights = next(model.rglob("weight.bin"))
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    with pytest.raises(IntegrityError, match=r"weight\.bin: is not what the manifest records"):
        export_swift(model, tmp_path / "app", dry_run=True)


@pytest.mark.parametrize("place", [".", "app", ".."])
def test_the_model_is_never_replaced_by_its_own_app(model: Path, tmp_path: Path, place: str) -> None:
    before = _hashes(model)
    with pytest.raises(UsageError, match="the model"):
        export_swift(model, model / place, replace=True)
    assert _hashes(model) == before


def test_what_is_there_stays_unless_it_is_said(model: Path, tmp_path: Path) -> None:
    target = tmp_path / "app"
    target.mkdir()
    (target / "mine.txt").write_text("mine")
    with pytest.raises(OutputExistsError, match="exists already") as caught:
        export_swift(model, target)
    assert "--yes" in str(caught.value.hint) and [p.name for p in target.iterdir()] == ["mine.txt"]
    with pytest.raises(OutputExistsError, match="no export, so --yes does not replace it"):
        export_swift(model, target, replace=True)
    assert [p.name for p in target.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("model_only", [False, True])
def test_an_earlier_export_is_replaced_when_it_is_said(model: Path, tmp_path: Path, model_only: bool) -> None:
    target = tmp_path / "app"
    export_swift(model, target, model_only=model_only)
    (target / "mine.txt").write_text("mine")
    export_swift(model, target, replace=True)
    assert not (target / "mine.txt").exists() and (target / "App").is_dir()


def test_a_file_is_never_replaced(model: Path, tmp_path: Path) -> None:
    target = tmp_path / "app"
    target.write_text("mine")
    with pytest.raises(OutputExistsError, match="is no export"):
        export_swift(model, target, replace=True)
    assert target.read_text() == "mine"


def test_a_damaged_model_leaves_nothing(model: Path, tmp_path: Path) -> None:
    weights = next(model.rglob("weight.bin"))
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    weights.write_bytes(content)
    with pytest.raises(IntegrityError, match="not what the manifest records"):
        export_swift(model, tmp_path / "app")
    weights.unlink()
    with pytest.raises(IntegrityError, match="is missing"):
        export_swift(model, tmp_path / "app")
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "config.toml") == ["model"]


def test_functions_in_packages_of_their_own_are_refused(model: Path, tmp_path: Path) -> None:
    manifest = read_manifest(model)
    (whole,) = manifest.packages()
    parts = [whole.model_copy(update={"functions": [name], "package": f"model_{i}.mlpackage"})
             for i, name in enumerate(whole.functions)]  # fmt: skip
    write_manifest(model, manifest.model_copy(update={"parts": parts, "package": parts[0].package}))
    with pytest.raises(UnsupportedError, match="packages of their own") as caught:
        export_swift(model, tmp_path / "app")
    assert "--split-functions" in str(caught.value.hint)


def test_a_model_without_a_tokenizer_is_refused(model: Path, tmp_path: Path) -> None:
    (model / "tokenizer.json").write_text("{}")
    with pytest.raises(IntegrityError, match=r"tokenizer\.json: is not what the manifest records"):
        export_swift(model, tmp_path / "app")
    (model / "tokenizer.json").unlink()
    manifest = read_manifest(model)
    files = {name: file for name, file in manifest.files.items() if name != "tokenizer.json"}
    write_manifest(model, manifest.model_copy(update={"files": files}))
    with pytest.raises(TokenizerError, match="the model has no tokenizer"):
        export_swift(model, tmp_path / "app")


@pytest.mark.parametrize(
    ("name", "bundle_id"),
    [("", "a.b"), ("A\nB", "a.b"), ("$(HOME)", "a.b"), ("a // b", "a.b"), ("x" * 31, "a.b"), ("A", "nodot"),
     ("A", "a..b"), ("A", "a.b\n#include"), ("A", "ä.b")],
)  # fmt: skip
def test_names_that_a_settings_file_would_read_otherwise_are_refused(name: str, bundle_id: str) -> None:
    with pytest.raises(UsageError):
        SwiftApp(name, bundle_id)


def test_the_command(model: Path, tmp_path: Path) -> None:
    result = CliRunner().invoke(command, [str(model), "-o", str(tmp_path / "app"), "--json"])
    assert result.exit_code == 0, result.output
    value = json.loads(result.stdout)
    assert value["target"] == "swift" and value["bundled"] and not value["chat"]
    assert Path(value["model"]).is_dir()


def test_a_package_without_its_folder_is_refused(model: Path, tmp_path: Path) -> None:
    with pytest.raises(LilimsError, match="a model folder is wanted"):
        command.main([str(model / "model.mlpackage"), "-o", str(tmp_path / "app")], standalone_mode=False)


def test_export_finds_the_target(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["export", "--help"]) == 0
    assert "swift" in capsys.readouterr().out


def test_the_package_says_what_it_has() -> None:
    import lilims.ui.swift as package

    assert dir(package) == sorted(package.__all__)
    assert all(getattr(package, name) is not None for name in package.__all__)
