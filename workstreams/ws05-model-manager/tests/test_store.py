"""What is installed, seen while it is written, removed, used and killed in the middle."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from lilims.core import usage
from lilims.core.errors import IntegrityError, ModelNotFoundError, OutputExistsError, StorageError, UsageError
from lilims.models import store
from lilims.models.condition import problem
from lilims.models.errors import ModelInUseError

from .conftest import write_model


def fill(folder: Path, **fields: object) -> None:
    """A model into a folder that is there."""
    write_model(folder / "x", **fields)  # type: ignore[arg-type]
    for path in list((folder / "x").iterdir()):
        path.rename(folder / path.name)
    (folder / "x").rmdir()


def install(version: str, name: str = "tiny") -> store.Installed:
    with store.install(name, version) as folder:
        fill(folder, version=version)
    return store.find(f"{name}@{version}")


def test_versions_lie_side_by_side(home: Path) -> None:
    for version in ("1.0.0", "1.2.0", "2.0.0-rc.1"):
        install(version)
    assert [one.reference for one in store.all_models()] == ["tiny@1.0.0", "tiny@1.2.0", "tiny@2.0.0-rc.1"]
    assert store.find("tiny").version == "1.2.0"
    assert store.find("tiny@~1.0").folder == home / "models" / "tiny@1.0.0"


def test_a_folder_that_convert_has_written_is_a_version_too(home: Path) -> None:
    write_model(home / "models" / "tiny", version="1.1.0")
    install("1.0.0")
    assert [one.folder.name for one in store.all_models()] == ["tiny@1.0.0", "tiny"]
    with pytest.raises(OutputExistsError, match="tiny 1.1.0 is installed already"), store.install("tiny", "1.1.0"):
        pytest.fail("nothing is to be written")


def test_a_failure_leaves_nothing(home: Path) -> None:
    def interrupted() -> None:
        with store.install("tiny", "1.0.0") as folder:
            fill(folder)
            raise KeyboardInterrupt

    def damaged() -> None:
        with store.install("tiny", "1.0.0") as folder:
            fill(folder)
            (folder / "model.mlpackage" / "Manifest.json").write_text("{}")

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    with pytest.raises(IntegrityError, match="2 bytes, "):
        damaged()
    assert list((home / "models").iterdir()) == []
    assert store.all_models() == []


KILLED = """
import os, signal, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from lilims.models import store
with store.install("tiny", "1.0.0", force=True) as folder:
    (folder / "manifest.json").write_text("{")
    print(folder, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_a_killed_writer_leaves_the_old_version_and_what_the_next_one_clears(home: Path) -> None:
    install("1.0.0")
    done = subprocess.run([sys.executable, "-c", KILLED, ""], capture_output=True, text=True)
    left = Path(done.stdout.strip())
    assert done.returncode < 0 and left.is_dir() and left.name.startswith(".")
    assert [one.reference for one in store.all_models()] == ["tiny@1.0.0"]
    assert problem(store.find("tiny")) is None
    install("2.0.0")  # of another version: it still tidies up
    assert not left.exists()


def test_what_is_being_written_is_not_cleared(home: Path) -> None:
    with store.install("tiny", "1.0.0") as folder:
        fill(folder)
        store.tidy()
        assert folder.is_dir()


def test_half_removed_models_are_cleared(home: Path) -> None:
    install("1.0.0").folder.rename(home / "models" / ".removed-0123")
    assert store.all_models() == []
    store.tidy()
    assert list((home / "models").iterdir()) == []


def test_removing(home: Path) -> None:
    model = install("1.0.0")
    store.pin(model, keep=True)
    release = usage.hold(model.folder)
    with pytest.raises(ModelInUseError, match="tiny@1.0.0: is in use"):
        store.remove(model)
    release()
    store.remove(model)
    assert list((home / "models").iterdir()) == []
    assert [path for path in (home / "state").rglob("*") if path.is_file()] == []
    assert not install("1.0.0").pinned  # a pin goes with its model


def test_a_name_of_several_versions_removes_none(home: Path) -> None:
    for version in ("1.0.0", "1.1.0", "2.0.0"):
        install(version)
    with pytest.raises(UsageError, match="several versions") as caught:
        store.matching("tiny")
    assert caught.value.hint == "name one, or tiny@*: tiny@1.0.0, tiny@1.1.0, tiny@2.0.0"
    assert [one.version for one in store.matching("tiny@1")] == ["1.0.0", "1.1.0"]
    assert len(store.matching("tiny@*")) == 3
    with pytest.raises(ModelNotFoundError):
        store.matching("tiny@3")
    with pytest.raises(ModelNotFoundError):
        store.matching("../tiny")


def test_a_damaged_model_can_be_removed(home: Path) -> None:
    write_model(home / "models" / "tiny")
    (home / "models" / "tiny" / "manifest.json").write_text("{")
    (model,) = store.matching("tiny")
    assert model.version == "0.0.0-unknown" and "not valid JSON" in (problem(model) or "")
    store.remove(model)
    assert store.all_models() == []


def test_bytes_of_shared_files_count_once(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_bytes(b"12345")
    os.link(tmp_path / "a" / "x", tmp_path / "a" / "y")
    (tmp_path / "a" / "link").symlink_to("/etc/passwd")
    assert store.disk_bytes([tmp_path / "a"]) == 5 + len("/etc/passwd")


PROBLEMS = {
    "sound": ({}, None),
    "later": ({"compatible_runtime": ">=99"}, "asks for lilims >=99, this is"),
    "no-range": ({"compatible_runtime": "new"}, "'new' is not a range"),
}


@pytest.mark.parametrize("case", PROBLEMS)
def test_what_cannot_run_and_why(case: str, home: Path) -> None:
    fields, words = PROBLEMS[case]
    write_model(home / "models" / "tiny", **fields)  # type: ignore[arg-type]
    found = problem(store.find("tiny"))
    assert (found is None) if words is None else words in (found or "")


def test_a_missing_file_shows(home: Path) -> None:
    write_model(home / "models" / "tiny")
    (home / "models" / "tiny" / "model.mlpackage" / "Manifest.json").unlink()
    assert "the file is missing" in (problem(store.find("tiny")) or "")


def test_a_home_that_cannot_be_written(home: Path) -> None:
    home.write_text("")
    with pytest.raises(StorageError), store.install("tiny", "1.0.0"):
        pytest.fail("there is nowhere to write")
