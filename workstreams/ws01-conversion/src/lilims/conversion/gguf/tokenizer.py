"""The tokenizer of a GGUF file as files of its own, for `lilims.tokenizer.Tokenizer.load("model.gguf")`.

Knows which parts of this package make them. Must not know how.
"""

from __future__ import annotations

from pathlib import Path

from lilims.core.errors import TokenizerError
from lilims.core.files import write_json

from .files import GGUFFiles
from .vocabulary import read_vocabulary, write_tokenizer

__all__ = ["write_files"]


def write_files(path: Path, folder: Path) -> None:
    """Writes the tokenizer of the GGUF file `path` into `folder`, with the ids that end a text.

    Raises:
        CheckpointError: the file is damaged.
        TokenizerError: it has no tokenizer, or one that lilims does not know.
    """
    vocabulary = read_vocabulary(path, GGUFFiles(path).metadata)
    if vocabulary is None:
        raise TokenizerError("holds no tokenizer", where=path, hint="take the tokenizer of the model it was made from")
    write_tokenizer(vocabulary, folder)
    write_json(folder / "generation_config.json", {"eos_token_id": vocabulary.ends})
