"""The token ids that a model is calibrated on: windows of a text, or of what the model itself writes.

Knows texts and tokenizers. Must not know what is done with the windows.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from lilims.core import version
from lilims.core.errors import TokenizerError, UsageError
from lilims.core.events import emit
from lilims.core.files import write_atomic
from lilims.core.paths import cache_dir

from ..evaluation.texts import read_text
from ..prepare import Prepared
from .shelf import DAMAGED

__all__ = ["SELF", "TOKENS", "Windows", "calibration_windows", "held_out"]

SELF = "self"
"""Names the text that the model writes itself."""
TOKENS = 8192  # if nobody says
"""Tokens of a text that are taken where nobody says how many."""
_SIZE = 512  # tokens of a window, at most
_LEAST = 16
_SEED = 1_000_000  # far from the seeds of texts to measure on
_SHARE = 4  # one window of so many is held out


@dataclass(frozen=True)
class Windows:
    """Token ids, all windows of one length.

    Attributes:
        text: its name, for people.
    """

    text: str
    ids: tuple[tuple[int, ...], ...] = field(repr=False)

    @property
    def size(self) -> int:
        """Tokens of a window."""
        return len(self.ids[0])

    @property
    def tokens(self) -> int:
        """Of all windows."""
        return self.size * len(self.ids)

    @property
    def sha256(self) -> str:
        """Of the ids."""
        return hashlib.sha256(np.asarray(self.ids, "<i8").tobytes() + str(self.size).encode()).hexdigest()


def held_out(windows: Windows) -> tuple[Windows, Windows]:
    """Three quarters to calibrate on, and every fourth window, which is not seen by that.

    Raises:
        UsageError: there are fewer than four.
    """
    if len(windows.ids) < _SHARE:
        raise UsageError(
            f"{windows.text!r} fills {len(windows.ids)} windows of {windows.size} tokens, too few to hold one out",
            hint=f"--calibration-tokens {_SHARE * windows.size} or more, of a text as long; or --heldout TEXT",
        )
    rest = tuple(ids for index, ids in enumerate(windows.ids) if (index + 1) % _SHARE)
    return replace(windows, ids=rest), replace(windows, ids=windows.ids[_SHARE - 1 :: _SHARE])


def calibration_windows(
    wanted: str, given: Prepared, context: int, tokens: int, convert: Callable[[Path], object]
) -> Windows:
    """Windows, spread evenly over the text where it has more tokens than are wanted.

    Args:
        wanted: `self`, `builtin`, one of `lilims data`, or a file.
        given: the checkpoint, whose tokenizer reads the text.
        context: of the model: no window is longer.
        tokens: about as many are taken.
        convert: converts the checkpoint as it is into a folder, for `self`.

    Raises:
        UsageError: fewer tokens are wanted than a window has, or the text has fewer.
        InputError: the text cannot be read.
        TokenizerError: the checkpoint has no tokenizer, or a damaged one.
    """
    size = min(context, _SIZE, tokens)
    if size < _LEAST:
        raise UsageError(f"calibration on windows of {size} tokens says nothing", hint=f"take {_LEAST} or more")
    if wanted == SELF:
        return Windows(SELF, _written(given, size, tokens // size, convert))
    from lilims.tokenizer import Tokenizer, has_tokenizer

    folder = given.checkpoint.companions
    if not has_tokenizer([path.name for path in folder.iterdir()]):
        raise TokenizerError("has no tokenizer to read a text with", where=folder, hint="--calibrate self takes none")
    tokenizer, text = Tokenizer.load(folder), read_text(wanted)
    ids = tokenizer.encode(text.content, parse_special=text.special)
    if len(ids) < size:
        raise UsageError(
            f"the text {text.name!r} has {len(ids)} tokens, a window {size}", hint="name a longer text, or `self`"
        )
    there = len(ids) // size
    places = [index * there // min(there, tokens // size) for index in range(min(there, tokens // size))]
    begins = tokenizer.encode("")[:1]  # the id that the tokenizer itself puts before a text, if it does
    found = [[*begins, *ids[place * size : (place + 1) * size]][:size] for place in places]
    return Windows(text.name, tuple(map(tuple, found)))


def _written(given: Prepared, size: int, count: int, convert: Callable[[Path], object]) -> tuple[tuple[int, ...], ...]:
    """What the model writes: drawn from its own distribution, behind its BOS. It is kept in the cache folder."""
    from lilims.runtime import load

    first = given.tokens.bos if given.tokens.bos is not None else (given.tokens.eos or [0])[0]
    path = _kept(given, size, count, first)
    with contextlib.suppress(*DAMAGED):
        kept = np.load(path, allow_pickle=False)
        ids = kept.shape == (count, size) and kept.dtype == "<i8"
        if ids and kept.min() >= 0 and kept.max() < given.spec.vocab_size:
            return tuple(tuple(map(int, row)) for row in kept)
    found = []
    with tempfile.TemporaryDirectory(prefix="lilims-self-") as name:
        folder = Path(name) / "model"
        convert(folder)
        model = load(folder, executor="portable")
        for index in range(count):
            drawn = model.generate(
                [first], max_tokens=size - 1, ignore_eos=True, temperature=1.0, top_k=0, top_p=1.0, seed=_SEED + index
            )
            found.append((first, *(token.id for token in drawn)))
            emit("calibrate.text", done=index + 1, total=count)
    buffer = io.BytesIO()
    np.save(buffer, np.asarray(found, "<i8"))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, buffer.getvalue())
    return tuple(found)


def _kept(given: Prepared, size: int, count: int, first: int) -> Path:
    what = [given.checkpoint.sha256, given.spec.stream_scale, size, count, first, version()]
    return cache_dir() / "calibration" / "texts" / f"{hashlib.sha256(json.dumps(what).encode()).hexdigest()}.npy"
