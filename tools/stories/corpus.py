"""From stories to token ids: the corpus, the byte-level BPE tokenizer, the packed windows.

A document is ``<|endoftext|>`` followed by a story; documents are packed end to end, so that the token that
ends one story begins the next. It knows nothing about models.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from itertools import islice
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


def remembered(story: grammar.Story) -> list[tuple[int, int]]:
    """Where in its text a story says again what it has drawn (a name, an object, a pronoun): character ranges.

    The first mention of a word is news, so it does not count.
    """
    seen: set[str] = set()
    spans = []
    for match in re.finditer(r"[A-Za-z]+", story.text):
        word = match[0].lower()
        if word in seen:
            spans.append(match.span())
        elif word in story.drawn:
            seen.add(word)
    return spans


def encode(tokenizer: Tokenizer, stories: Iterable[grammar.Story]) -> tuple[Ids, Ids]:
    """Every story as ``<|endoftext|>`` and its tokens, end to end, closed by one more ``<|endoftext|>``.

    Beside the ids, for each token, whether it is part of what has to be :func:`remembered` (1 or 0).
    """
    ids, flags = [np.zeros(0, np.uint16)], [np.zeros(0, np.uint16)]
    iterator = iter(stories)
    while batch := list(islice(iterator, 2000)):
        for story, encoding in zip(batch, tokenizer.encode_batch([story.text for story in batch]), strict=True):
            starts = np.array([0, *(end - 1 for _, end in encoding.offsets[1:])])  # a token's last letter decides
            edges = np.array(remembered(story), int).reshape(-1)
            ids.append(np.array(encoding.ids, np.uint16))
            flags.append((np.searchsorted(edges, starts, side="right") % 2).astype(np.uint16))
    return np.concatenate([*ids, [0]]).astype(np.uint16), np.concatenate([*flags, [0]]).astype(np.uint16)


def prepare(work: Path, stories: int, vocabulary: int, first: int = 0) -> tuple[Tokenizer, Ids, Ids, Ids]:
    """Tokenizer, ids and flags of the training stories from seed ``first`` on, validation ids.

    Each is made once and kept in ``work``; a tokenizer that is there stays, so that training can go on with other data.
    """
    from tokenizers import Tokenizer

    work.mkdir(parents=True, exist_ok=True)
    if not (work / "tokenizer.json").exists():
        texts = (story.text for story in grammar.stories(min(TOKENIZER_STORIES, stories)))
        tokenizer_files(train_tokenizer(texts, vocabulary), work)
    tokenizer = Tokenizer.from_file(str(work / "tokenizer.json"))
    names = (f"ids-{first}-{stories}.npy", f"remembered-{first}-{stories}.npy")
    if not all((work / name).exists() for name in names):
        for name, array in zip(names, encode(tokenizer, grammar.stories(stories, first=first)), strict=True):
            np.save(work / name, array)
    valid, _ = encode(tokenizer, grammar.stories(VALIDATION_STORIES, "heldout", first=VALIDATION_SEED))
    ids, flags = (np.load(work / name, mmap_mode="r") for name in names)
    return tokenizer, ids, flags, valid


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
