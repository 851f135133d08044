"""The best pieces of a text by a unigram model, rounded as google/sentencepiece rounds.

Knows `Model::EncodeOptimized` of google/sentencepiece's unigram_model.cc, as the package of version 0.2.3 does it. Must
not know files, or what happens to text first.

The score of a path is kept in float32 and begins anew behind -100,000, so which of two splits of nearly the same score
wins depends on all that comes before. The library `tokenizers` adds up in float64 and differs already where `000` is
`00`+`0` or `0`+`00`.

No piece goes over the edges of what is called a word here, so words are searched one by one. How a word splits is
remembered, with the score of the text before it up to which rounding cannot change that; beyond, it is searched again.
"""

from __future__ import annotations

import re
from array import array
from typing import NamedTuple

from .decoding import byte_of
from .sentencepiece_model import PieceType, SentencePieceModel

__all__ = ["Unigram"]

_UNKNOWN_PENALTY = 10.0
_BONUS = 0.1  # of a user-defined symbol, for each byte but one
_LOWEST, _NEARLY = -100_000.0, -98_000.0  # a path's score where it begins anew; where sums in float64 may be there
_REMEMBERED, _LONGEST = 1 << 16, 64  # words, and characters of one
_MISSING, _PREFIX = (-2, 0.0), (-1, 0.0)


class _Split(NamedTuple):
    """How a word is split.

    Attributes:
        ids: its pieces, the bytes of those that are in no piece.
        scores: of its pieces.
        total: their sum.
        after: the score of the text with the word.
        lowest: the split is the same behind a text of this score, or one nearer to 0; infinite where it never is.
    """

    ids: tuple[int, ...]
    scores: tuple[float, ...]
    total: float
    after: float
    lowest: float


_NEVER = _Split((), (), 0.0, 0.0, float("inf"))


class Unigram:
    """Splits normalised text."""

    def __init__(self, model: SentencePieceModel) -> None:
        normal = [piece.score for piece in model.pieces if piece.type is PieceType.NORMAL]
        self._unknown = model.unknown
        self._byte_ids = {byte_of(p.text): i for i, p in enumerate(model.pieces) if p.type is PieceType.BYTE}
        self._unknown_score = _float32(min(normal, default=0.0) - _UNKNOWN_PENALTY)
        self._table: dict[str, tuple[int, float]] = {}
        within: set[str] = set()
        for i, (text, score, kind) in enumerate(model.pieces):
            if kind not in (PieceType.NORMAL, PieceType.USER_DEFINED, PieceType.UNUSED):
                continue
            if kind is PieceType.USER_DEFINED:
                score = _float32(_BONUS * (len(text.encode()) - 1))
            for end in range(1, len(text)):
                self._table.setdefault(text[:end], _PREFIX)
            if kind is not PieceType.UNUSED:
                self._table[text] = (i, score)
            within.update(text[1:])
        inner = "".join(map(re.escape, sorted(within)))
        self._words = re.compile(f"[\\s\\S][{inner}]*" if inner else r"[\s\S]")
        self._splits: dict[str, _Split] = {}

    def encode(self, text: str) -> list[int]:
        """The ids of the best pieces."""
        ids: list[int] = []
        total = exact = 0.0
        waiting: list[tuple[float, ...]] = []  # scores that `total` has and `exact` has not
        for word in self._words.findall(text):
            split = self._splits.get(word) or self._remembered(word)
            if not split.lowest <= total <= -split.lowest:
                for scores in waiting:
                    exact = _sum(scores, exact)
                waiting.clear()
                split = self._split(word, exact)
                total = exact = split.after
            else:
                total += split.total
                waiting.append(split.scores)
            ids += split.ids
        return ids if self._byte_ids else self._joined(ids)

    def _joined(self, ids: list[int]) -> list[int]:
        """A run of what is in no piece is one unknown piece."""
        unknown = self._unknown
        if unknown not in ids:
            return ids
        return [i for n, i in enumerate(ids) if i != unknown or not n or ids[n - 1] != unknown]

    def _remembered(self, word: str) -> _Split:
        if len(word) > _LONGEST:
            return _NEVER
        split = self._split(word, 0.0)
        if len(self._splits) >= _REMEMBERED:
            self._splits.clear()
        self._splits[word] = split
        return split

    def _split(self, word: str, before: float) -> _Split:
        """The best path through `word` behind a text of the score `before`."""
        ends, after, gap, largest = self._search(word, before)
        spans: list[tuple[int, int, int, float]] = []
        end = len(word)
        while end:
            i, start, score = ends[end]
            spans.append((i, start, end, score))
            end = start
        spans.reverse()
        ids: list[int] = []
        for i, start, end, _ in spans:
            spelled = i == self._unknown and self._byte_ids
            ids += [self._byte_ids[byte] for byte in word[start:end].encode()] if spelled else [i]
        scores = tuple(score for _, _, _, score in spans)
        # Each of len(word) roundings errs by up to 2^-24 of the value, on both sides of a comparison, here and there;
        # twice that, as the score that `encode` asks with is a sum in float64.
        lowest = max(2 * largest - gap * 2.0**22 / len(word), _NEARLY + largest)
        return _Split(tuple(ids), scores, sum(scores), after, lowest if largest < -_NEARLY else float("inf"))

    def _search(self, word: str, before: float) -> tuple[list[tuple[int, int, float]], float, float, float]:
        """For each end the last piece, its start and its score; the whole's; the smallest lead; the largest score."""
        table, size, single = self._table, len(word), array("f", [before])
        best = [single[0]] + [0.0] * size
        ends = [(-1, -1, 0.0)] * (size + 1)
        gap, largest, reached = float("inf"), 0.0, 0
        for start in range(size):
            if best[start] < _LOWEST:
                offset, best[start] = best[start], 0.0
                for end in range(start + 1, reached + 1):
                    best[end] = _float32(best[end] - offset)
            here, alone = best[start], False
            found = []
            for end in range(start + 1, size + 1):
                i, score = table.get(word[start:end], _MISSING)
                if i >= 0:
                    found.append((i, score, end))
                    alone = alone or end == start + 1
                elif i == _MISSING[0]:
                    break
            if not alone:
                found.append((self._unknown, self._unknown_score, start + 1))
            for i, score, end in found:
                single[0] = score + here
                candidate = single[0]
                first = ends[end][1] < 0
                if not first:
                    gap = min(gap, abs(candidate - best[end]))
                if first or candidate > best[end]:
                    best[end], ends[end] = candidate, (i, start, score)
                largest = max(largest, abs(candidate))
                reached = max(reached, end)
        return ends, best[size], gap, largest


def _float32(value: float) -> float:
    return array("f", [value])[0]


def _sum(values: tuple[float, ...], start: float) -> float:
    """Adds one after the other, each sum rounded to float32."""
    single = array("f", [start])
    for value in values:
        single[0] += value
    return single[0]
