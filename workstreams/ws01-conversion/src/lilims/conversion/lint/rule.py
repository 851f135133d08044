"""What a rule is and what it finds; the table that the families fill.

Knows ids, severities and texts. Must not know packages or any rule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from .subject import Subject

__all__ = ["REPORTED", "RULES", "SEVERITIES", "Device", "Finding", "Hit", "Rule", "Severity", "rule"]

Severity = Literal["error", "warning", "info"]
Device = Literal["ane", "gpu"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "info")
REPORTED = "reported of published Core ML language models; not reproduced here, where there is no such device"


@dataclass(frozen=True)
class Hit:
    """A place that a rule objects to: `op` is an op, a state or an input of `function`; both empty: the package."""

    message: str
    function: str = ""
    op: str = ""


@dataclass(frozen=True)
class Rule:
    """One rule. Ids never change their meaning: L1 state, L2 weights, L3 shapes, L4 precision, L5 devices, L6 pairs.

    Attributes:
        severity: error: does not load, crashes or is wrong; warning: may, or is slow; info: good to know.
        device: the rule is about this device alone: packages that are declared for others are not looked at.
        reason: why, in a sentence.
        source: where that is known from: an address, or how it was found.
        remedy: what to do.
        measured: needs a run; `check` is then given what was measured.
    """

    id: str
    severity: Severity
    title: str
    reason: str
    source: str
    remedy: str
    device: Device | None
    measured: bool
    check: Callable[[Subject], Iterable[Hit]]


@dataclass(frozen=True)
class Finding:
    """What a rule found: in which package, in which of its functions alike, at which op (empty: all of it)."""

    rule: Rule
    severity: Severity
    message: str
    package: str
    functions: tuple[str, ...]
    op: str

    def as_dict(self) -> dict[str, object]:
        """The finding as it stands in `--json` output."""
        rule = self.rule
        return {
            "rule": rule.id,
            "severity": self.severity,
            "title": rule.title,
            "message": self.message,
            "package": self.package,
            "functions": list(self.functions),
            "op": self.op,
            "reason": rule.reason,
            "source": rule.source,
            "remedy": rule.remedy,
        }


RULES: dict[str, Rule] = {}


def rule(
    id_: str,
    severity: Severity,
    title: str,
    *,
    reason: str,
    source: str,
    remedy: str,
    device: Device | None = None,
    measured: bool = False,
) -> Callable[[Callable[[Subject], Iterable[Hit]]], Callable[[Subject], Iterable[Hit]]]:
    """Puts a function into the table as a rule."""

    def add(check: Callable[[Subject], Iterable[Hit]]) -> Callable[[Subject], Iterable[Hit]]:
        assert id_ not in RULES, f"{id_} stands twice"
        RULES[id_] = Rule(id_, severity, title, reason, source, remedy, device, measured, check)
        return check

    return add
