"""Texts that tokenizers get wrong: made from a seed, so that a number brings one back.

Knows Unicode and what texts look like. Must not know any tokenizer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

__all__ = ["make_text"]

_SCRIPTS = [
    (0x20, 0x7F), (0xA0, 0x250), (0x300, 0x370), (0x370, 0x530), (0x590, 0x700), (0x900, 0xE00), (0xE00, 0xF00),
    (0x1100, 0x1200), (0x1E00, 0x2070), (0x2070, 0x2C00), (0x3000, 0x3100), (0x3100, 0x3400), (0x4E00, 0x9FFF),
    (0xAC00, 0xD7A4), (0xF900, 0xFB10), (0xFE00, 0x10000), (0x1D400, 0x1D800), (0x1F000, 0x1FAFF), (0x20000, 0x2A6DF),
    (0xE0000, 0xE01F0),
]  # fmt: skip
_SPECIAL = [
    "<s>", "</s>", "<unk>", "<pad>", "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|eot_id|>", "<|begin_of_text|>",
    "<|end|>", "<|user|>", "[INST]", "[/INST]", "[TOOL_CALLS]", "[REFERENCE_DOC_1]", "<0x41>", "<0x0A>",
    "<start_of_turn>", "<|", "|>", "<s", "\n<s>\n", "▁", "▁▁", "<|im_start", "Ġ", "Ċ", "##", "</w>",
]  # fmt: skip
_WORDS = [
    "the", "I'll", "WE'RE", "don't", "'S", "'ſ", "x1y2", "3.14159", "1,000,000", "éàü", "Straße", "ΟΔΟΣ", "İstanbul",
    "привет", "漢字かな", "カナ", "한국어", "ไทย", "हिन्दी",
]  # fmt: skip
_EMOJI = [
    "🙂",
    "👨\u200d👩\u200d👧\u200d👦",
    "🏳️\u200d🌈",
    "🇪🇺",
    "👍🏽",
    "❤️",
    "#️⃣",
    "🧑🏿\u200d🚀",
    "\u200d",
    "\ufe0f",
    "🏴\U000e0067\U000e007f",
]
_BLANKS = [
    " ",
    "  ",
    "\t",
    "\n",
    "\r\n",
    "\r",
    "\u00a0",
    "\u2003",
    "\u3000",
    "\x0b",
    "\x0c",
    "\x85",
    "\u2028",
    "\ufeff",
]


def make_text(rng: Random, corpora: Sequence[str]) -> str:
    """A text of some pieces of different kinds; `corpora` are texts to cut stretches from."""
    kinds: list[Callable[[Random], str]] = [
        _any, _script, _surrogates, _control, _blanks, _run, _special, _words, _emoji, _numbers,
        lambda rng: _stretch(rng, corpora),
    ]  # fmt: skip
    return "".join(rng.choice(kinds)(rng) for _ in range(rng.choice((1, 1, 2, 3, 5, 8))))


def _any(rng: Random) -> str:
    points = (rng.randrange(0x110000) for _ in range(rng.randint(1, 40)))
    return "".join(chr(point) for point in points if not 0xD800 <= point < 0xE000)


def _script(rng: Random) -> str:
    chosen = rng.choices(_SCRIPTS, k=rng.randint(1, 3))
    return "".join(chr(rng.randrange(*rng.choice(chosen))) for _ in range(rng.randint(1, 30)))


def _surrogates(rng: Random) -> str:
    return "".join(rng.choice(("a", " ", chr(rng.randrange(0xD800, 0xE000)))) for _ in range(rng.randint(1, 6)))


def _control(rng: Random) -> str:
    return "".join(chr(rng.choice((rng.randrange(32), rng.randrange(0x7F, 0xA0)))) for _ in range(rng.randint(1, 8)))


def _blanks(rng: Random) -> str:
    return "".join(rng.choices(_BLANKS, k=rng.randint(1, 8)))


def _run(rng: Random) -> str:
    return rng.choice(
        (" ", " ", "a", "=", "0", "\n", "漢", "🙂", "▁", "ab", " \n", chr(rng.randrange(0x20, 0xD800)))
    ) * int(2 ** rng.uniform(1, 11))


def _special(rng: Random) -> str:
    return "".join(rng.choices(_SPECIAL, k=rng.randint(1, 4)))


def _words(rng: Random) -> str:
    return rng.choice((" ", "", "-", "\n", "  ")).join(rng.choices(_WORDS, k=rng.randint(1, 12)))


def _emoji(rng: Random) -> str:
    return "".join(rng.choices(_EMOJI, k=rng.randint(1, 8)))


def _numbers(rng: Random) -> str:
    return "".join(rng.choices("0123456789٣½①.,- e", k=rng.randint(1, 30)))


def _stretch(rng: Random, corpora: Sequence[str]) -> str:
    text = rng.choice(corpora)
    start = rng.randrange(len(text))
    return text[start : start + rng.choice((20, 200, 2000))]
