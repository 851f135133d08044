"""Signatures of models: who vouches for a manifest, and so for every file whose hash is in it.

    manifest.json.sig    {"format": "lilims.signature/1", "key": 64 hex digits, "signature": 128 hex digits}

An Ed25519 signature (RFC 8032) of the words `lilims.signature/1`, a zero byte and the bytes of manifest.json; the words
keep it from being one of anything else. The key in the file says who claims to have signed; it is worth something only
where that key is known from elsewhere. Knows keys and this file. Must not know where models come from.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lilims.core.errors import InputError, IntegrityError, MissingDependencyError, OutputExistsError, UsageError
from lilims.core.files import read_bytes, write_atomic, write_json
from lilims.core.integrity import verify_files
from lilims.core.manifest import FILE_NAME
from lilims.core.package_manifest import read_any

from .archive.write import SIGNATURE

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

__all__ = ["check_signature", "new_key", "sign", "signature_state"]

_FORMAT = "lilims.signature/1"
_MOST = 1 << 16
_KEY, _SIGNATURE = re.compile(r"[0-9a-f]{64}"), re.compile(r"[0-9a-f]{128}")


def new_key(file: Path) -> str:
    """Writes a new private key (PEM, PKCS #8, readable by its owner alone); returns the public key in hexadecimal.

    Raises:
        OutputExistsError: the file exists; a key is never replaced.
        StorageError: it cannot be written.
        MissingDependencyError: cryptography is not installed.
    """
    ed25519, serialization = _library()
    if file.exists():
        raise OutputExistsError("exists already", where=file, hint="a key is never replaced: choose another file")
    key = ed25519.Ed25519PrivateKey.generate()
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    write_atomic(file, key.private_bytes(*form), private=True)
    return _public(key)


def sign(folder: Path, key_file: Path) -> str:
    """Signs the manifest of a model folder, once every file is what it records; returns the public key.

    Raises:
        IntegrityError, ManifestError: the model is damaged.
        InputError: the file holds no Ed25519 key.
        StorageError: the signature cannot be written.
        MissingDependencyError: cryptography is not installed.
    """
    key = _private(key_file)
    verify_files(folder, read_any(folder), verify="full")
    raw = (folder / FILE_NAME).read_bytes()
    content = {"format": _FORMAT, "key": _public(key), "signature": key.sign(_message(raw)).hex()}
    write_json(folder / SIGNATURE, content)
    return content["key"]


def check_signature(raw: bytes, signature: bytes | None, key: str, where: str) -> None:
    """Refuses a manifest that the holder of a key has not signed.

    Args:
        raw: the manifest's bytes.
        signature: the bytes of its signature file, None if it has none.
        key: the public key that is trusted, 64 hexadecimal digits.
        where: for messages.

    Raises:
        IntegrityError: there is no signature, it is of another key, or not of these bytes.
        MissingDependencyError: cryptography is not installed.
    """
    if signature is None:
        raise IntegrityError("is not signed, and a key is pinned", where=where, hint="ask who offers it to sign it")
    found = _read(signature)
    if found is None:
        raise IntegrityError("its signature cannot be read", where=where)
    if found[0] != key:
        raise IntegrityError(f"is signed with the key {found[0]}, {key} is pinned", where=where)
    if not _holds(raw, *found):
        raise IntegrityError("was changed after it was signed", where=where, hint="nothing was installed")


def signature_state(folder: Path) -> tuple[Literal["none", "valid", "broken", "unchecked"], str | None]:
    """Whether a model folder's signature is one of its manifest, and the key that it names.

    "unchecked" is where cryptography is not installed.
    """
    if not (folder / SIGNATURE).is_file():
        return "none", None
    try:
        found = _read(read_bytes(folder / SIGNATURE, limit=_MOST))
        if found is None:
            return "broken", None
        return ("valid" if _holds((folder / FILE_NAME).read_bytes(), *found) else "broken"), found[0]
    except MissingDependencyError:
        return "unchecked", None
    except (InputError, OSError):
        return "broken", None


def _read(signature: bytes) -> tuple[str, str] | None:
    """Key and signature of a signature file, both in hexadecimal; None where it is none."""
    try:
        content = json.loads(signature)
        key, value = content["key"], content["signature"]
        sound = content["format"] == _FORMAT and _KEY.fullmatch(key) and _SIGNATURE.fullmatch(value)
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return (key, value) if sound else None


def _holds(raw: bytes, key: str, signature: str) -> bool:
    from cryptography.exceptions import InvalidSignature

    ed25519, _ = _library()
    try:
        ed25519.Ed25519PublicKey.from_public_bytes(bytes.fromhex(key)).verify(bytes.fromhex(signature), _message(raw))
    except (InvalidSignature, ValueError):
        return False
    return True


def _message(raw: bytes) -> bytes:
    return _FORMAT.encode() + b"\0" + raw


def _private(file: Path) -> Ed25519PrivateKey:
    ed25519, serialization = _library()
    try:
        key = serialization.load_pem_private_key(read_bytes(file, limit=_MOST), password=None)
    except TypeError as exc:
        raise UsageError(
            "is encrypted", where=file, hint="openssl pkey -in FILE -out PLAIN takes the password"
        ) from exc
    except ValueError as exc:
        raise InputError("is not a private key", where=file, hint="lilims sign --new-key FILE makes one") from exc
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise InputError("is not an Ed25519 key", where=file, hint="lilims sign --new-key FILE makes one")
    return key  # type: ignore[no-any-return]


def _public(key: Ed25519PrivateKey) -> str:
    return key.public_key().public_bytes_raw().hex()


def _library() -> tuple[Any, Any]:
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as exc:
        raise MissingDependencyError("signatures need cryptography", hint="pip install 'lilims-models[sign]'") from exc
    return ed25519, serialization
