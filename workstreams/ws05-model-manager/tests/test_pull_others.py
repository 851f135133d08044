"""`lilims pull` of what is no ready model: packages of other tools, models of the old format, checkpoints."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lilims.core.testing import test_data
from lilims.models import store

Run = Callable[..., int]
Out = pytest.CaptureFixture[str]


def test_a_package_on_this_machine(lilims: Run, capsys: Out) -> None:
    package = test_data("coreml/silero-vad/silero-vad-encoder-v6.0.0.mlpackage")
    assert lilims("pull", package, "--as", "encoder", "--dry-run", "--json") == 0
    value = json.loads(capsys.readouterr().out)
    assert (value["action"], value["model"], value["folder"]) == ("import", "encoder@6.0.0", None)
    assert value["missing"] == value["bytes"] == sum(one["bytes"] for one in value["files"]) > 0
    assert not store.all_models()
    assert lilims("pull", package, "--as", "encoder", "-q") == 0
    assert store.find("encoder@6").manifest is not None
    assert lilims("pull", package, "--as", "encoder", "--dry-run") == 1  # as without --dry-run
    for option in ("--sha256", "--key"):  # neither is silently left out
        assert lilims("pull", package, "--as", "other", option, "0" * 64) == 2


@pytest.mark.parametrize("command", ["pull", "import"])
def test_a_model_of_the_old_format(command: str, tmp_path: Path, lilims: Run, capsys: Out) -> None:
    (tmp_path / "old.mlmodel").write_bytes(b"\x08\x04\xa2\x1f\x00")  # version 4, an empty neuralNetwork (field 500)
    assert lilims(command, tmp_path / "old.mlmodel") == 1
    assert "old.mlmodel: this is a model of the old neuralNetwork format" in capsys.readouterr().err


def test_a_checkpoint_is_converted(
    tmp_path: Path, conversions: list[dict[str, Any]], lilims: Run, capsys: Out, monkeypatch: pytest.MonkeyPatch
) -> None:
    from types import SimpleNamespace

    from lilims.conversion import estimate

    planned: list[Any] = []

    def dry_run(source: Path, *, quantize: str | None) -> SimpleNamespace:
        planned.append((source, quantize))
        return SimpleNamespace(package=1000, quantization="int4", bits_per_weight=4.5)

    monkeypatch.setattr(estimate, "dry_run", dry_run)
    source = tmp_path / "My Model"
    source.mkdir()
    (source / "config.json").write_text("{}")
    assert lilims("pull", source, "--quantize", "int4", "--dry-run", "--json") == 0
    value = json.loads(capsys.readouterr().out)
    assert (value["action"], value["model"], value["bytes"]) == ("convert", "My-Model@1.0.0", 1000)
    assert value["missing"] is None  # `bytes` is what the conversion will make, not what is fetched for it
    assert planned == [(source, "int4")] and conversions == []
    assert lilims("pull", source, "--quantize", "int4", "--as", "mine") == 0
    assert [(one["source"], one["quantize"], one["name"]) for one in conversions] == [(source, "int4", "mine")]
    assert store.find("mine").folder.name == "mine@1.0.0"
