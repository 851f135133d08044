"""Statements of a template: output, branches, loops, assignments, macros.

Knows Jinja's rules of scope: `for`, macros, `with` and blocks open one, `if` does not. Must not know expressions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from jinja2 import Undefined, nodes

from ..errors import ChatTemplateError
from .budget import Budget
from .expressions import Expressions, Scope
from .text import join
from .values import Function, Loop, Namespace

__all__ = ["Renderer"]

_Leaving = Literal["break", "continue"] | None
_DEEPEST_CALL = 32


class Renderer(Expressions):
    """Renders one template once. `line` is where it is."""

    def __init__(self, budget: Budget, names: Mapping[str, Any]) -> None:
        super().__init__(budget, names)
        self.line = 0
        self._out: list[str] = []
        self._calls = 0
        self._statements: dict[type[nodes.Node], Callable[[Any], _Leaving]] = {
            nodes.Output: self._output,
            nodes.If: self._if,
            nodes.For: lambda node: self._for(node, self._iterated(node), 0),
            nodes.Assign: self._assign,
            nodes.AssignBlock: self._assign_block,
            nodes.Macro: self._macro,
            nodes.CallBlock: self._call_block,
            nodes.FilterBlock: self._filter_block,
            nodes.With: self._with,
            nodes.Scope: lambda node: self._inside(node.body, Scope(self.scope)),
            nodes.Block: lambda node: self._inside(node.body, Scope(self.scope)),
            nodes.ExprStmt: self._expression,
            nodes.Break: lambda node: "break",
            nodes.Continue: lambda node: "continue",
        }

    def render(self, template: nodes.Template) -> str:
        """The text; marked, see text.py."""
        self._body(template.body)
        return join(self._out)

    def _body(self, body: Sequence[nodes.Node]) -> _Leaving:
        for node in body:
            self.line = node.lineno
            self.budget.step()
            execute = self._statements.get(type(node))
            if execute is None:
                raise ChatTemplateError(f"{type(node).__name__.lower()} is not for chat templates")
            leaving = execute(node)
            if leaving is not None:
                return leaving
        return None

    def _inside(self, body: Sequence[nodes.Node], scope: Scope) -> _Leaving:
        outer, self.scope = self.scope, scope
        try:
            return self._body(body)
        finally:
            self.scope = outer

    def _captured(self, body: Sequence[nodes.Node], scope: Scope) -> str:
        return self._printed(lambda: self._inside(body, scope))

    def _printed(self, run: Callable[[], _Leaving]) -> str:
        """What `run` prints."""
        if self._calls >= _DEEPEST_CALL:
            raise ChatTemplateError(f"the template's macros call one another more than {_DEEPEST_CALL} deep")
        outer, self._out = self._out, []
        self._calls += 1
        try:
            run()
            return self.operations.concat(self._out)
        finally:
            self._out = outer
            self._calls -= 1

    def _output(self, node: nodes.Output) -> _Leaving:
        for one in node.nodes:
            self.line = one.lineno
            text = self.operations.text(self.value(one))
            self.budget.text(len(text))
            self._out.append(text)
        return None

    def _expression(self, node: nodes.ExprStmt) -> _Leaving:
        self.value(node.node)
        return None

    def _if(self, node: nodes.If) -> _Leaving:
        for branch in (node, *node.elif_):
            if self.value(branch.test):
                return self._body(branch.body)
        return self._body(node.else_)

    def _iterated(self, node: nodes.For) -> list[Any]:
        return self._chosen(node, self.value(node.iter))

    def _chosen(self, node: nodes.For, iterated: Any) -> list[Any]:
        items = self.filters.items(iterated)
        return items if node.test is None else [item for item in items if self._passes(node, node.test, item)]

    def _passes(self, node: nodes.For, test: nodes.Node, item: Any) -> bool:
        outer, self.scope = self.scope, Scope(self.scope)
        try:
            self._bind(node.target, item)
            return bool(self.value(test))
        finally:
            self.scope = outer

    def _for(self, node: nodes.For, items: list[Any], depth: int) -> _Leaving:
        def again(iterated: Any) -> str:
            outer, self.scope = self.scope, around
            try:
                return self._printed(lambda: self._for(node, self._chosen(node, iterated), depth + 1))
            finally:
                self.scope = outer

        around = self.scope
        loop = Loop(items, depth, again if node.recursive else None, self.budget)
        for loop.index0, item in enumerate(items):
            self.scope = Scope(around, {"loop": loop})
            try:
                self._bind(node.target, item)
                leaving = self._body(node.body)
            finally:
                self.scope = around
            if leaving == "break":
                break
        return self._inside(node.else_, Scope(around)) if not items and node.else_ else None

    def _bind(self, target: nodes.Node, value: Any) -> None:
        """Gives a value to a name, to several, or to an attribute of a namespace."""
        if isinstance(target, nodes.Name):
            self.scope.names[target.name] = value
        elif isinstance(target, nodes.NSRef):
            namespace = self.scope.get(target.name)
            if not isinstance(namespace, Namespace):
                raise ChatTemplateError("cannot assign attribute on non-namespace object")
            namespace.set(target.attr, value)
        elif isinstance(target, nodes.Tuple):
            values = self.filters.items(value)
            if len(values) != len(target.items):
                raise ChatTemplateError(f"{len(values)} values for {len(target.items)} names")
            for name, one in zip(target.items, values, strict=True):
                self._bind(name, one)
        else:
            raise ChatTemplateError(f"cannot assign to {type(target).__name__}")

    def _assign(self, node: nodes.Assign) -> _Leaving:
        self._bind(node.target, self.value(node.node))
        return None

    def _assign_block(self, node: nodes.AssignBlock) -> _Leaving:
        text: Any = self._captured(node.body, Scope(self.scope))
        self._bind(node.target, text if node.filter is None else self.filtered(node.filter, text))
        return None

    def _filter_block(self, node: nodes.FilterBlock) -> _Leaving:
        text = self.filtered(node.filter, self._captured(node.body, Scope(self.scope)))
        self._out.append(self.operations.text(text))
        return None

    def _with(self, node: nodes.With) -> _Leaving:
        values = [self.value(value) for value in node.values]
        outer, self.scope = self.scope, Scope(self.scope)
        try:
            for target, value in zip(node.targets, values, strict=True):
                self._bind(target, value)
            return self._body(node.body)
        finally:
            self.scope = outer

    def _macro(self, node: nodes.Macro) -> _Leaving:
        self.scope.names[node.name] = self._function(node, node.name)
        return None

    def _call_block(self, node: nodes.CallBlock) -> _Leaving:
        called = self.value(node.call.node)
        args, kwargs = self.arguments(node.call)
        kwargs["caller"] = self._function(node, "caller")
        self._out.append(self.operations.text(self.call(called, args, kwargs)))
        return None

    def _function(self, node: nodes.Macro | nodes.CallBlock, name: str) -> Function:
        """A macro: its body sees the names around its definition, then its arguments."""
        around = self.scope
        names = [argument.name for argument in node.args]
        defaults = dict(zip(names[len(names) - len(node.defaults) :], node.defaults, strict=True))

        def call(*args: Any, **kwargs: Any) -> str:
            given = dict(zip(names, args, strict=False))
            given |= {key: kwargs.pop(key) for key in names[len(args) :] if key in kwargs}
            scope = Scope(around, {"varargs": tuple(args[len(names) :]), "caller": kwargs.pop("caller", Undefined())})
            scope.names["kwargs"] = kwargs
            outer, self.scope = self.scope, scope
            try:
                for key in names:
                    default = defaults.get(key)
                    missing = Undefined(f"parameter {key!r} was not provided", name=key)
                    scope.names[key] = (
                        given[key] if key in given else missing if default is None else self.value(default)
                    )
            finally:
                self.scope = outer
            return self._captured(node.body, scope)

        return Function(name, call)
