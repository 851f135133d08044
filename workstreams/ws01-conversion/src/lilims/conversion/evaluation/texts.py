"""The text that a model is measured on: a file, the built-in one, or one that `lilims data` has fetched.

Knows names and files. Must not know models or the network. The built-in text belongs to another distribution, which
offers its path as an entry point of the group `lilims.texts`: a function `() -> Path`.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from lilims.core.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lilims.tokenizer import Tokenizer

__all__ = ["BUILTIN", "TEXTS", "Text", "decoded", "read_text", "spelled_bytes"]

BUILTIN = "builtin"
TEXTS = "lilims.texts"
_MOST = 1 << 30  # bytes
_NAME = re.compile(r"[a-z][a-z0-9-]{0,31}")


@dataclass(frozen=True)
class Text:
    """A text to predict.

    Attributes:
        name: for people: the name that was given, or the file's.
        content: the text.
        special: it spells special tokens out, which are to be read as such.
    """

    name: str
    content: str = field(repr=False)
    special: bool = False

    @property
    def sha256(self) -> str:
        """Of its UTF-8."""
        return hashlib.sha256(self.content.encode("utf-8", "surrogatepass")).hexdigest()


def read_text(wanted: str) -> Text:
    """The text that a user names: `builtin`, one of `lilims data`, or a file (`./builtin` is one).

    Raises:
        InputError: there is no such text, it is not on this machine yet, or it is not UTF-8 (the byte is named).
    """
    from .download import SOURCES, local_path

    if wanted == BUILTIN:
        return Text(BUILTIN, decoded(_builtin()), special=True)
    if wanted in SOURCES:
        return Text(wanted, decoded(local_path(wanted)))
    path = Path(wanted).expanduser()
    if _NAME.fullmatch(wanted) and not path.exists():
        raise InputError(
            f"no text {wanted!r}: neither a file nor one of {', '.join([BUILTIN, *SOURCES])}",
            hint="check the path or the name",
        )
    return Text(path.name, decoded(path))


def _builtin() -> Path:
    from importlib.metadata import entry_points

    for entry in entry_points(group=TEXTS, name=BUILTIN):
        found: Path = entry.load()()
        return found
    raise InputError(
        "the built-in text is not part of this installation", hint="pip install lilims-models, or name a file"
    )


def decoded(path: Path) -> str:
    """The text of a UTF-8 file.

    Raises:
        InputError: absent, too large, or not UTF-8 (the byte is named).
    """
    try:
        if path.stat().st_size > _MOST:
            raise InputError(f"larger than {_MOST} bytes", where=path, hint="cut it: some megabytes say as much")
        return path.read_bytes().decode("utf-8")  # as it is: no newline is translated
    except OSError as exc:
        raise InputError(f"cannot be read: {exc.strerror}", where=path, hint="check the path") from exc
    except UnicodeDecodeError as exc:
        raise InputError(f"not UTF-8 (byte {exc.start})", where=path, hint="convert it to UTF-8") from exc


def spelled_bytes(tokenizer: Tokenizer, ids: Sequence[int]) -> list[int]:
    """The bytes of UTF-8 that each token settles when a text is decoded token by token; special tokens spell none.

    A character that is spread over tokens counts with the one that completes it.
    """
    from lilims.tokenizer import StreamDecoder

    decoder = StreamDecoder(tokenizer)
    return [len(decoder.push(token).encode("utf-8", "replace")) for token in ids]
