"""What devices are known to dislike in a package, found without a device.

Knows nothing itself: names are loaded from their modules when they are first used.

    rule.py      what a rule and a finding are; the table of rules
    subject.py   what a rule looks at: a package's program, sizes and declared compute units
    state.py, weights.py, shapes.py, precision.py, devices.py, pairs.py     the rules, a family a file
    measure.py   runs a decoder as a device computes, for the rules that need it
    check.py     all rules over a model folder or package
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .check import Report, lint, rules, rules_page
    from .rule import Finding, Rule

__all__ = ["Finding", "Report", "Rule", "lint", "rules", "rules_page"]

_HOMES = {
    "Finding": "rule",
    "Report": "check",
    "Rule": "rule",
    "lint": "check",
    "rules": "check",
    "rules_page": "check",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)
