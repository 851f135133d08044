"""`load`: every check before a package runs, and who runs it."""

from __future__ import annotations

import gc
import json
import os
from pathlib import Path
from typing import Any

import pytest

from lilims.core import usage
from lilims.core.errors import (
    ContractError,
    IntegrityError,
    LilimsError,
    ManifestError,
    ModelNotFoundError,
    TokenizerError,
    UsageError,
)
from lilims.core.settings import settings
from lilims.runtime import contract, load, loading

from .fakes import FakeExecutor, interfaces_of, manifest_of, write_folder


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Stands in for packages and executors; notes how executors are opened."""
    seen: list[dict[str, Any]] = []

    def open_executor(package: Path, **options: Any) -> FakeExecutor:
        seen.append({"package": package, **options, "executor": FakeExecutor(warms_up=options["name"] == "coreml")})
        executor = seen[-1]["executor"]
        assert isinstance(executor, FakeExecutor)
        return executor

    monkeypatch.setattr(loading, "open_executor", open_executor)
    monkeypatch.setattr(contract, "read_interfaces", lambda package: interfaces_of(manifest_of()))
    return seen


def test_a_folder_its_package_and_its_name(opened: list[dict[str, Any]], home: Path, tmp_path: Path) -> None:
    folder = write_folder(home / "models" / "fake")
    for path in (folder, str(folder), folder / "model.mlpackage", "fake"):
        loaded = load(path)
        assert loaded.folder == folder
        assert opened[-1]["package"] == folder / "model.mlpackage"
    assert loaded.generate("Once", max_tokens=3, ignore_eos=True).text() != ""
    assert (loaded.context, loaded.vocab_size, loaded.executor) == (40, 258, "portable")


def test_a_loaded_model_is_in_use(opened: list[dict[str, Any]], home: Path) -> None:
    folder = write_folder(home / "models" / "fake")
    first, second = load("fake"), load("fake")
    assert usage.reserve(folder) is None and usage.last_used(folder) is not None
    del first
    gc.collect()
    assert usage.reserve(folder) is None
    assert second.vocab_size == 258
    del second
    gc.collect()
    (folder / "manifest.json").write_text("{")
    with pytest.raises(ManifestError):  # and one that failed to load is not
        load("fake")
    assert usage.reserve(folder) is not None


def test_defaults_and_options(opened: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_folder(tmp_path / "m")
    load(folder, executor="portable")
    assert opened[-1]["compute_units"] == "CPU_AND_GPU"
    assert (opened[-1]["precision"], opened[-1]["threads"]) == ("fast", None)
    monkeypatch.setenv("LILIMS_THREADS", "3")
    settings.cache_clear()
    load(folder, executor="portable", compute_units="CPU_ONLY", precision="exact")
    assert (opened[-1]["compute_units"], opened[-1]["precision"], opened[-1]["threads"]) == ("CPU_ONLY", "exact", 3)
    load(folder, threads=2)
    assert opened[-1]["threads"] == 2


def test_loading_runs_nothing(opened: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "choose", lambda wanted, precision: "coreml")
    load(write_folder(tmp_path / "m"))
    executor = opened[-1]["executor"]
    assert (executor.warms_up, executor.calls, executor.loaded) == (True, [], set())


def test_the_setting_chooses_the_executor(
    opened: list[dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LILIMS_EXECUTOR", "turbo")
    settings.cache_clear()
    with pytest.raises(UsageError, match="LILIMS_EXECUTOR must be"):
        load(write_folder(tmp_path / "m"))


FAILURES: dict[str, tuple[dict[str, Any], type[LilimsError], str]] = {
    "later-runtime": ({"compatible_runtime": ">=99"}, ManifestError, "asks for lilims >=99, this is"),
    "no-range": ({"compatible_runtime": "new"}, ManifestError, "is not a range of versions"),
    "contract": ({"tokens": {"eos": [999]}}, ContractError, "outside the vocabulary"),
    "tokenizer": ({"extra": 1}, TokenizerError, "has ids up to 258, the model's vocabulary is 258"),
}


@pytest.mark.parametrize("case", FAILURES)
def test_folders_that_are_refused(case: str, opened: list[dict[str, Any]], tmp_path: Path) -> None:
    changes, error, words = FAILURES[case]
    folder = write_folder(tmp_path / "m", **changes)
    with pytest.raises(error, match=words) as caught:
        load(folder)
    assert caught.value.hint or case == "no-range"


def test_files_that_changed(opened: list[dict[str, Any]], tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "m")
    file = folder / "model.mlpackage" / "Manifest.json"
    file.write_text("[]")  # as long as before
    load(folder, verify="sizes")
    with pytest.raises(IntegrityError, match="differ from the recorded SHA-256"):
        load(folder)
    file.write_text("longer")
    with pytest.raises(IntegrityError, match="has 6 bytes, 2 are recorded"):
        load(folder)


def test_a_damaged_tokenizer(opened: list[dict[str, Any]], tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "m")
    file = folder / "tokenizer.json"
    file.write_bytes(b"{" * file.stat().st_size)
    with pytest.raises(TokenizerError, match=r"tokenizer\.json: not a tokenizer"):
        load(folder, verify="sizes")


def test_a_model_without_tokenizer(opened: list[dict[str, Any]], tmp_path: Path) -> None:
    loaded = load(write_folder(tmp_path / "m", tokenizer=False))
    assert len(list(loaded.generate([1], max_tokens=2))) == 2


def test_what_is_not_a_model_folder(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError):
        load(tmp_path / "absent")
    (tmp_path / "lone.mlpackage").mkdir()
    with pytest.raises(ManifestError, match=r"no manifest\.json beside it"):
        load(tmp_path / "lone.mlpackage")


def test_the_identity_follows_the_bytes(opened: list[dict[str, Any]], tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "m")
    file = folder / "model.mlpackage" / "Manifest.json"

    def identity() -> str:
        load(folder)
        return str(opened[-1]["identity"]())

    first = identity()
    assert identity() == first
    os.utime(file, ns=(1, 1))
    touched = identity()
    assert touched != first
    extra = folder / "model.mlpackage" / "weight.bin"  # not recorded: read
    extra.write_bytes(b"a")
    os.utime(extra, ns=(1, 1))
    one = identity()
    extra.write_bytes(b"b")
    os.utime(extra, ns=(1, 1))
    assert len({first, touched, one, identity()}) == 4


def test_a_damaged_package_is_named(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "m")
    with pytest.raises(LilimsError, match=r"model\.mlpackage"):
        load(folder)
    assert json.loads((folder / "manifest.json").read_text())["name"] == "fake"


def test_a_shorter_context(opened: list[dict[str, Any]], home: Path) -> None:
    folder = write_folder(home / "models" / "fake")
    loaded = load(folder, context=10)
    assert loaded.context == 10
    assert len(list(loaded.generate([1] * 9, ignore_eos=True))) == 2
    for wrong in (0, 41):
        with pytest.raises(UsageError, match=f"1 to 40 tokens, not {wrong}") as caught:
            load(folder, context=wrong)
        assert "lilims retarget" in (caught.value.hint or "")


def test_core_ml_that_does_not_load_has_a_fallback(
    opened: list[dict[str, Any]], home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lilims.core.errors import ExecutionError

    folder = write_folder(home / "models" / "fake")
    monkeypatch.setattr(loading, "choose", lambda wanted, precision: "coreml" if wanted == "auto" else wanted)
    stand_in = loading.open_executor

    def open_executor(package: Path, **options: Any) -> Any:
        if options["name"] == "coreml":
            raise ExecutionError("Core ML does not compile this package")
        return stand_in(package, **options)

    monkeypatch.setattr(loading, "open_executor", open_executor)
    with pytest.warns(RuntimeWarning, match="does not compile"):
        loaded = load(folder)
    assert len(list(loaded.generate([1], max_tokens=3))) == 3
    with pytest.raises(ExecutionError, match="does not compile"):
        load(folder, executor="coreml")


def test_a_trace_needs_an_executor_that_takes_one(opened: list[dict[str, Any]], home: Path, tmp_path: Path) -> None:
    from lilims.core.errors import UnsupportedError

    loaded = load(write_folder(home / "models" / "fake"))
    with pytest.raises(UnsupportedError, match="takes no trace"), loaded.trace(tmp_path / "trace.json"):
        pass
