"""Moderation: a trained classifier of offensive text, and the gate that holds an answer back until it has been read.

The classifier is alt-profanity-check's: a linear support vector machine over a text's words, trained on 200,000
labelled comments, English only, shipped inside its package (the extra `moderation`). docs/web-chat.md has what it finds
and what it misses. Knows texts. Must not know who is moderated, nor why.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from importlib.util import find_spec

from .errors import NotAllowedError

__all__ = ["THRESHOLD", "Gate", "available", "flagged", "score"]

THRESHOLD = 0.5  # of the classifier's probability; docs/web-chat.md has precision and recall at others
_LONGEST = 400  # characters that are held back where a sentence does not end
_END = re.compile(r"[.!?…。！？](?=[\s\"'”’)\]])|\n")
_MARKUP = re.compile(r"[*_`~#>|]+")  # **dr**awn apart, a word is one all the same


def available() -> bool:
    """Whether the classifier is installed."""
    return find_spec("profanity_check") is not None


@lru_cache(maxsize=1)
def _classifier() -> Callable[[list[str]], list[float]]:
    try:
        from profanity_check import predict_prob
    except ImportError as error:
        raise NotAllowedError(
            "moderation needs a package that is not installed",
            code="moderation_missing",
            hint="pip install 'lilims-ui[moderation]', then start the server again",
        ) from error
    return lambda texts: [float(value) for value in predict_prob(texts)]


def sentences(text: str) -> list[str]:
    """The sentences of a text, and its lines."""
    found, begin = [], 0
    for end in _END.finditer(text):
        found.append(text[begin : end.end()])
        begin = end.end()
    return [part for part in (*found, text[begin:]) if part.strip()]


def score(text: str) -> float:
    """The highest probability that the classifier gives to a sentence of a text for being offensive; 0 for none.

    Raises:
        NotAllowedError: the classifier is not installed.
    """
    parts = [_MARKUP.sub("", part) for part in sentences(text)]
    return max(_classifier()(parts)) if parts else 0.0


def flagged(text: str) -> bool:
    """Whether a sentence of a text is offensive in the classifier's eyes.

    Raises:
        NotAllowedError: the classifier is not installed.
    """
    return score(text) >= THRESHOLD


class Gate:
    """What an answer passes on its way out: whole sentences, each of them read before it is let through."""

    def __init__(self, judge: Callable[[str], bool] = flagged) -> None:
        self._judge = judge
        self._held = ""
        self.closed = False

    def feed(self, text: str, *, last: bool = False) -> str:
        """Takes more of the answer; returns what may be shown now. Once something was flagged, nothing any more."""
        if self.closed:
            return ""
        self._held += text
        ends = [end.end() for end in _END.finditer(self._held)]
        cut = ends[-1] if ends else 0
        if last or len(self._held) - cut > _LONGEST:
            cut = len(self._held)
        ready, self._held = self._held[:cut], self._held[cut:]
        if ready.strip() and self._judge(ready):
            self.closed, self._held = True, ""
            return ""
        return ready
