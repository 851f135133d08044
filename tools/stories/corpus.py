"""From stories to token ids: the corpus, the byte-level BPE tokenizer, the packed windows.

A document is ``<|endoftext|>`` followed by a story; documents are packed end to end, so that the token that
ends one story begins the next. It knows nothing about models.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import grammar
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from tokenizers import Tokenizer

END = "<|endoftext|>"
CONTEXT = 512
TOKENIZER_STORIES = 20_000
VALIDATION_SEED = 1_000_000  # heldout.txt starts at seed 0, so the two never meet
VALIDATION_STORIES = 120
Ids = NDArray[np.uint16]


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> Tokenizer:
    """Byte-level BPE; ``<|endoftext|>`` is id 0, put before every encoded text as its beginning."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[END],
        show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{END} $A", pair=f"{END} $A {END} $B:1", special_tokens=[(END, 0)]
    )
    return tokenizer


def tokenizer_files(tokenizer: Tokenizer, folder: Path) -> None:
    """tokenizer.json, tokenizer_config.json and special_tokens_map.json, as transformers reads them."""
    tokenizer.save(str(folder / "tokenizer.json"))
    special = {"bos_token": END, "eos_token": END, "unk_token": END}
    settings = {
        **special,
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": CONTEXT,
        "clean_up_tokenization_spaces": False,
        "add_prefix_space": False,
    }
    for name, content in (("tokenizer_config.json", settings), ("special_tokens_map.json", special)):
        (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def encode(tokenizer: Tokenizer, stories: Iterable[grammar.Story]) -> Ids:
    """Every story as ``<|endoftext|>`` and its tokens, end to end, closed by one more ``<|endoftext|>``."""
    ids: list[int] = []
    batch: list[str] = []
    for story in stories:
        batch.append(story.text)
        if len(batch) == 2000:
            ids += (i for encoding in tokenizer.encode_batch(batch) for i in encoding.ids)
            batch.clear()
    ids += (i for encoding in tokenizer.encode_batch(batch) for i in encoding.ids)
    return np.array([*ids, 0], np.uint16)


def prepare(work: Path, stories: int, vocabulary: int) -> tuple[Tokenizer, Ids, Ids]:
    """Tokenizer, training ids and validation ids, made once and kept in ``work``."""
    from tokenizers import Tokenizer

    work.mkdir(parents=True, exist_ok=True)
    files = [work / name for name in ("tokenizer.json", "train.npy", "valid.npy")]
    if not all(file.exists() for file in files):
        first = (story.text for story in grammar.stories(min(TOKENIZER_STORIES, stories)))
        tokenizer = train_tokenizer(first, vocabulary)
        tokenizer_files(tokenizer, work)
        np.save(files[1], encode(tokenizer, grammar.stories(stories)))
        np.save(files[2], encode(tokenizer, grammar.stories(VALIDATION_STORIES, "heldout", first=VALIDATION_SEED)))
    return Tokenizer.from_file(str(files[0])), np.load(files[1], mmap_mode="r"), np.load(files[2])


def held_out_text(tokenizer: Tokenizer, tokens: int) -> str:
    """At least ``tokens`` tokens of held-out stories, each closed by ``<|endoftext|>``; none is a validation story."""
    parts: list[str] = []
    count = 0
    for story in grammar.stories(10_000, "heldout"):
        parts.append(story.text + END)
        count += len(tokenizer.encode(story.text).ids)
        if count >= tokens:
            break
    return "".join(parts)
