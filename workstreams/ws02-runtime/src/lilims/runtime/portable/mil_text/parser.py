"""Programs of MIL's text, as Program messages: functions, bodies, operations.

Knows the order of tokens. Must not know folders, model descriptions, or what an op does. It runs in one pass, goes
down no deeper than `_MAX_DEPTH` bodies, and keeps no more than the messages that it makes.
"""

from __future__ import annotations

from typing import Any

from lilims.core.errors import UnsupportedError

from ..spec import new_message
from .literals import LiteralReader
from .scanner import END, NAME, TENSOR, Scanner
from .value_types import TypeReader

__all__ = ["parse_program"]

_MAX_DEPTH = 16  # of bodies within bodies; tuples of arguments
_TYPES = ("state", "list", "tuple", "dict")

# What the text calls the opsets that MIL.proto calls CoreML5 and on.
_OPSETS = {"ios15": "CoreML5", "ios16": "CoreML6", "ios17": "CoreML7", "ios18": "CoreML8", "ios19": "CoreML9",
           "ios26": "CoreML9"}  # fmt: skip


def parse_program(text: str, *, where: str, into: Any = None) -> Any:
    """A `Program` message (spec.py) from the text of a `model.mil`.

    Args:
        where: what errors name the text.
        into: an empty message that is filled; a new one where it is left out.

    Raises:
        PackageError: the text is not such a program; it says the line and the column.
        UnsupportedError: it is of another major version than 1.
    """
    program = new_message("Program") if into is None else into
    _Parser(Scanner(text, where)).program(program)
    return program


class _Parser:
    def __init__(self, scanner: Scanner) -> None:
        self.scanner = scanner
        self.types = TypeReader(scanner)
        self.literals = LiteralReader(scanner, self.types)

    def program(self, program: Any) -> None:
        scanner, program.version = self.scanner, 1
        scanner.take("program")
        scanner.take("(")
        if scanner.text.partition(".")[0] != "1":
            raise UnsupportedError(
                f"MIL text of version {scanner.text[:40]!r}", where=scanner.where, hint="versions 1.x are known here"
            )
        scanner.advance()
        scanner.take(")")
        self.attributes(program.attributes)
        scanner.take("{")
        while scanner.text == "func" and scanner.kind == NAME:
            self.function(program.functions)
        scanner.take("}")
        if scanner.kind != END:
            raise scanner.expected("the end of the program")

    def function(self, functions: Any) -> None:
        scanner = self.scanner
        scanner.advance()
        name = scanner.name()
        if name in functions:
            raise scanner.error(f"the function {name[:40]!r} stands twice")
        function = functions[name]
        scanner.take("<")
        opset = scanner.name()
        function.opset = _OPSETS.get(opset, opset)
        scanner.take(">")
        self.parameters(function.inputs)
        self.attributes(function.attributes)
        self.body(function.block_specializations[function.opset], 0)

    def parameters(self, into: Any) -> None:
        """`(type name, type name)`"""
        scanner = self.scanner
        scanner.take("(")
        while scanner.text != ")":
            value = into.add()
            value.type.CopyFrom(self.types.read())
            value.name = scanner.name()
            if not scanner.found(","):
                break
        scanner.take(")")

    def body(self, block: Any, depth: int) -> None:
        """`{ operations } -> (names)`"""
        scanner = self.scanner
        if depth == _MAX_DEPTH:
            raise scanner.error("bodies are nested too deep")
        scanner.take("{")
        while scanner.text != "}":
            self.operation(block.operations.add(), depth)
        scanner.advance()
        scanner.take("->")
        scanner.take("(")
        while scanner.text != ")":
            block.outputs.append(scanner.name())
            if not scanner.found(","):
                break
        scanner.take(")")
        if depth == 0:
            scanner.found(";")

    def operation(self, op: Any, depth: int) -> None:
        scanner = self.scanner
        op.type = self.outputs(op.outputs)
        scanner.take("(")
        while scanner.text != ")":
            key = scanner.name()
            if key in op.inputs:
                raise scanner.error(f"the input {key[:40]!r} stands twice")
            scanner.take("=")
            self.argument(op.inputs[key].arguments, 0)
            if not scanner.found(","):
                break
        scanner.take(")")
        self.attributes(op.attributes)
        while scanner.kind == NAME or scanner.text in ("(", "{"):
            self.block(op.blocks.add(), depth + 1)
            scanner.found(",")
        self.attributes(op.attributes)
        scanner.take(";")

    def outputs(self, into: Any) -> str:
        """`type name, type name = `, which an op without results has not; gives the op's own name."""
        scanner = self.scanner
        while True:
            word = None
            if scanner.kind != TENSOR:
                word = scanner.name()
                if scanner.text == "(":
                    if into:
                        raise scanner.expected("the name of a result")
                    return word
            value = into.add()
            value.type.CopyFrom(self.types.read(word))
            value.name = scanner.name()
            if not scanner.found(","):
                break
        scanner.take("=")
        return scanner.name()

    def argument(self, into: Any, depth: int) -> None:
        """A name, a literal, or several of them in parentheses."""
        scanner = self.scanner
        if scanner.kind == NAME:
            word = scanner.name()
            if scanner.text == "(" or (scanner.text == "<" and word in _TYPES):
                self.literals.read(into.add().value, word)
            else:
                into.add().name = word
        elif scanner.kind == TENSOR:
            self.literals.read(into.add().value)
        else:
            scanner.take("(")
            if depth == _MAX_DEPTH:
                raise scanner.error("arguments are nested too deep")
            while scanner.text != ")":
                self.argument(into, depth + 1)
                if not scanner.found(","):
                    break
            scanner.take(")")

    def attributes(self, into: Any) -> None:
        """`[name = literal, name = literal]`, or nothing."""
        scanner = self.scanner
        if not scanner.found("["):
            return
        while scanner.text != "]":
            key = scanner.name()
            if key in into:
                raise scanner.error(f"the attribute {key[:40]!r} stands twice")
            scanner.take("=")
            self.literals.read(into[key])
            if not scanner.found(","):
                break
        scanner.take("]")

    def block(self, block: Any, depth: int) -> None:
        """A body within an operation: `name(type name) { operations } -> (names)`."""
        if self.scanner.kind == NAME:
            self.scanner.advance()
        if self.scanner.text == "(":
            self.parameters(block.inputs)
        self.body(block, depth)
