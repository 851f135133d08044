"""Signatures: made once the model is whole, demanded where a key is pinned."""

from __future__ import annotations

import json
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lilims.core.errors import InputError, IntegrityError, OutputExistsError
from lilims.core.manifest import read_manifest, write_manifest
from lilims.models import signing, store

from .conftest import write_model
from .server import serving

pytest.importorskip("cryptography")
Run = Callable[..., int]
Out = pytest.CaptureFixture[str]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    write_model(tmp_path / "tiny", version="1.2.0", files={"tokenizer.json": b"{}"})
    return tmp_path / "tiny"


@pytest.fixture
def key(tmp_path: Path) -> str:
    return signing.new_key(tmp_path / "me.pem")


@pytest.fixture
def signed(model: Path, tmp_path: Path, key: str) -> Path:
    assert signing.sign(model, tmp_path / "me.pem") == key
    return model


def test_the_known_answer_of_rfc_8032(tmp_path: Path) -> None:
    """Test 3 of section 7.1: the library signs as the standard does, and the key is read from PKCS #8."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

    secret = bytes.fromhex("c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7")
    private = Ed25519PrivateKey.from_private_bytes(secret)
    assert signing._public(private) == "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025"
    assert (
        private.sign(b"\xaf\x82").hex().startswith("6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac")
    )


def test_a_key_is_private_and_never_replaced(tmp_path: Path, key: str) -> None:
    if sys.platform != "win32":
        assert stat.S_IMODE((tmp_path / "me.pem").stat().st_mode) == 0o600
    with pytest.raises(OutputExistsError):
        signing.new_key(tmp_path / "me.pem")
    assert len(key) == 64


def test_signature_states(signed: Path, key: str) -> None:
    assert signing.signature_state(signed) == ("valid", key)
    write_manifest(signed, read_manifest(signed).model_copy(update={"licence": "MIT"}))
    assert signing.signature_state(signed) == ("broken", key)
    (signed / "manifest.json.sig").write_text("{}")
    assert signing.signature_state(signed) == ("broken", None)
    (signed / "manifest.json.sig").unlink()
    assert signing.signature_state(signed) == ("none", None)


def test_a_damaged_model_is_not_signed(model: Path, tmp_path: Path, key: str) -> None:
    (model / "tokenizer.json").write_bytes(b"[]")
    with pytest.raises(IntegrityError):
        signing.sign(model, tmp_path / "me.pem")
    assert not (model / "manifest.json.sig").exists()


KEYS = {
    "absent": None,
    "text": b"hello",
    "empty": b"",
    "public": b"-----BEGIN PUBLIC KEY-----\nx\n-----END PUBLIC KEY-----\n",
}


@pytest.mark.parametrize("case", KEYS)
def test_what_is_no_key(case: str, model: Path, tmp_path: Path) -> None:
    content = KEYS[case]
    if content is not None:
        (tmp_path / "key.pem").write_bytes(content)
    with pytest.raises(InputError):
        signing.sign(model, tmp_path / "key.pem")


BROKEN: dict[str, Callable[[dict[str, str]], object]] = {
    "other-bytes": lambda found: found | {"signature": "0" * 128},
    "format": lambda found: found | {"format": "lilims.signature/2"},
    "short": lambda found: found | {"signature": found["signature"][:-2]},
    "number": lambda found: found | {"key": 5},
    "list": lambda found: [found],
    "low-order-key": lambda found: {**found, "key": "0" * 64, "signature": "0" * 128},
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_signatures(case: str, signed: Path, key: str) -> None:
    raw, found = (signed / "manifest.json").read_bytes(), json.loads((signed / "manifest.json.sig").read_text())
    signing.check_signature(raw, json.dumps(found).encode(), key, "x")
    with pytest.raises(IntegrityError):
        signing.check_signature(raw, json.dumps(BROKEN[case](found)).encode(), key, "x")
    with pytest.raises(IntegrityError, match="was changed after it was signed"):
        signing.check_signature(raw + b" ", json.dumps(found).encode(), key, "x")
    with pytest.raises(IntegrityError, match="is not signed"):
        signing.check_signature(raw, None, key, "x")
    with pytest.raises(IntegrityError, match=f"is signed with the key {key}, {'a' * 64} is pinned"):
        signing.check_signature(raw, json.dumps(found).encode(), "a" * 64, "x")


@pytest.mark.parametrize("way", ["folder", "archive", "server"])
def test_a_pinned_key(way: str, model: Path, tmp_path: Path, lilims: Run, capsys: Out) -> None:
    assert lilims("sign", "--new-key", tmp_path / "me.pem", "--json") == 0
    key = json.loads(capsys.readouterr().out)["public_key"]
    with serving() as server:

        def source() -> str | Path:
            if way == "archive":
                assert lilims("export", model, "--to", "archive", "-o", tmp_path / "x.tar", "--force") == 0
            server.folder(model)
            return {"folder": model, "archive": tmp_path / "x.tar", "server": f"{server.url}/tiny"}[way]

        assert lilims("pull", source(), "--key", key) == 1
        assert "is not signed, and a key is pinned" in capsys.readouterr().err
        assert lilims("sign", model, "--key", tmp_path / "me.pem") == 0
        assert f"public key {key}" in capsys.readouterr().out
        assert lilims("pull", source(), "--key", "a" * 64) == 1
        assert store.all_models() == []
        assert lilims("pull", source(), "--key", key) == 0
        assert server.sent("/tiny/tokenizer.json") == (2 if way == "server" else 0)
    capsys.readouterr()
    assert lilims("verify", "tiny") == 0
    assert capsys.readouterr().out == f"ok  tiny@1.2.0\n    signed with the key {key}\n"
    assert lilims("show", "tiny") == 0
    assert f"valid, key {key}" in capsys.readouterr().out
    (store.find("tiny").folder / "manifest.json.sig").write_text("{}")
    assert lilims("verify", "tiny") == 1
    assert "its signature is not one of this manifest" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments", [["tiny"], ["--key", "k"], ["tiny", "--new-key", "k"], ["a", "-m", "b"]], ids=" ".join
)
def test_usage(arguments: list[str], lilims: Run) -> None:
    assert lilims("sign", *arguments) == 2
