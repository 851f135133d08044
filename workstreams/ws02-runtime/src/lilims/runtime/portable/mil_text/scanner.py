"""Text into tokens, one ahead; where it stands, for the errors.

Knows characters. Must not know what tokens mean. The pattern never goes back over what it took (its quantifiers are
possessive), so the time is linear in the text, whatever it says.
"""

from __future__ import annotations

import re

from lilims.core.errors import PackageError

__all__ = ["END", "NAME", "NUMBER", "STRING", "SYMBOL", "TENSOR", "Scanner"]

# Kinds of token: the groups of the pattern. A tensor's type is one token, being half of what a program is made of.
# The last is any other character: with it and the end, matches follow each other without a gap, and none is searched.
END, TENSOR, NAME, NUMBER, STRING, SYMBOL, _OTHER = range(7)

_SPACE = r"[ \t\r\n]*+"
_TOKEN = re.compile(
    rf"{_SPACE}(?:"
    rf"(tensor{_SPACE}<{_SPACE}\w++{_SPACE},{_SPACE}\[[^\]\[]*+\]{_SPACE}>)"
    r"|([^\W\d][\w.:$]*+)"
    r"|([-+]?+(?:0[xX][0-9a-fA-F.]++(?:[pP][-+]?+[0-9]++)?+|[0-9][0-9.]*+(?:[eE][-+]?+[0-9]++)?+|inf\b|nan\b))"
    r'|("[^"\\]*+(?:\\.[^"\\]*+)*+")'
    r"|(->|[][(){}<>=,;?])|(.)|\Z)",
    re.DOTALL,
)
_ROW = re.compile(r'\[([^][(){}"]*+)\]')
_ESCAPE = re.compile(r"\\(x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|.)", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "f": "\f", "v": "\v", "0": "\0"}
_SHOWN = 40  # characters of a token in an error


class Scanner:
    """The tokens of a text. `kind` and `text` are those of the token that comes next.

    Raises:
        PackageError: something is no token, or not the one that is needed; it says the file, the line and the column.
    """

    def __init__(self, source: str, where: str) -> None:
        self.source, self.where = source, where
        self.kind, self.text, self._end = END, "", 0
        self._matches = _TOKEN.finditer(source)
        self.advance()

    @property
    def at(self) -> int:
        """Where the next token begins."""
        return self._end - len(self.text)

    def advance(self) -> None:
        """Takes the next token."""
        for match in self._matches:
            self.kind = kind = match.lastindex or END
            self.text = match[kind] if kind else ""
            self._end = match.end()
            if kind == _OTHER:
                what = "a string is not closed" if self.text == '"' else f"{self.text!r} is no token"
                raise self.error(what)
            return
        self.kind, self.text, self._end = END, "", len(self.source)

    def found(self, symbol: str) -> bool:
        """Takes a symbol if it comes next; whether it did."""
        if self.text == symbol and self.kind == SYMBOL:
            self.advance()
            return True
        return False

    def take(self, text: str) -> None:
        """Takes that symbol or word, which has to come next."""
        if self.text != text or self.kind == STRING:
            raise self.expected(repr(text))
        self.advance()

    def name(self) -> str:
        """Takes a name."""
        if self.kind != NAME:
            raise self.expected("a name")
        name = self.text
        self.advance()
        return name

    def string(self) -> str:
        """Takes a string in quotes; gives what it says."""
        if self.kind != STRING:
            raise self.expected("a string")
        at, inner = self.at, self.text[1:-1]
        self.advance()
        return _ESCAPE.sub(lambda match: self._unescaped(match[1], at), inner) if "\\" in inner else inner

    def _unescaped(self, escape: str, at: int) -> str:
        character = chr(int(escape[1:], 16)) if len(escape) > 1 else _ESCAPES.get(escape, escape)
        if (len(escape) == 1 and character.isalnum()) or "\ud800" <= character <= "\udfff":
            raise self.error(f"a string has the unknown escape \\{escape}", at)
        return character

    def row(self) -> list[str]:
        """Takes a list of words in brackets, without lists or strings in it."""
        match = _ROW.match(self.source, self.at)
        if match is None:
            raise self.expected("a list of numbers" if self.text != "[" else "a list of numbers without lists in it")
        words = match[1].split(",") if match[1].strip() else []
        self._matches = _TOKEN.finditer(self.source, match.end())
        self.advance()
        return words

    def expected(self, what: str) -> PackageError:
        """The error that something else is needed here."""
        return self.error(f"{what} is expected here, not {self.text[:_SHOWN]!r}" if self.text else f"{what} is missing")

    def error(self, message: str, at: int | None = None) -> PackageError:
        """An error at the next token, or at another place."""
        at = self.at if at is None else at
        line, column = self.source.count("\n", 0, at) + 1, at - self.source.rfind("\n", 0, at)
        return PackageError(
            message,
            where=f"{self.where}, line {line}, column {column}",
            hint="the file is damaged, or of a form that is not known here: use the .mlpackage it was compiled from",
        )
