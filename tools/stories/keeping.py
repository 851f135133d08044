"""Counts how many stories keep their hero's name and end: ``python tools/stories/keeping.py [--scheme int4]``.

The openings are the first sentences of held-out stories, up to the hero's name, which no training story has. Every
second story is greedy, the others are drawn at temperature 0.8, top-k 40. The package itself tells them.
"""

from __future__ import annotations

import argparse
import re
import tempfile
from pathlib import Path

import grammar

FIRST = 2_000_000  # seeds that neither training, validation nor heldout.txt takes; even ones have known plots
CHECKPOINT = Path(__file__).parents[2] / "workstreams/ws05-model-manager/src/lilims/models/builtin/stories"


def opening(story: grammar.Story) -> str:
    """The first sentences of a story, up to the one that names its hero."""
    words = ""
    for sentence in re.findall(r'.*?[.?!]"?(?= |$)', story.text.split("\n")[0]):
        words = f"{words} {sentence.strip()}".strip()
        if story.hero.name in words:
            break
    return words


def keeps(name: str, text: str) -> bool:
    """Whether a continuation says the name three times or more, and no other name that begins like it."""
    names = set(re.findall(r'(?<![.?!"] )(?<!^)\b[A-Z][a-z]+', text)) - {"She", "He", "The", name}
    return text.count(name) >= 3 and not any(other[:2] == name[:2] for other in names)


def main() -> None:
    from lilims.conversion import convert
    from lilims.runtime import load

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--scheme", default="int4")
    parser.add_argument("--stories", type=int, default=40)
    options = parser.parse_args()
    kept = ended = 0
    with tempfile.TemporaryDirectory() as scratch:
        convert(CHECKPOINT, Path(scratch) / "model", quantize=options.scheme)
        model = load(Path(scratch) / "model")
        for i in range(options.stories):
            story = grammar.story(FIRST + 2 * i, "heldout")
            heat = 0.8 if i % 2 else 0.0
            tokens = list(model.generate(opening(story), max_tokens=400, temperature=heat, top_k=40, seed=i))
            kept += keeps(story.hero.name, "".join(token.text for token in tokens))
            ended += len(tokens) < 400
    print(
        f"{options.scheme}: of {options.stories} stories {kept} keep their hero's name, {ended} end within 400 tokens"
    )


if __name__ == "__main__":
    main()
