"""Seeded short stories for children: who takes part, which plot, and the beats in order.

``story(seed)`` is a pure function of its seed and split. Plots are text files in ``plots/`` (format: README.md beside
this file); words are in :mod:`grammar_lexicon` and :mod:`grammar_records`. Stories of the split "heldout" use names
that no training story has, and every second one a plot that no training story has.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Literal

import grammar_lexicon as lexicon
import grammar_records as records
from grammar_realise import Slot, expand, tidy

Split = Literal["train", "heldout"]
PLOTS = Path(__file__).parent / "plots"
WORDS = range(80, 261)  # a story outside this length is drawn again
PRONOUNS = {"he": ("he", "him", "his", "himself"), "she": ("she", "her", "her", "herself")}
IRREGULAR_PLURALS = {"mouse": "mice", "dormouse": "dormice", "puppy": "puppies", "bunny": "bunnies", "fox": "foxes"}
SPECIALS = {
    "wise": lexicon.WISE_ANIMALS,
    "bird": lexicon.BIRDS,
    "big": lexicon.BIG_ANIMALS,
    "small": lexicon.SMALL_ANIMALS,
}
THINGS = {"toy": lexicon.THINGS, "flyer": lexicon.FLYERS, "floater": lexicon.FLOATERS}


@dataclass(frozen=True)
class Plot:
    """A skeleton: which slots it needs, and its beats; each beat is a list of alternative templates."""

    name: str
    uses: dict[str, str]
    closing: bool  # whether a general last sentence may follow
    beats: tuple[tuple[str, ...], ...]  # the beat (">>>",) starts a paragraph


@dataclass
class Character:
    """Somebody with a name, and the words that agree; first "Bobo the fox", later "Bobo"."""

    name: str
    gender: str
    kind: str
    adjective: str
    trait: str
    build: str = "hands"
    limb: str = "hand"
    human: bool = False
    introduced: bool = False

    def field(self, name: str, rng: random.Random) -> str:
        if name in ("he", "him", "his", "himself"):
            return PRONOUNS[self.gender][("he", "him", "his", "himself").index(name)]
        first, self.introduced = not self.introduced, self.introduced or name in ("a", "text", "intro", "name")
        if name == "a":
            return f"a {self.adjective} {self.kind}"
        if first and name in ("text", "intro"):
            from_where = rng.choice(("next door", "school", "the next street", "across the road"))
            return f"{self.name} from {from_where}" if self.human else f"{self.name} the {self.kind}"
        if name == "plural":
            return IRREGULAR_PLURALS.get(self.kind, self.kind + "s")
        return {
            "text": self.name,
            "intro": self.name,
            "name": self.name,
            "kind": self.kind,
            "trait": self.trait,
            "build": self.build,
            "limb": self.limb,
        }[name]


@dataclass
class Thing:
    """An object that keeps its looks through the story: "red kite" at first, later "red kite" or "kite"."""

    noun: str
    look: str
    mentioned: bool = field(default=False)

    def field(self, name: str, rng: random.Random) -> str:
        full = f"{self.look} {self.noun}"
        if name == "text":
            short = self.mentioned and rng.random() < 0.3
            self.mentioned = True
            return self.noun if short else full
        return {"noun": self.noun, "full": full}[name]


@dataclass(frozen=True)
class Entry:
    """A record of a table; ``noun`` is its head word where the table does not say."""

    record: lexicon.Record

    def field(self, name: str, rng: random.Random) -> str:
        if name == "noun" and name not in self.record:
            return self.record["text"].split(" of ")[0].split()[-1]
        return self.record[name]


@dataclass(frozen=True)
class Relative:
    """An elder of the family, who has no name of their own."""

    word: str
    gender: str

    def field(self, name: str, rng: random.Random) -> str:
        return self.word if name == "text" else PRONOUNS[self.gender][("he", "him", "his", "himself").index(name)]


@dataclass(frozen=True)
class Story:
    """One story, and what was drawn for it."""

    text: str
    plot: str
    hero: Character
    names: tuple[str, ...]
    drawn: frozenset[str]  # the words that its slots said, in lower case: what a reader has to remember


@cache
def plots(split: Split) -> tuple[Plot, ...]:
    """The skeletons of a split, in a fixed order."""
    files = sorted(path for path in PLOTS.glob("*.txt") if path.stem != "openings")
    chosen = [path for path in files if (path.stem == "heldout") == (split == "heldout")]
    return tuple(plot for path in chosen for plot in _parse(path))


@cache
def _frame() -> dict[str, tuple[str, ...]]:
    return {plot.name: plot.beats[0] for plot in _parse(PLOTS / "openings.txt")}


def _parse(path: Path) -> list[Plot]:
    found = []
    for block in path.read_text(encoding="ascii").split("=== ")[1:]:
        head, *lines = block.strip().splitlines()
        uses: dict[str, str] = {}
        closing = True
        beats: list[list[str]] = [[]]
        for line in lines:
            if line.startswith("use "):
                uses = dict(pair.split("=", 1) for pair in line[4:].split())
            elif line == "no closing":
                closing = False
            elif not line:
                beats.append([])
            elif line == ">>>":
                beats += [[line], []]
            elif line[:2] in ("- ", "? "):
                beats[-1] += [line[2:]] if line[0] == "-" else [line[2:], ""]
            else:
                raise ValueError(
                    f"{path.name}: {head}: a line must start with '- ', '? ', 'use ' or be '>>>': {line!r}"
                )
        found.append(Plot(head.strip(), uses, closing, tuple(tuple(beat) for beat in beats if beat)))
    return found


def _invented(split: Split, rng: random.Random) -> str:
    """A name put together from parts; one in ``HELD_OUT_EVERY`` of all that there are belongs to the other split."""
    taken = (lexicon.NOT_NAMES, *lexicon.NAMES.values(), *lexicon.HELD_OUT_NAMES.values())
    while True:
        name = "".join(rng.choice(parts) for parts in rng.choice(lexicon.NAME_PARTS))
        held_out = sum(name.encode()) % lexicon.HELD_OUT_EVERY == 0
        refused = any(name in names for names in taken) or any(part in name.lower() for part in lexicon.NOT_WITHIN)
        if 2 < len(name) < 10 and held_out == (split == "heldout") and not refused:
            return name


class _Casting:
    """Draws characters that differ in name and kind, and everything else a plot asks for."""

    def __init__(self, split: Split, rng: random.Random) -> None:
        self.split, self.rng = split, rng
        self.world = "child" if rng.random() < 0.4 else "animal"
        self.names: list[str] = []
        self.kinds: set[str] = set()

    def name(self, gender: str) -> str:
        table = lexicon.NAMES if self.split == "train" else lexicon.HELD_OUT_NAMES
        while True:
            invented = self.rng.random() < 0.6
            name = _invented(self.split, self.rng) if invented else self.rng.choice(table[gender])
            if name not in self.names:
                self.names.append(name)
                return name

    def kind(self, table: list[lexicon.Record]) -> lexicon.Record:
        entry = self.rng.choice([entry for entry in table if entry["text"] not in self.kinds])
        self.kinds.add(entry["text"])
        return entry

    def character(self) -> Character:
        """A hero or a friend: a child in the world of children (its friend may be an animal), else an animal."""
        rng, gender = self.rng, self.rng.choice(("he", "she"))
        size, trait = rng.choice(lexicon.SIZES), rng.choice(lexicon.TRAITS)["text"]
        if self.world == "child" and (not self.names or rng.random() < 0.6):
            return Character(self.name(gender), gender, "boy" if gender == "he" else "girl", size, trait, human=True)
        kind = self.kind(lexicon.KINDS)
        return Character(self.name(gender), gender, kind["text"], size, trait, kind["build"], kind["limb"])

    def special(self, role: str) -> Character:
        rng, gender = self.rng, self.rng.choice(("he", "she"))
        table = lexicon.WISE_FOLK if role == "wise" and self.world == "child" and rng.random() < 0.5 else SPECIALS[role]
        kind = self.kind(table)["text"]
        if kind == "fisherman":
            gender = "he"
        return Character(self.name(gender), gender, kind, rng.choice(lexicon.LOOKS[role]), rng.choice(("kind", "wise")))

    def thing(self, role: str) -> Thing:
        looks, nouns = self.rng.choice(THINGS[role])
        own = self.rng.random() < 0.4
        return Thing(self.rng.choice(nouns), self.rng.choice(looks if own else lexicon.ANY_LOOKS))

    def cast(self, plot: Plot) -> dict[str, Slot]:
        rng = self.rng
        hero = self.character()
        hero.introduced = True
        gender = rng.choice(("he", "she"))
        slots: dict[str, Slot] = {
            "h": hero,
            "elder": Relative(rng.choice(lexicon.FAMILY[gender])["text"], gender),
            "home": Entry({"text": rng.choice(lexicon.HOMES[self.world])}),
            "place": Entry(rng.choice(lexicon.PLACES[self.world])),
            "weather": Entry(rng.choice(lexicon.WEATHERS)),
        }
        taken: list[str] = []
        for slot, source in plot.uses.items():
            if source == "character":
                slots[slot] = self.character()
            elif source in SPECIALS:
                slots[slot] = self.special(source)
            elif source in THINGS:
                slots[slot] = self.thing(source)
            else:
                table: list[lexicon.Record] = getattr(lexicon, source, None) or getattr(records, source)
                entry = rng.choice([entry for entry in table if next(iter(entry.values())) not in taken])
                taken.append(next(iter(entry.values())))
                slots[slot] = Entry(entry)
        return slots


def _draft(plot: Plot, split: Split, rng: random.Random) -> Story:
    casting = _Casting(split, rng)
    cast = casting.cast(plot)
    parts = [rng.choice(_frame()["opening"])]
    parts += [rng.choice(beat) for beat in plot.beats]
    if plot.closing and rng.random() < 0.5:
        parts.append(rng.choice(_frame()["closing"]))
    paragraphs, drawn = [""], list[str]()
    for part in parts:
        if part == ">>>":
            paragraphs.append("")
        else:
            paragraphs[-1] += " " + expand(part, cast, rng, drawn)
    hero = cast["h"]
    assert isinstance(hero, Character)
    words = frozenset(" ".join(drawn).lower().split()) - lexicon.FUNCTION_WORDS
    return Story("\n\n".join(tidy(p) for p in paragraphs), plot.name, hero, tuple(casting.names), words)


def story(seed: int, split: Split = "train") -> Story:
    """The story of a seed: 80 to 260 words of ASCII in two to four paragraphs."""
    rng = random.Random(f"{split}/{seed}")
    while True:
        table = plots("heldout") if split == "heldout" and seed % 2 else plots("train")
        draft = _draft(rng.choice(table), split, rng)
        if len(draft.text.split()) in WORDS:
            return draft


def stories(count: int, split: Split = "train", first: int = 0) -> Iterator[Story]:
    """The stories of the seeds ``first`` … ``first + count - 1``, without any text twice."""
    seen: set[int] = set()
    for seed in range(first, first + count):
        drawn = story(seed, split)
        if (key := hash(drawn.text)) not in seen:
            seen.add(key)
            yield drawn
