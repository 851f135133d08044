"""`lilims pull` from servers and from this machine: what is fetched, what is installed, what is refused."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lilims.core import settings as settings_module
from lilims.core.integrity import verify_files
from lilims.core.manifest import Quality, identity, write_manifest
from lilims.core.package_manifest import Manifest, read_any
from lilims.core.testing import test_data
from lilims.models import store
from lilims.models.archive.write import write_archive
from lilims.models.download import patience

from .conftest import write_model
from .server import Server, serving

Run = Callable[..., int]
Out = pytest.CaptureFixture[str]
WEIGHTS = "model.mlpackage/weights.bin"
FILES = {
    WEIGHTS: random.Random(1).randbytes(200_000),
    "tokenizer.json": b"{}" * 50,
    "é [x].txt": b"1",
    "copy.json": b"{}" * 50,
}


@pytest.fixture
def model(tmp_path: Path) -> Path:
    write_model(tmp_path / "src" / "tiny", version="1.2.0", files=FILES)
    return tmp_path / "src" / "tiny"


@pytest.fixture
def server(model: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(patience.Patience.pause, "__code__", (lambda self, failures, asked: 0.001).__code__)
    with serving() as found:
        found.folder(model)
        found.files = {quoted(path): data for path, data in found.files.items()}
        yield found


def quoted(path: str) -> str:
    from urllib.parse import quote

    return quote(path)


def check(name: str = "tiny") -> Path:
    """The one installed model, whole, and nothing else anywhere."""
    (found,) = store.all_models()
    assert (found.name, found.version) == (name, "1.2.0")
    verify_files(found.folder, read_any(found.folder), verify="full")
    assert store.unrecorded(found) == []
    home = found.folder.parents[1]
    assert [path.name for path in found.folder.parent.iterdir()] == [found.folder.name]
    downloads = home / "downloads"
    assert not downloads.exists() or list(downloads.iterdir()) == []
    return found.folder


def test_a_model_folder(server: Server, model: Path, lilims: Run, capsys: Out) -> None:
    assert lilims("pull", f"{server.url}/tiny") == 0
    folder = check()
    assert capsys.readouterr().out.startswith("installed tiny@1.2.0, ")
    for path in model.rglob("*"):
        if path.is_file():
            assert (folder / path.relative_to(model)).read_bytes() == path.read_bytes()
    asked = [one.path for one in server.asked]
    assert len(asked) == len(set(asked)) == 1 + 1 + 4  # manifest, signature, and four contents of five files


@pytest.mark.parametrize("suffix", ["/tiny/", "/tiny/manifest.json", "/tiny?token=5", "/tiny/manifest.json?token=5"])
def test_ways_to_write_the_address(suffix: str, server: Server, lilims: Run) -> None:
    assert lilims("pull", server.url + suffix, "--as", "other", "-q") == 0
    check("other")
    assert all(one.path.endswith("?token=5") == ("?" in suffix) for one in server.asked)


def test_it_is_installed_already(server: Server, lilims: Run, capsys: Out) -> None:
    assert lilims("pull", f"{server.url}/tiny") == lilims("pull", f"{server.url}/tiny") == 0
    assert "tiny@1.2.0 is installed already" in capsys.readouterr().out
    assert len(server.of("/tiny/tokenizer.json")) <= 1
    folder = check()
    (folder / "tokenizer.json").unlink()  # damaged: it is brought again, with what is there
    assert lilims("pull", f"{server.url}/tiny") == 0
    check()
    assert len(server.of(f"/tiny/{WEIGHTS}")) == 1


def test_figures_that_were_added_to_it_stay(server: Server, lilims: Run, capsys: Out) -> None:
    """`lilims eval` writes into the manifest: it is the same model still."""
    assert lilims("pull", f"{server.url}/tiny") == 0
    folder = check()
    manifest = read_any(folder)
    assert isinstance(manifest, Manifest)
    record = Quality(
        text="held-out", text_sha256="0" * 64, ids="0" * 64, model=identity(manifest), windowing="all", context=64,
        windows=3, tokens=100, perplexity=4.5, nll=1.5, nll_error=0.1, tools={},
    )  # fmt: skip
    write_manifest(folder, manifest.model_copy(update={"quality": [record]}))
    assert lilims("pull", f"{server.url}/tiny") == 0
    assert "installed already" in capsys.readouterr().out
    assert read_any(folder).quality == [record]  # type: ignore[union-attr]


def test_another_model_of_that_version(server: Server, home: Path, lilims: Run, capsys: Out) -> None:
    write_model(home / "models" / "tiny@1.2.0", version="1.2.0")
    assert lilims("pull", f"{server.url}/tiny") == 1
    assert "another tiny 1.2.0 is installed" in capsys.readouterr().err
    assert lilims("pull", f"{server.url}/tiny", "--force") == 0
    check()


def test_a_new_version_fetches_what_is_new(
    server: Server, model: Path, tmp_path: Path, lilims: Run, capsys: Out
) -> None:
    assert lilims("pull", f"{server.url}/tiny", "-q") == 0
    write_model(tmp_path / "next", version="1.3.0", files=FILES | {"tokenizer.json": b"[]"})
    server.folder(tmp_path / "next", "/next")
    capsys.readouterr()
    assert lilims("pull", f"{server.url}/next", "--dry-run", "--json") == 0
    assert json.loads(capsys.readouterr().out)["missing"] == 2
    assert lilims("pull", f"{server.url}/next", "-q") == 0
    assert [one.path for one in server.asked if one.path.startswith("/next")] == [
        "/next/manifest.json", "/next/manifest.json", "/next/manifest.json.sig", "/next/tokenizer.json",
    ]  # fmt: skip
    old, new = (one.folder / WEIGHTS for one in store.all_models())
    assert old.samefile(new)


def test_dry_run(server: Server, home: Path, lilims: Run, capsys: Out) -> None:
    assert lilims("pull", f"{server.url}/tiny", "--dry-run", "--json") == 0
    value = json.loads(capsys.readouterr().out)
    assert (value["kind"], value["action"], value["model"], value["dry_run"]) == (
        "pull",
        "download",
        "tiny@1.2.0",
        True,
    )
    assert value["missing"] == value["bytes"] == sum(one["bytes"] for one in value["files"])
    assert [one.path for one in server.asked] == ["/tiny/manifest.json"]
    assert not (home / "models").exists() and not (home / "downloads").exists()


def test_an_interrupted_pull_goes_on(server: Server, home: Path, lilims: Run, capsys: Out) -> None:
    path = f"/tiny/{WEIGHTS}"
    server.faults[path] = ["cut:150000"] + ["drop"] * 5
    assert lilims("pull", f"{server.url}/tiny") == 1
    error = capsys.readouterr().err
    assert "gave up after" in error and "what has arrived is kept" in error
    assert store.all_models() == []
    assert lilims("pull", f"{server.url}/tiny", "--dry-run") == 0
    assert "150.0 kB of it are there" in capsys.readouterr().out
    server.faults = {}
    before = len(server.asked)
    assert lilims("pull", f"{server.url}/tiny") == 0
    check()
    assert server.sent(path) == 200_000
    assert {one.path for one in server.asked[before:]} == {"/tiny/manifest.json", "/tiny/manifest.json.sig", path}


def test_pulls_at_once(server: Server, lilims: Run) -> None:
    """Of one name the second waits and finds it; under two names both are whole, whoever clears the downloads first."""
    from concurrent.futures import ThreadPoolExecutor

    from lilims.models import Wishes, pull

    server.faults[f"/tiny/{WEIGHTS}"] = ["pause:20000"]
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda name: pull(f"{server.url}/tiny", Wishes(name=name)), ["a", "a", "b", "b"]))
    assert sorted(one.action for one in done) == ["download", "download", "none", "none"]
    assert [one.reference for one in store.all_models()] == ["a@1.2.0", "b@1.2.0"]
    for one in store.all_models():
        verify_files(one.folder, read_any(one.folder), verify="full")
    assert not list((store.find("a").folder.parents[1] / "downloads").iterdir())


def test_progress_is_drawn_on_a_terminal_and_told(
    server: Server, lilims: Run, capsys: Out, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lilims.core.events import Event, listening

    told: list[Event] = []
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with listening(told.append):
        assert lilims("pull", f"{server.url}/tiny") == 0
    last = {event.fields["name"]: event.fields for event in told if event.name == "pull.file"}
    assert len(last) == 5 and all(fields["done"] == fields["total"] for fields in last.values())
    captured = capsys.readouterr()
    assert captured.out.startswith("installed tiny@1.2.0") and "\n" not in captured.out.strip()


def test_a_file_that_the_server_has_not(server: Server, lilims: Run, capsys: Out) -> None:
    del server.files["/tiny/tokenizer.json"]
    del server.files["/tiny/copy.json"]
    assert lilims("pull", f"{server.url}/tiny") == 1
    assert "the server has no such file" in capsys.readouterr().err
    assert store.all_models() == []


def test_a_model_that_was_changed_on_the_server(server: Server, lilims: Run, capsys: Out) -> None:
    server.files[f"/tiny/{WEIGHTS}"] = bytes(200_000)
    assert lilims("pull", f"{server.url}/tiny") == 1
    assert "has other bytes than its manifest records" in capsys.readouterr().err
    assert store.all_models() == []


def test_pinned_hashes(server: Server, lilims: Run, capsys: Out) -> None:
    found = hashlib.sha256(server.files["/tiny/manifest.json"]).hexdigest()
    assert lilims("pull", f"{server.url}/tiny", "--sha256", "0" * 64) == 1
    assert f"the manifest has the SHA-256 {found}, 000" in capsys.readouterr().err
    assert lilims("pull", f"{server.url}/tiny", "--sha256", "sha256:" + found.upper().replace("SHA256", "")) == 0
    check()
    assert lilims("pull", f"{server.url}/tiny", "--sha256", "12") == 2


MANIFESTS: dict[str, tuple[bytes, str]] = {
    "not-json": (b"<html>", "not valid JSON"),
    "another": (b'{"contract": "lilims.decoder/9"}', "'lilims.decoder/9' is not"),
    "empty": (b"", "not valid JSON"),
}


@pytest.mark.parametrize("case", MANIFESTS)
def test_manifests_that_are_none(case: str, server: Server, lilims: Run, capsys: Out) -> None:
    server.files["/tiny/manifest.json"], words = MANIFESTS[case]
    assert lilims("pull", f"{server.url}/tiny") == 1
    error = capsys.readouterr().err
    assert words in error and f"{server.url}/tiny" in error.replace("\n", "")


HOSTILE = {
    "up": {"../x": 1},
    "absolute": {"/x": 1},
    "case": {"A": 1, "a": 1},
    "inside": {"a": 1, "a/b": 1},
    "manifest": {"Manifest.json": 1},
    "signature": {"manifest.json.sig": 1},
}


@pytest.mark.parametrize("case", HOSTILE)
def test_manifests_that_would_write_elsewhere(case: str, server: Server, home: Path, lilims: Run) -> None:
    raw = json.loads(server.files["/tiny/manifest.json"])
    del raw["digest"]
    raw["files"] = {
        name: {"bytes": size, "sha256": hashlib.sha256(b"x").hexdigest()} for name, size in HOSTILE[case].items()
    }
    server.files["/tiny/manifest.json"] = json.dumps(raw).encode()
    assert lilims("pull", f"{server.url}/tiny") == 1
    assert len(server.asked) == 1 and not (home / "models").exists()


def test_limits(server: Server, home: Path, lilims: Run, capsys: Out, monkeypatch: pytest.MonkeyPatch) -> None:
    from lilims.models import space

    monkeypatch.setattr(space, "GB", 100_000)
    assert lilims("pull", f"{server.url}/tiny") == 1
    error = capsys.readouterr().err
    assert "the limit of one is 100.0 kB" in error and "LILIMS_MAX_MODEL_GB=3" in error
    monkeypatch.setenv("LILIMS_MAX_MODEL_GB", "0")
    monkeypatch.setenv("LILIMS_QUOTA_GB", "1")
    settings_module.settings.cache_clear()
    assert lilims("pull", f"{server.url}/tiny") == 1
    assert "of the quota of 100.0 kB are taken" in capsys.readouterr().err
    monkeypatch.setattr(space.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(1, 1, 1000))  # type: ignore[attr-defined]
    monkeypatch.setenv("LILIMS_QUOTA_GB", "0")
    settings_module.settings.cache_clear()
    assert lilims("pull", f"{server.url}/tiny") == 1
    assert "the disk has 1.0 kB free" in capsys.readouterr().err
    assert {one.path for one in server.asked} == {"/tiny/manifest.json", "/tiny/manifest.json.sig"}


def test_the_network_switched_off(server: Server, lilims: Run, capsys: Out, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LILIMS_OFFLINE", "1")
    settings_module.settings.cache_clear()
    assert lilims("pull", f"{server.url}/tiny") == 1
    assert "the network is switched off" in capsys.readouterr().err
    assert server.asked == []


SOURCES = {
    "http": (["http://example.org/tiny"], 2, "is not https"),
    "private": (["https://10.0.0.1/tiny"], 2, "inside a private network"),
    "absent": (["./nowhere"], 1, "no such file or folder"),
    "like-the-hub": (["org/name"], 1, "a model of the hub is hf:org/name"),
    "hub": (["hf:name"], 2, "is not a model of the hub"),
    "none": ([], 2, "no source"),
    "twice": (["a", "-m", "b"], 2, "named twice"),
    "quantize": (["https://example.org/tiny", "--quantize", "int8", "--dry-run"], 2, "--quantize is for checkpoints"),
}


@pytest.mark.parametrize("case", SOURCES)
def test_sources_that_are_refused(case: str, lilims: Run, capsys: Out) -> None:
    arguments, code, words = SOURCES[case]
    assert lilims("pull", *arguments) == code
    assert words in capsys.readouterr().err


# -- archives and paths ----------------------------------------------------------------------------------------------


@pytest.fixture
def archive(model: Path, tmp_path: Path) -> Path:
    write_archive(model, tmp_path / "tiny.tar", name="tiny-1.2.0")
    return tmp_path / "tiny.tar"


def test_an_archive(archive: Path, lilims: Run, capsys: Out) -> None:
    assert lilims("pull", archive) == 0
    check()
    assert lilims("export", "tiny", "--to", "archive", "-o", archive.with_name("again.tar")) == 0
    assert archive.read_bytes() == archive.with_name("again.tar").read_bytes()
    assert lilims("pull", archive) == 0
    assert "installed already" in capsys.readouterr().out


def test_an_archive_on_a_server(archive: Path, server: Server, lilims: Run, capsys: Out) -> None:
    server.files["/x/tiny.tar"] = archive.read_bytes()
    server.faults["/x/tiny.tar"] = ["cut:100000"]
    assert lilims("pull", f"{server.url}/x/tiny.tar", "--sha256", hashlib.sha256(archive.read_bytes()).hexdigest()) == 0
    check()
    assert server.sent("/x/tiny.tar") == len(archive.read_bytes())
    store.remove(store.find("tiny"))
    assert lilims("pull", f"{server.url}/x/tiny.tar", "--as", "other") == 0
    check("other")


@pytest.mark.parametrize(("old", "quota"), [(1.5, 2.3), (0.5, 0.8)], ids=["enough", "not enough"])
def test_an_archive_makes_room_for_what_its_server_announces(
    old: float, quota: float, archive: Path, server: Server, home: Path, lilims: Run, capsys: Out,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    from lilims.models import space
    from lilims.models.download import fetch

    server.files["/tiny.tar"] = archive.read_bytes()
    size = len(server.files["/tiny.tar"])
    write_model(home / "models" / "old@1.0.0", name="old", files={"weights": bytes(int(size * old))})
    monkeypatch.setattr(space, "GB", 1)
    monkeypatch.setattr(fetch, "_LOOK", 50_000)
    monkeypatch.setenv("LILIMS_MAX_MODEL_GB", "0")
    monkeypatch.setenv("LILIMS_QUOTA_GB", str(int(size * quota)))
    settings_module.settings.cache_clear()
    enough = quota > 2  # the archive, and what is in it
    assert lilims("pull", f"{server.url}/tiny.tar") == (0 if enough else 1)
    error = capsys.readouterr().err
    assert ("removed model old@1.0.0" if enough else "of the quota of") in error
    assert [one.name for one in store.all_models()] == ["tiny" if enough else "old"]  # nothing is removed in vain


def test_a_pinned_archive_that_was_changed(archive: Path, server: Server, lilims: Run, capsys: Out) -> None:
    assert lilims("pull", archive, "--sha256", "0" * 64) == 1
    assert "the archive has the SHA-256" in capsys.readouterr().err
    server.files["/tiny.tar"] = archive.read_bytes()
    assert lilims("pull", f"{server.url}/tiny.tar", "--sha256", "0" * 64) == 1
    assert "has other bytes" in capsys.readouterr().err
    assert store.all_models() == []


def test_an_archive_whose_files_were_changed(model: Path, tmp_path: Path, home: Path, lilims: Run, capsys: Out) -> None:
    (model / "tokenizer.json").write_bytes(b"[]" * 50)
    shutil.make_archive(str(tmp_path / "tiny"), "zip", model)
    assert lilims("pull", tmp_path / "tiny.zip") == 1
    assert "tokenizer.json is not what its manifest records" in capsys.readouterr().err
    assert store.all_models() == [] and list((home / "downloads").iterdir()) == []


@pytest.mark.parametrize("kind", ["zip", "gztar"])
def test_archives_of_others(kind: str, model: Path, tmp_path: Path, lilims: Run) -> None:
    made = shutil.make_archive(str(tmp_path / "out"), kind, model.parent, "tiny")
    assert lilims("pull", made, "-q") == 0
    check()


def test_an_archive_of_a_package(tmp_path: Path, lilims: Run) -> None:
    package = test_data("coreml/silero-vad/silero-vad-encoder-v6.0.0.mlpackage")
    made = shutil.make_archive(str(tmp_path / "out"), "zip", package.parent, package.name)
    assert lilims("pull", made, "--as", "encoder", "-q") == 0
    assert store.find("encoder").version == "6.0.0"


def test_an_archive_of_nothing(tmp_path: Path, lilims: Run, capsys: Out) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "hello").write_text("x")
    assert lilims("pull", shutil.make_archive(str(tmp_path / "out"), "zip", tmp_path / "src")) == 2
    assert "holds neither a model folder nor one package" in capsys.readouterr().err


def test_a_model_folder_on_this_machine(model: Path, lilims: Run, capsys: Out) -> None:
    assert lilims("pull", model, "--dry-run") == 0
    assert "would copy tiny@1.2.0" in capsys.readouterr().out
    assert store.all_models() == []
    assert lilims("pull", model) == 0
    folder = check()
    assert not (folder / WEIGHTS).samefile(model / WEIGHTS)  # the user's own files stay the user's own
    store.remove(store.find("tiny"))
    assert lilims("pull", model, "--sha256", "0" * 64) == 1
    assert "is pinned" in capsys.readouterr().err
    (model / WEIGHTS).write_bytes(bytes(200_000))
    assert lilims("pull", model) == 1
    assert "its bytes are not those that the manifest records" in capsys.readouterr().err
    assert store.all_models() == []


def test_a_model_for_another_lilims_is_installed_and_said_so(tmp_path: Path, lilims: Run, capsys: Out) -> None:
    write_model(tmp_path / "later", name="later", compatible_runtime=">=99")
    assert lilims("pull", tmp_path / "later") == 0
    assert "it cannot run here: asks for lilims >=99" in capsys.readouterr().err
    assert lilims("pull", tmp_path / "later", "--json") == 0
    assert "asks for lilims" in json.loads(capsys.readouterr().out)["problem"]
