"""What the small files beside a vocabulary say: class, special tokens, added tokens, switches.

Knows tokenizer_config.json, special_tokens_map.json and added_tokens.json as transformers writes them. Must not know
vocabularies: whether a token exists is for others to find out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lilims.core.errors import TokenizerError
from lilims.core.files import read_json

__all__ = ["AddedToken", "TokenizerConfig", "read_config"]

_LARGEST_ID = 1 << 24
_ROLES = ("bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token", "mask_token")


@dataclass(frozen=True, slots=True)
class AddedToken:
    """A token that stands beside the vocabulary. A special one is not read from a user's text unless asked for."""

    content: str
    special: bool
    normalized: bool = False
    lstrip: bool = False
    rstrip: bool = False
    single_word: bool = False


@dataclass(frozen=True)
class TokenizerConfig:
    """The side files of one folder.

    Attributes:
        class_name: the transformers class, without "Fast"; None where it is not said.
        bos, eos: the text of those tokens.
        roles: the texts of all such tokens by their names (`bos_token`, `pad_token`, …), which chat templates use.
        added: tokens by id.
        flags: the values of tokenizer_config.json (`add_bos_token`, `add_prefix_space`, `legacy`, …).
    """

    class_name: str | None = None
    bos: str | None = None
    eos: str | None = None
    roles: Mapping[str, str] = field(default_factory=dict)
    added: Mapping[int, AddedToken] = field(default_factory=dict)
    flags: Mapping[str, Any] = field(default_factory=dict)

    def flag(self, name: str, default: bool) -> bool:
        """A switch of tokenizer_config.json; absent or null gives the default."""
        value = self.flags.get(name)
        return default if value is None else bool(value)


def read_config(folder: Path) -> TokenizerConfig:
    """Reads the side files of `folder`; every one of them may be absent.

    Raises:
        TokenizerError: a file is not the JSON that it should be.
    """
    config = _read(folder / "tokenizer_config.json")
    special = _read(folder / "special_tokens_map.json")
    roles = {role: _content(config.get(role)) or _content(special.get(role)) for role in _ROLES}
    extra = [_content(t) for part in (config, special) for t in _list(part.get("additional_special_tokens"))]
    specials = {content for content in [*roles.values(), *extra] if content}
    class_name = config.get("tokenizer_class")
    return TokenizerConfig(
        class_name=class_name.removesuffix("Fast") if isinstance(class_name, str) else None,
        bos=roles["bos_token"],
        eos=roles["eos_token"],
        roles={role: text for role, text in roles.items() if text},
        added=_added(folder, config, specials),
        flags=config,
    )


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    value = read_json(path, limit=32 << 20, error=TokenizerError)
    if not isinstance(value, dict):
        raise TokenizerError("not a JSON object", where=path, hint="fetch the file again, or remove it")
    return value


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _content(token: object) -> str | None:
    """A token stands as its text or as an object with `content`."""
    text = token.get("content") if isinstance(token, dict) else token
    return text if isinstance(text, str) else None


def _added(folder: Path, config: dict[str, Any], specials: set[str]) -> dict[int, AddedToken]:
    decoder = config.get("added_tokens_decoder")
    if isinstance(decoder, dict):
        path = folder / "tokenizer_config.json"
        tokens = {_id(key, path): _added_token(value, path) for key, value in decoder.items()}
    else:
        path = folder / "added_tokens.json"
        tokens = {_id(i, path): AddedToken(text, text in specials) for text, i in _read(path).items()}
    return dict(sorted(tokens.items()))


def _id(value: object, path: Path) -> int:
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 9:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < _LARGEST_ID:
        raise TokenizerError(f"{value!r} is not a token id", where=path, hint="fetch the file again")
    return value


def _added_token(value: object, path: Path) -> AddedToken:
    content = _content(value)
    if not content or not isinstance(value, dict):
        raise TokenizerError("an entry of added_tokens_decoder has no content", where=path, hint="fetch the file again")
    names = ("normalized", "lstrip", "rstrip", "single_word")
    return AddedToken(content, bool(value.get("special")), **{name: bool(value.get(name)) for name in names})
