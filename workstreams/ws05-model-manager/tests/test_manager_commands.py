"""`lilims ls, show, rm, verify, pin, import`: what they print, ask and refuse."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lilims.core import usage
from lilims.core.manifest import Quality, identity, read_manifest, write_manifest
from lilims.core.testing import test_data

from .conftest import write_model

Run = Callable[..., int]
Out = pytest.CaptureFixture[str]


@pytest.fixture
def models(home: Path) -> Path:
    """tiny 1.0.0 and 1.2.0, and a model for another lilims."""
    root = home / "models"
    write_model(root / "tiny@1.0.0", version="1.0.0")
    write_model(root / "tiny@1.2.0", version="1.2.0", files={"tokenizer.json": b"{}" * 500})
    write_model(root / "later", name="later", compatible_runtime=">=99", scheme="fp16")
    return root


def as_json(out: Out) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(out.readouterr().out)
    return value


def test_ls(models: Path, lilims: Run, capsys: Out) -> None:
    assert lilims("ls") == 0
    text = capsys.readouterr().out
    rows = [line.split() for line in text.splitlines() if line.startswith((" tiny", " later"))]
    assert [row[:3] for row in rows] == [
        ["later", "1.0.0", "fp16"],
        ["tiny", "1.0.0", "int4"],
        ["tiny", "1.2.0", "int4"],
    ]
    assert "cannot run" in text and "later@1.0.0: asks for lilims >=99, this is" in text
    assert "3 installed" in text


def test_ls_json_sorted_and_chosen(models: Path, lilims: Run, capsys: Out) -> None:
    usage.touch(models / "tiny@1.0.0")
    assert lilims("ls", "t*", "--sort", "size", "--json") == 0
    value = as_json(capsys)
    assert (value["kind"], value["schema_version"], value["quota"]) == ("models", 1, None)
    assert [one["version"] for one in value["models"]] == ["1.2.0", "1.0.0"]
    assert value["models"][0]["bytes"] - value["models"][1]["bytes"] > 1000
    assert lilims("ls", "tiny", "--sort", "used", "--json") == 0
    assert [one["last_used"] is None for one in as_json(capsys)["models"]] == [False, True]


def test_ls_of_nothing(lilims: Run, capsys: Out) -> None:
    assert lilims("ls") == 0
    found = capsys.readouterr()
    assert found.out == "" and "no model is installed" in found.err


def test_names_cannot_steer_a_terminal(home: Path, lilims: Run, capsys: Out) -> None:
    write_model(home / "models" / "tiny", licence="MIT\x1b[31m[bold]")
    assert lilims("show", "tiny") == 0
    text = capsys.readouterr().out
    assert "MIT\\x1b[31m[bold]" in text and "\x1b" not in text


def test_show_with_quality(models: Path, lilims: Run, capsys: Out) -> None:
    folder = models / "tiny@1.2.0"
    manifest = read_manifest(folder)
    record = Quality(
        text="held-out stories", text_sha256="0" * 64, ids="0" * 64, model=identity(manifest), windowing="all",
        context=64, windows=3, tokens=100, perplexity=4.5678, nll=1.5, nll_error=0.1, tools={},
    )  # fmt: skip
    write_manifest(folder, manifest.model_copy(update={"quality": [record]}))
    assert lilims("show", "tiny@1") == 0
    text = capsys.readouterr().out
    for words in ("tiny 1.2.0", "llama, 1.00 M parameters", "4.60 bits per weight", "held-out stories", "4.5678",
                  identity(manifest), "tokenizer.json", "never"):  # fmt: skip
        assert words in text
    assert lilims("show", "-m", "tiny@1.0.0", "--json") == 0
    value = as_json(capsys)
    assert value["version"] == "1.0.0" and value["installed"] and value["manifest"]["context"] == 64


def test_show_a_folder_that_is_not_installed(tmp_path: Path, lilims: Run, capsys: Out) -> None:
    write_model(tmp_path / "mine", name="other", version="3.0.0")
    assert lilims("show", tmp_path / "mine", "--json") == 0
    value = as_json(capsys)
    assert (value["name"], value["version"], value["installed"]) == ("other", "3.0.0", False)


def test_rm(models: Path, lilims: Run, capsys: Out) -> None:
    assert lilims("rm", "tiny") == 2
    assert "name one, or tiny@*" in capsys.readouterr().err
    assert lilims("rm", "tiny@1.0.0", "later") == 2  # nobody to ask
    assert "add --yes" in capsys.readouterr().err
    assert lilims("rm", "tiny@*", "--dry-run", "--json") == 0
    assert as_json(capsys)["would_remove"] == ["tiny@1.0.0", "tiny@1.2.0"]
    assert len(list(models.iterdir())) == 3
    assert lilims("rm", "tiny@1.0.0", "later", "--yes") == 0
    assert capsys.readouterr().out == "removed tiny@1.0.0\nremoved later@1.0.0\n"
    assert [path.name for path in models.iterdir()] == ["tiny@1.2.0"]
    assert lilims("rm", "absent", "--yes") == 1
    assert "no model 'absent'" in capsys.readouterr().err
    assert lilims("rm") == 2


def test_rm_of_a_used_model(models: Path, lilims: Run, capsys: Out) -> None:
    release = usage.hold(models / "later")
    assert lilims("rm", "later", "--yes") == 1
    assert capsys.readouterr().err == "error: later@1.0.0: is in use\nhint:  end what runs it, then try again\n"
    release()


def test_verify(models: Path, lilims: Run, capsys: Out) -> None:
    assert lilims("verify") == 0
    assert capsys.readouterr().out == "ok  later@1.0.0\nok  tiny@1.0.0\nok  tiny@1.2.0\n"
    (models / "tiny@1.2.0" / "tokenizer.json").write_bytes(b"[]" * 500)
    (models / "tiny@1.2.0" / "more.txt").write_text("")
    assert lilims("verify", "tiny@1.2.0", "--sizes") == 0
    capsys.readouterr()
    assert lilims("verify", "tiny@*", "--json") == 1
    value = as_json(capsys)
    assert value["damaged"] == 1
    assert [bool(one["damage"]) for one in value["models"]] == [False, True]
    assert value["models"][1]["unrecorded"] == ["more.txt"]
    assert lilims("verify", models / "tiny@1.2.0") == 1
    assert "tokenizer.json: its bytes differ from the recorded SHA-256" in capsys.readouterr().out


def test_pin(models: Path, lilims: Run, capsys: Out) -> None:
    assert lilims("pin", "tiny") == 0
    assert capsys.readouterr().out == "pinned tiny@1.2.0\n"
    assert lilims("ls", "--json") == 0
    assert [one["pinned"] for one in as_json(capsys)["models"]] == [False, False, True]
    assert lilims("pin", "tiny", "--remove") == 0
    capsys.readouterr()
    assert lilims("ls", "--json") == 0
    assert not any(one["pinned"] for one in as_json(capsys)["models"])


# -- import ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def package() -> Path:
    return test_data("coreml/silero-vad/silero-vad-encoder-v6.0.0.mlpackage")


def test_import(package: Path, home: Path, lilims: Run, capsys: Out) -> None:
    assert lilims("import", package, "--as", "encoder", "--licence", "MIT") == 0
    assert capsys.readouterr().out.startswith("installed encoder@6.0.0, ")
    assert lilims("verify", "encoder") == 0
    assert lilims("show", "encoder", "--json") == 0
    value = json.loads(capsys.readouterr().out.split("\n", 1)[1])
    manifest = value["manifest"]
    assert (value["kind"], manifest["contract"], manifest["licence"]) == ("model", "lilims.package/1", "MIT")
    assert manifest["functions"]["main"]["inputs"] == {"stft_features": {"dtype": "fp32", "shape": [1, 129, None]}}
    assert value["problem"] is None
    assert lilims("import", package, "--as", "encoder") == 1
    assert "encoder 6.0.0 is installed already" in capsys.readouterr().err
    assert lilims("import", package, "--as", "encoder", "--version", "6.1.0", "-q") == 0
    assert lilims("import", package, "--as", "encoder", "--force", "-q") == 0
    assert [path.name for path in sorted((home / "models").iterdir())] == ["encoder@6.0.0", "encoder@6.1.0"]


def test_an_imported_package_is_no_language_model(package: Path, lilims: Run, capsys: Out) -> None:
    assert lilims("import", package, "--as", "encoder", "-q") == 0
    assert lilims("run", "encoder", "Once") == 1
    error = capsys.readouterr().err
    assert "contract 'lilims.package/1' is not 'lilims.decoder/1'" in error and "lilims predict" in error


REFUSED = {
    "absent": (["nowhere.mlpackage"], "is not a package"),
    "name": (["PACKAGE", "--as", "../x"], "cannot be a model's name"),
    "version": (["PACKAGE", "--version", "one"], "'one' is not a version"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_imported(case: str, package: Path, home: Path, lilims: Run, capsys: Out) -> None:
    arguments, words = REFUSED[case]
    assert lilims("import", *(package if word == "PACKAGE" else word for word in arguments)) == 2
    assert words in capsys.readouterr().err
    assert not (home / "models").exists() or not list((home / "models").iterdir())


def test_a_package_with_a_link(package: Path, tmp_path: Path, lilims: Run, capsys: Out) -> None:
    import shutil

    shutil.copytree(package, tmp_path / "x.mlpackage")
    (tmp_path / "x.mlpackage" / "more").symlink_to("/etc/passwd")
    assert lilims("import", tmp_path / "x.mlpackage") == 2
    assert "is neither a file nor a folder" in capsys.readouterr().err


def test_a_package_not_to_be_described(package: Path, home: Path, tmp_path: Path, lilims: Run, capsys: Out) -> None:
    import shutil

    from lilims.runtime.portable.spec import parse_model

    copy = tmp_path / "x.mlpackage"
    shutil.copytree(package, copy, copy_function=shutil.copyfile)
    file = copy / "Data" / "com.apple.CoreML" / "model.mlmodel"
    spec = parse_model(file.read_bytes(), where="test")
    spec.specificationVersion = 0
    file.chmod(0o644)
    file.write_bytes(spec.SerializeToString())
    assert lilims("import", copy) == 1
    error = capsys.readouterr().err
    assert "x.mlpackage: its specification_version cannot be recorded: " in error and "unexpected" not in error
    assert not list((home / "models").iterdir())


def test_a_package_over_the_limit(package: Path, lilims: Run, capsys: Out, monkeypatch: pytest.MonkeyPatch) -> None:
    from lilims.models import space

    monkeypatch.setattr(space, "GB", 100_000)
    assert lilims("import", package) == 1
    error = capsys.readouterr().err
    assert "the model has 232.1 kB, the limit of one is 100.0 kB" in error and "LILIMS_MAX_MODEL_GB=3" in error
