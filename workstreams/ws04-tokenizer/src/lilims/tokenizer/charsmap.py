"""SentencePiece's compiled rules that rewrite text (`precompiled_charsmap`): NFKC and the like.

Knows the blob: a uint32 size, a Darts-clone double array of uint32 units (github.com/s-yata/darts-clone), and a block
of zero-terminated replacements. Must not know when a rule is applied.

A unit has its label in bits 0-7, bit 8 says that a value hangs below it, bits 10-31 are its offset (times 256 where bit
9 is set). The child of the node at i for byte b stands at i ^ offset ^ b; a value stands where b = 0 would, with bit 31
set. The rules of NFKC are 224,654, so they are looked up in the array, not unpacked.
"""

from __future__ import annotations

import struct

__all__ = ["Charsmap"]

_LABEL = 0x800000FF
_WORK_LIMIT = 1 << 24  # steps; NFKC's rules take 0.2 million


class Charsmap:
    """Rules from strings to strings.

    Attributes:
        singles: characters that are rules by themselves.
        starts, seconds: first and second characters of rules that are longer.
    """

    def __init__(self, blob: bytes) -> None:
        """Raises ValueError where the blob is damaged."""
        size = int.from_bytes(blob[:4], "little")
        if len(blob) <= 4 or size % 4 or not 0 < size <= len(blob) - 4:
            raise ValueError("the rules that rewrite text are damaged: the size of the trie is wrong")
        self._units: tuple[int, ...] = struct.unpack_from(f"<{size // 4}I", blob, 4)
        self._texts = blob[4 + size :]
        self._work = 0
        self.singles: set[str] = set()
        self.starts: set[str] = set()
        self.seconds: set[str] = set()
        goes_on: dict[int, bool] = {}  # branches with equal ends share their bases
        for character, node in self._characters(self._base(0)):
            base = self._base(node)
            if self._units[node] & 0x100:
                self.singles.add(character)
                self._text(base)
            if base not in goes_on:
                followers = {second for second, _ in self._characters(base)}
                goes_on[base] = bool(followers)
                self.seconds |= followers
            if goes_on[base]:
                self.starts.add(character)

    def longest(self, text: str, at: int) -> tuple[int, str] | None:
        """The longest rule for `text` from `at` on: how many characters it takes, and what they become."""
        units, node, found = self._units, 0, None
        for end in range(at, len(text)):
            for byte in text[end].encode():
                node = self._base(node) ^ byte
                if not byte or node >= len(units) or units[node] & _LABEL != byte:
                    return found
            if units[node] & 0x100:
                found = end + 1 - at, self._text(self._base(node))
        return found

    def _base(self, node: int) -> int:
        unit = self._units[node]
        return node ^ ((unit >> 10) << ((unit & 0x200) >> 6))

    def _characters(self, base: int) -> list[tuple[str, int]]:
        """All characters that go on from a base, with their nodes."""
        units = self._units
        found: list[tuple[str, int]] = []
        stack = [(base, b"")]
        while stack:
            base, prefix = stack.pop()
            candidates = range(0x80, 0xC0) if prefix else range(1, 0xF5)
            self._work += len(candidates)
            if self._work > _WORK_LIMIT:
                raise ValueError("the rules that rewrite text are damaged: the trie does not end")
            for byte in candidates:
                node = base ^ byte
                if node >= len(units) or units[node] & _LABEL != byte:
                    continue
                key = prefix + bytes([byte])
                if len(key) == _length(key[0]):
                    found.append((key.decode(), node))
                else:
                    stack.append((self._base(node), key))
        return found

    def _text(self, leaf: int) -> str:
        start = self._units[leaf] & 0x7FFFFFFF if leaf < len(self._units) else len(self._texts)
        end = self._texts.find(b"\0", start)
        if end < 0:
            raise ValueError("the rules that rewrite text are damaged: a replacement is missing")
        return self._texts[start:end].decode("utf-8", "replace")


def _length(lead: int) -> int:
    """Bytes of the UTF-8 character that begins with `lead`."""
    return 1 if lead < 0xC0 else 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
