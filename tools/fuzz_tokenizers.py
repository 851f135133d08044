"""Holds every tokenizer against the library that its format comes from, on texts made from seeds.

    python tools/fuzz_tokenizers.py --minutes 30 --seed 1      all tokenizers, in turn
    python tools/fuzz_tokenizers.py --case mistral:1:4711      one case again, with the text

A difference is: other ids than the reference's; another decoded text; the id of a special token from plain text; a
stream whose pieces do not join to the decoded text, or that gives half a character; a batch unlike its texts.
Lone halves of surrogate pairs count as U+FFFD, as the references take none. Needs sentencepiece, tiktoken and
transformers, and the test data beside the checkout.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from fuzz.references import Subject, make_subjects
from fuzz.texts import make_text
from lilims.core.testing import test_data
from lilims.tokenizer import StreamDecoder
from lilims.tokenizer.parts import scalar_values

CORPORA = ("text/wiki.test.raw", "text/tinyshakespeare.txt", "tokenizers/sentencepiece/botchan.txt")
TURN = 50  # cases before the next tokenizer's turn
SHOWN = 20  # differences that are printed


def differences(subject: Subject, raw: str, rng: Random) -> Iterator[str]:
    """What is wrong with one text."""
    tokenizer, text = subject.tokenizer, scalar_values(raw)
    ids = tokenizer.encode(raw, add_special_tokens=False)
    wanted = subject.encode(text)
    if ids != wanted:
        at = next((n for n, (a, b) in enumerate(zip(ids, wanted, strict=False)) if a != b), min(len(ids), len(wanted)))
        yield f"ids differ at {at}: {ids[at : at + 6]}, reference {wanted[at : at + 6]}"
    if found := subject.special.intersection(ids):
        yield f"special tokens {sorted(found)} from plain text"
    if tokenizer.encode_batch([raw, "", raw], add_special_tokens=False) != [ids, tokenizer.encode("", False), ids]:
        yield "a batch differs from its texts"
    some = [rng.randrange(tokenizer.vocab_size) for _ in range(8)]
    for part in (wanted, wanted[: rng.randint(0, len(wanted))], some):
        decoded = tokenizer.decode(part)
        if subject.decode is not None and decoded != subject.decode(part):
            yield f"decoded {decoded[:60]!r}, reference {subject.decode(part)[:60]!r}"
        stream = StreamDecoder(tokenizer)
        pieces = [stream.push(i) for i in part] + [stream.finish()]
        if "".join(pieces) != decoded:
            yield f"streamed {''.join(pieces)[:60]!r}, decoded {decoded[:60]!r}"
        if part is wanted and "\ufffd" not in text and "\ufffd" in "".join(pieces) and subject.lossless:
            yield "a stream gave half a character"


def case(subject: Subject, seed: int, number: int, corpora: list[str]) -> tuple[str, list[str]]:
    """The text of a case, and what is wrong with it."""
    rng = Random(f"{seed}:{number}")
    text = make_text(rng, corpora)
    try:
        return text, list(differences(subject, text, rng))
    except Exception as exc:
        return text, [f"{type(exc).__name__}: {exc}"]


@dataclass
class Run:
    """All tokenizers by turns until the time is up."""

    subjects: dict[str, Subject]
    corpora: list[str]
    seed: int
    counts: Counter[str]
    found: list[str]

    def until(self, end: float, clock: Callable[[], float] = time.monotonic) -> None:
        first = 0
        while clock() < end:
            for name, subject in self.subjects.items():
                for number in range(first, first + TURN):
                    text, wrong = case(subject, self.seed, number, self.corpora)
                    self.counts[name] += 1
                    self.found += [f"{name}:{self.seed}:{number}: {one}" for one in wrong]
                    if wrong and len(self.found) <= SHOWN:
                        print(f"{self.found[-1]}\n    {text[:120]!r}", flush=True)
                if clock() >= end:
                    break
            first += TURN


def main(arguments: list[str]) -> int:
    """Prints differences as they come, and a JSON object at the end; 1 if there were any."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--case", help="tokenizer:seed:number")
    parser.add_argument("--only", action="append", help="a tokenizer, as often as wanted")
    given = parser.parse_args(arguments)
    corpora = [test_data(path).read_text("utf-8") for path in CORPORA]
    with tempfile.TemporaryDirectory() as folder:
        names = [given.case.split(":")[0]] if given.case else given.only
        subjects = make_subjects(Path(folder), names)
        if given.case:
            name, seed, number = given.case.split(":")
            text, wrong = case(subjects[name], int(seed), int(number), corpora)
            print(repr(text), *wrong, sep="\n")
            return bool(wrong)
        begun = time.monotonic()
        run = Run(subjects, corpora, given.seed, Counter(), [])
        run.until(begun + 60 * given.minutes)
    minutes = round((time.monotonic() - begun) / 60, 1)
    summary: dict[str, Any] = {"seed": given.seed, "minutes": minutes, "cases": dict(run.counts)}
    print(json.dumps(summary | {"differences": len(run.found)}))
    return bool(run.found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
