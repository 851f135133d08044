"""Expressions of a template: Jinja's syntax tree, evaluated node by node.

Knows what each kind of expression means. Jinja parses; its compiler is not used, so that nothing in a template becomes
Python code. Must not know what values can do (values.py) or statements.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from jinja2 import Undefined, nodes

from ..errors import ChatTemplateError
from .budget import Budget
from .filters import Filters
from .values import Function, Loop, Operations

__all__ = ["Expressions", "Scope"]

_ARITHMETIC = {
    nodes.Add: "+", nodes.Sub: "-", nodes.Mul: "*", nodes.Div: "/", nodes.FloorDiv: "//", nodes.Mod: "%",
    nodes.Pow: "**",
}  # fmt: skip


class Scope:
    """Names, and those of the block around."""

    __slots__ = ("names", "outer")

    def __init__(self, outer: Scope | None = None, names: dict[str, Any] | None = None) -> None:
        self.names = {} if names is None else names
        self.outer = outer

    def get(self, name: str) -> Any:
        """The value of the innermost such name; `Undefined` where there is none."""
        scope: Scope | None = self
        while scope is not None:
            if name in scope.names:
                return scope.names[name]
            scope = scope.outer
        return Undefined(name=name)


class Expressions:
    """Evaluates expressions in `scope`."""

    def __init__(self, budget: Budget, names: Mapping[str, Any]) -> None:
        self.budget = budget
        self.operations = Operations(budget)
        self.filters = Filters(self.operations)
        self.scope = Scope(None, dict(names))
        self._kinds: dict[type[nodes.Node], Callable[[Any], Any]] = {
            nodes.Const: lambda node: node.value,
            nodes.TemplateData: lambda node: node.data,
            nodes.Name: lambda node: self.scope.get(node.name),
            nodes.Getattr: lambda node: self.operations.attribute(self.value(node.node), node.attr),
            nodes.Getitem: self._getitem,
            nodes.Filter: self._filter,
            nodes.Test: self._test,
            nodes.Call: self._call,
            nodes.Compare: self._compare,
            nodes.Concat: lambda node: self.operations.concat([self._text(one) for one in node.nodes]),
            nodes.And: lambda node: self.value(node.left) and self.value(node.right),
            nodes.Or: lambda node: self.value(node.left) or self.value(node.right),
            nodes.Not: lambda node: not self.value(node.node),
            nodes.Neg: lambda node: -self.value(node.node),
            nodes.Pos: lambda node: +self.value(node.node),
            nodes.CondExpr: self._condition,
            nodes.List: lambda node: [self.value(one) for one in node.items],
            nodes.Tuple: lambda node: tuple(self.value(one) for one in node.items),
            nodes.Dict: lambda node: {self._key(pair.key): self.value(pair.value) for pair in node.items},
            **dict.fromkeys(_ARITHMETIC, self._arithmetic),
        }

    def value(self, node: nodes.Node) -> Any:
        """The value of an expression.

        Raises:
            ChatTemplateError: a kind of expression that templates do not have here, or the budget is spent.
        """
        self.budget.step()
        evaluate = self._kinds.get(type(node))
        if evaluate is None:
            raise ChatTemplateError(f"{type(node).__name__} is not something that lilims evaluates")
        return evaluate(node)

    def _key(self, node: nodes.Expr) -> Any:
        key = self.value(node)
        if not isinstance(key, str):
            self.budget.whole(key)  # it is hashed
        return key

    def _text(self, node: nodes.Expr) -> str:
        return self.operations.text(self.value(node))

    def _arithmetic(self, node: nodes.BinExpr) -> Any:
        left = self.value(node.left)  # a Concat or a chain of + nests to the left, as deep as it is long
        return self.operations.binary(_ARITHMETIC[type(node)], left, self.value(node.right))

    def _getitem(self, node: nodes.Getitem) -> Any:
        value = self.value(node.node)
        if isinstance(node.arg, nodes.Slice):
            parts = (node.arg.start, node.arg.stop, node.arg.step)
            start, stop, step = (None if part is None else self.value(part) for part in parts)
            return self.operations.slice(value, slice(start, stop, step))
        return self.operations.item(value, self.value(node.arg))

    def _condition(self, node: nodes.CondExpr) -> Any:
        if self.value(node.test):
            return self.value(node.expr1)
        if node.expr2 is None:
            return Undefined("the inline if-expression evaluated to false and no else section was defined.")
        return self.value(node.expr2)

    def _compare(self, node: nodes.Compare) -> bool:
        left = self.value(node.expr)
        for operand in node.ops:
            right = self.value(operand.expr)
            if not self.operations.compare(operand.op, left, right):
                return False
            left = right
        return True

    def arguments(self, node: Any) -> tuple[list[Any], dict[str, Any]]:
        """Positional and named arguments of a call, a filter or a test."""
        args = [self.value(arg) for arg in node.args]
        kwargs = {pair.key: self.value(pair.value) for pair in node.kwargs}
        if node.dyn_args is not None:
            args += self.filters.items(self.value(node.dyn_args))
        if node.dyn_kwargs is not None:
            more = self.value(node.dyn_kwargs)
            if not isinstance(more, dict) or not all(isinstance(key, str) for key in more):
                raise TypeError("** takes a mapping whose keys are strings")
            kwargs |= {str(key): value for key, value in more.items()}
        return args, kwargs

    def filtered(self, node: nodes.Filter, value: Any) -> Any:
        """`value` through a filter, or a chain of them."""
        if isinstance(node.node, nodes.Filter):
            value = self.filtered(node.node, value)
        args, kwargs = self.arguments(node)
        return self.filters.filter(node.name, value, args, kwargs)

    def _filter(self, node: nodes.Filter) -> Any:
        if node.node is None:
            raise ChatTemplateError("a filter has no value")
        value = self.value(node.node)
        args, kwargs = self.arguments(node)
        return self.filters.filter(node.name, value, args, kwargs)

    def _test(self, node: nodes.Test) -> bool:
        value = self.value(node.node)
        return self.filters.test(node.name, value, self.arguments(node)[0])

    def _call(self, node: nodes.Call) -> Any:
        called = self.value(node.node)
        args, kwargs = self.arguments(node)
        return self.call(called, args, kwargs)

    def call(self, called: Any, args: list[Any], kwargs: dict[str, Any]) -> Any:
        """What a function returns.

        Raises:
            TypeError: not a function.
        """
        if isinstance(called, Function):
            return called.call(*args, **kwargs)
        if isinstance(called, Loop):
            return called.again(*args)
        if isinstance(called, Undefined):
            return called()  # raises UndefinedError
        raise TypeError(f"{type(called).__name__} is not callable")
