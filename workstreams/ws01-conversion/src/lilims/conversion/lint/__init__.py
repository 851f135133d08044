"""What devices are known to dislike in a package, found without a device.

Knows nothing itself: names are loaded from their modules when they are first used.

    rule.py      what a rule and a finding are; the table of rules
    subject.py   what a rule looks at: a package's program, sizes and declared compute units
    state.py, weights.py, shapes.py, precision.py, devices.py, pairs.py     the rules, a family a file
    measure.py   runs a decoder as a device computes, for the rules that need it
    check.py     all rules over a model folder or package
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lilims.core.lazy import lazy

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

__getattr__, __dir__ = lazy(__name__, __all__, _HOMES)
