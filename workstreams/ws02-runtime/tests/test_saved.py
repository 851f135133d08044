"""Saved sessions: what is loaded goes on exactly; whatever else is in a file is refused in one line."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import struct
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lilims.core.errors import StorageError
from lilims.core.manifest import read_manifest
from lilims.runtime import Model
from lilims.runtime.errors import OtherModelError, SessionFileError
from lilims.runtime.saved import load_session, model_identity, save_session

from .fakes import CHUNK, CONTEXT, ROWS, FakeExecutor, fake_model, manifest_of, write_folder

IDS = [(7 * i + 3) % 256 for i in range(CONTEXT)]
PREFIX = struct.Struct("<8sII32s")


@pytest.fixture
def model(tmp_path: Path) -> Model:
    return fake_model(tmp_path / "model", FakeExecutor())


def another(model: Model, folder: Path, executor: FakeExecutor | None = None) -> Model:
    """The same model from a copy of its folder, as another process loads it."""
    shutil.copytree(model.folder, folder)
    return Model(folder, read_manifest(folder), executor or FakeExecutor(), model.tokenizer)


@pytest.fixture
def saved(model: Model, tmp_path: Path) -> Path:
    """A file of 11 tokens."""
    session = model.session()
    session.append(IDS[:11])
    save_session(session, tmp_path / "a.session", model=model)
    return tmp_path / "a.session"


def rewritten(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Writes a header anew, with its hash, as whoever makes a file by hand does."""
    raw = path.read_bytes()
    magic, version, length, _ = PREFIX.unpack_from(raw)
    header = json.loads(raw[PREFIX.size : PREFIX.size + length])
    change(header)
    text = json.dumps(header).encode()
    prefix = PREFIX.pack(magic, version, len(text), hashlib.sha256(text).digest())
    path.write_bytes(prefix + text + raw[PREFIX.size + length :])


@pytest.mark.parametrize("count", [0, 1, CHUNK, CHUNK + 3, CONTEXT - 1])
def test_it_goes_on_where_it_was_saved(model: Model, tmp_path: Path, count: int) -> None:
    session = model.session()
    if count:
        session.append(IDS[:count])
    save_session(session, tmp_path / "a.session", model=model)
    executor = FakeExecutor()
    loaded = load_session(another(model, tmp_path / "copy", executor), tmp_path / "a.session")
    assert (loaded.position, loaded.tokens) == (count, IDS[:count])
    assert executor.calls == []
    for token in IDS[count:]:
        np.testing.assert_array_equal(loaded.append([token]), session.append([token]))


def test_the_state_is_read_from_the_file(model: Model, saved: Path) -> None:
    """Not rebuilt from the tokens: other rows give other logits."""
    session = load_session(model, saved)
    rows = model._executor.read_state(session._state, 12)
    assert rows[0, 0, :, 0].tolist() == [*IDS[:11], 0]


def test_the_policy_is_kept(model: Model, tmp_path: Path) -> None:
    session = model.session("sinks")
    session.append(IDS[:5])
    save_session(session, tmp_path / "a", model=model)
    assert load_session(model, tmp_path / "a").policy == session.policy


def test_saving_again_replaces(model: Model, saved: Path) -> None:
    session = load_session(model, saved)
    session.append(IDS[11:13])
    save_session(session, saved, model=model)
    assert load_session(model, saved).tokens == IDS[:13]
    assert [path.name for path in saved.parent.iterdir() if path.is_file()] == [saved.name]


@pytest.mark.skipif(sys.platform == "win32", reason="no modes there")
def test_the_file_is_private(model: Model, saved: Path) -> None:
    assert saved.stat().st_mode & 0o777 == 0o600


def test_a_file_that_cannot_be_written_leaves_the_old_one(
    model: Model, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = saved.read_bytes()

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageError, match="the disk is full"):
        save_session(model.session(), saved, model=model)
    assert saved.read_bytes() == before
    assert [path.name for path in saved.parent.iterdir() if path.is_file()] == [saved.name]


def test_a_folder_that_is_not_there(model: Model, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be written"):
        save_session(model.session(), tmp_path / "absent" / "a", model=model)


# -- the model -------------------------------------------------------------------------------------------------------


def test_identity_is_of_bytes_not_of_times_or_places(model: Model, tmp_path: Path) -> None:
    copy = another(model, tmp_path / "elsewhere")
    os.utime(copy.folder / "model.mlpackage" / "Manifest.json", (1, 1))
    assert model_identity(copy.folder, copy.manifest) == model_identity(model.folder, model.manifest)


def other_weights(folder: Path) -> dict[str, Any]:
    (folder / "model.mlpackage" / "weight.bin").write_bytes(b"other")
    return {}


def other_tokenizer(folder: Path) -> dict[str, Any]:
    return {"extra": 2}


def other_state(folder: Path) -> dict[str, Any]:
    return {"state": {"shape": [4, 1, ROWS + 32, 32]}}


@pytest.mark.parametrize(
    ("change", "words"),
    [(other_weights, "weights"), (other_tokenizer, "tokenizer"), (other_state, "shape of the cache")],
    ids=["weights", "tokenizer", "state"],
)
def test_another_model(saved: Path, tmp_path: Path, change: Any, words: str) -> None:
    folder = write_folder(tmp_path / "other", **change(tmp_path / "model"), name="other")
    if change is other_weights:
        shutil.rmtree(folder)
        shutil.copytree(tmp_path / "model", folder)
    other = Model(folder, read_manifest(folder), FakeExecutor(), None)
    with pytest.raises(OtherModelError, match=f"was saved with 'fake', whose {words} differs") as caught:
        load_session(other, saved)
    assert caught.value.hint == "load the model that it was saved with"


def test_an_embedding_beside_the_package_counts(tmp_path: Path) -> None:
    (tmp_path / "embedding.bin").write_bytes(b"1")
    table = {"file": "embedding.bin", "rows": 1, "columns": 1, "codes": "fp16"}
    one = model_identity(tmp_path, manifest_of(embedding=table))
    (tmp_path / "embedding.bin").write_bytes(b"2")
    assert model_identity(tmp_path, manifest_of(embedding=table))["package"] != one["package"]


def test_another_executor_is_a_warning(model: Model, saved: Path, tmp_path: Path) -> None:
    other = another(model, tmp_path / "copy", FakeExecutor(name="coreml"))
    with pytest.warns(UserWarning, match="saved with executor 'portable', loaded with 'coreml'"):
        loaded = load_session(other, saved)
    assert loaded.tokens == IDS[:11]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_session(model, saved)


# -- what is no session, or not what was written ---------------------------------------------------------------------


def test_every_cut_is_noticed(model: Model, saved: Path) -> None:
    raw = saved.read_bytes()
    header = PREFIX.unpack_from(raw)[2] + PREFIX.size
    for length in (0, 1, 8, 20, PREFIX.size, PREFIX.size + 5, header - 1, header, header + 1, len(raw) - 1):
        saved.write_bytes(raw[:length])
        with pytest.raises(SessionFileError, match="cut off|no saved session"):
            load_session(model, saved)


def test_every_flipped_bit_is_noticed(model: Model, saved: Path) -> None:
    raw = bytearray(saved.read_bytes())
    for place in [*range(600), *range(600, len(raw), 97), len(raw) - 1]:
        raw[place] ^= 4
        saved.write_bytes(raw)
        with pytest.raises(SessionFileError) as caught:
            load_session(model, saved)
        assert "\n" not in str(caught.value)
        raw[place] ^= 4


def test_more_than_was_written(model: Model, saved: Path) -> None:
    saved.write_bytes(saved.read_bytes() + b"\0")
    with pytest.raises(SessionFileError, match="something follows its end"):
        load_session(model, saved)


def test_a_later_version(model: Model, saved: Path) -> None:
    raw = saved.read_bytes()
    saved.write_bytes(raw[:8] + struct.pack("<I", 2) + raw[12:])
    with pytest.raises(SessionFileError, match="of format 2, this lilims reads up to 1") as caught:
        load_session(model, saved)
    assert caught.value.hint == "update lilims"


@pytest.mark.parametrize("raw", [b"", b"GGUF" + bytes(100), b"PK\3\4" + bytes(100)], ids=["empty", "gguf", "zip"])
def test_foreign_files(model: Model, tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "foreign").write_bytes(raw)
    with pytest.raises(SessionFileError, match="no saved session"):
        load_session(model, tmp_path / "foreign")


def test_no_file(model: Model, tmp_path: Path) -> None:
    with pytest.raises(SessionFileError, match="no such file"):
        load_session(model, tmp_path / "absent")
    with pytest.raises(SessionFileError, match="not a file"):
        load_session(model, tmp_path)
    with pytest.raises(SessionFileError, match="cannot be read"):
        load_session(model, "a\0b")


def set_in(*keys: Any, to: Any) -> Callable[[dict[str, Any]], None]:
    def change(header: dict[str, Any]) -> None:
        at: Any = header
        for key in keys[:-1]:
            at = at[key]
        at[keys[-1]] = to

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (set_in("shape", to=[4, 1, 1 << 40, 32]), "do not fit a state"),
        (set_in("shape", to=[4, 1, -11, 32]), "do not fit a state"),
        (set_in("shape", to=[4, 1, 11.0, 32]), "do not fit a state"),
        (set_in("shape", to=[11, 32]), "do not fit a state"),
        (set_in("shape", to=[4, 1, 10, 32]), "something follows"),
        (set_in("shape", to=None), "lacks entries"),
        (set_in("layout", to=[]), "lacks entries"),
        (set_in("layout", to={}), "policy makes no sense"),
        (set_in("layout", "tokens", to="abc"), "does not fit this model"),
        (set_in("layout", "tokens", to=IDS[:10]), "does not fit this model"),
        (set_in("layout", "tokens", to=[1 << 70] * 11), "does not fit this model"),
        (set_in("layout", "tokens", to=[[]] * 11), "does not fit this model"),
        (set_in("layout", "policy", to=None), "policy makes no sense"),
        (set_in("layout", "policy", to={"kind": "never", "keep": 0}), "policy makes no sense"),
        (set_in("layout", "policy", to={"kind": "sinks", "keep": "x"}), "policy makes no sense"),
        (set_in("about", to={}), "differs"),
        (set_in("about", "package", to=["x"] * 1000), "weights differs"),
    ],
    ids=[
        "huge", "negative", "float", "rank", "fewer-rows", "no-shape", "layout-list", "layout-empty", "tokens-text",
        "tokens-fewer", "tokens-large", "tokens-lists", "no-policy", "policy", "policy-keep", "no-about", "long-about",
    ],
)  # fmt: skip
def test_headers_made_by_hand(model: Model, saved: Path, change: Any, words: str) -> None:
    rewritten(saved, change)
    with pytest.raises(SessionFileError, match=words) as caught:
        load_session(model, saved)
    assert len(str(caught.value)) < 1000


def test_a_header_that_is_no_object_or_nested_deeply(model: Model, saved: Path) -> None:
    for text in (b"[]", b"[" * 100_000, b"\xff"):
        saved.write_bytes(PREFIX.pack(b"LILIMSES", 1, len(text), hashlib.sha256(text).digest()) + text)
        with pytest.raises(SessionFileError, match="damaged"):
            load_session(model, saved)
    saved.write_bytes(PREFIX.pack(b"LILIMSES", 1, 1 << 31, bytes(32)))
    with pytest.raises(SessionFileError, match="header is too large"):
        load_session(model, saved)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(raw=st.binary(max_size=120), prefixed=st.booleans())
def test_any_bytes(model: Model, tmp_path: Path, raw: bytes, prefixed: bool) -> None:
    path = tmp_path / "any"
    path.write_bytes(PREFIX.pack(b"LILIMSES", 1, len(raw), hashlib.sha256(raw).digest()) + raw if prefixed else raw)
    with pytest.raises(SessionFileError):
        load_session(model, path)
