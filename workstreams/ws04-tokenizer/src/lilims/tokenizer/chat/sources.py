"""Where a model folder has its chat templates.

Knows the files: chat_template.jinja and additional_chat_templates/ as transformers writes them now, `chat_template`
in tokenizer_config.json as it wrote them before (and as lilims writes a GGUF file's), chat_template.json of
processors. Must not know Jinja.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lilims.core.files import read_bytes, read_json

from ..errors import ChatTemplateError

__all__ = ["FILES", "FOLDER", "find_templates"]

FILES = ("chat_template.jinja", "chat_template.json")
FOLDER = "additional_chat_templates"
_LIMIT = 1 << 20
_MOST = 64  # templates of one model


def find_templates(folder: Path, config: Mapping[str, Any]) -> dict[str, tuple[str, Path]]:
    """Templates by name, each with its file. "default" is the usual one, "tool_use" the one for tools.

    Files with the ending .jinja replace what tokenizer_config.json says, as in transformers.

    Raises:
        ChatTemplateError: a file is not text, or a table of templates is none.
    """
    found: dict[str, tuple[str, Path]] = {}
    if (folder / FILES[0]).is_file():
        found["default"] = (_text(folder / FILES[0]), folder / FILES[0])
    if (folder / FOLDER).is_dir():
        for path in sorted((folder / FOLDER).glob("*.jinja"))[:_MOST]:
            found[path.stem] = (_text(path), path)
    if found:
        return found
    path = folder / "tokenizer_config.json"
    value = config.get("chat_template")
    if value is None and (folder / FILES[1]).is_file():
        path = folder / FILES[1]
        raw = read_json(path, limit=_LIMIT, error=ChatTemplateError)
        value = raw.get("chat_template") if isinstance(raw, dict) else raw
    return {name: (text, path) for name, text in _named(value, path).items()}


def _text(path: Path) -> str:
    try:
        return read_bytes(path, limit=_LIMIT, error=ChatTemplateError).decode("utf-8-sig").replace("\r\n", "\n")
    except UnicodeDecodeError as exc:
        raise ChatTemplateError(f"not UTF-8: {exc.reason}", where=path, hint="fetch the file again") from exc


def _named(value: Any, path: Path) -> dict[str, str]:
    """One template as text, or several as a list of objects with `name` and `template` (or a table of them)."""
    if value is None:
        return {}
    if isinstance(value, str):
        return {"default": value}
    pairs: list[tuple[Any, Any]] = [(None, None)]
    if isinstance(value, list):
        pairs = [(one.get("name"), one.get("template")) if isinstance(one, dict) else (None, None) for one in value]
    elif isinstance(value, dict):
        pairs = list(value.items())
    if len(pairs) > _MOST or not all(isinstance(text, str) for pair in pairs for text in pair):
        raise ChatTemplateError("chat_template is neither text nor a list of names and templates", where=path)
    return dict(pairs)
