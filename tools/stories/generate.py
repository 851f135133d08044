"""Prints stories of the grammar: ``python tools/stories/generate.py 5 --first 100 [--split heldout]``."""

from __future__ import annotations

import argparse

import grammar


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int, nargs="?", default=3)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--split", choices=("train", "heldout"), default="train")
    options = parser.parse_args()
    for seed in range(options.first, options.first + options.count):
        drawn = grammar.story(seed, options.split)
        print(f"--- seed {seed}, {drawn.plot}\n\n{drawn.text}\n")


if __name__ == "__main__":
    main()
