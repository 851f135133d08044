"""Which files of a checkpoint are its tokenizer.

Knows names. Must not know formats.
"""

from __future__ import annotations

from collections.abc import Callable, Container
from pathlib import Path

from lilims.core.errors import TokenizerError

__all__ = ["SIDE_FILES", "SOURCES", "find_source", "has_tokenizer", "tokenizer_files", "writer_for"]

SOURCES = (  # the first that is there is read
    "tokenizer.json",
    "tokenizer.model",
    "vocab.json",
    "tiktoken.model",
    "qwen.tiktoken",
    "o200k_base.tiktoken",
    "cl100k_base.tiktoken",
    "p50k_base.tiktoken",
    "r50k_base.tiktoken",
    "tokenizer.bin",
)
SIDE_FILES = (
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
)
WRITERS = "lilims.tokenizer_files"
_TEMPLATES = "additional_chat_templates"
_HINT = "a tokenizer is tokenizer.json, tokenizer.model, vocab.json with merges.txt, a .tiktoken file or tokenizer.bin"


def has_tokenizer(names: Container[str]) -> bool:
    """Whether a folder with files of these names holds a tokenizer."""
    return any(name in names for name in SOURCES)


def find_source(path: Path) -> Path:
    """The file that holds the vocabulary: `path` itself, or the first of the known names in the folder `path`.

    Raises:
        TokenizerError: there is none.
    """
    if path.is_file():
        return path
    if not path.is_dir():
        raise TokenizerError("no such file or folder", where=path, hint=_HINT)
    for name in SOURCES:
        if (path / name).is_file():
            return path / name
    raise TokenizerError("holds no tokenizer", where=path, hint=_HINT)


def writer_for(source: Path) -> Callable[[Path, Path], None] | None:
    """What writes tokenizer files of a model file into a folder; None for a file that is a tokenizer's own.

    Other packages bring one by an entry point of the group `lilims.tokenizer_files` with the ending as its name.

    Raises:
        TokenizerError: the file's ending is a model's, and the package that reads it is not installed.
    """
    if source.suffix != ".gguf":
        return None
    from importlib.metadata import entry_points

    for entry in entry_points(group=WRITERS, name="gguf"):
        write: Callable[[Path, Path], None] = entry.load()
        return write
    raise TokenizerError("GGUF files are read by another package", where=source, hint="pip install lilims-conversion")


def tokenizer_files(folder: Path | str) -> list[Path]:
    """The files that `Tokenizer.load(folder)` reads, chat templates too: what a model folder needs a copy of.

    All are in `folder` itself but the templates beside the default one, which are in `additional_chat_templates`.
    (generation_config.json, which it reads as well, belongs to the model.)

    Raises:
        TokenizerError: the folder holds no tokenizer, or one of its two files is missing.
    """
    folder = Path(folder)
    source = find_source(folder)
    files = [source]
    if source.name == "vocab.json":
        merges = folder / "merges.txt"
        if not merges.is_file():
            raise TokenizerError("there is no merges.txt beside it", where=source, hint=_HINT)
        files.append(merges)
    files += [folder / name for name in SIDE_FILES if (folder / name).is_file()]
    return files + sorted(path for path in (folder / _TEMPLATES).glob("*.jinja") if path.is_file())
