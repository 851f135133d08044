"""All rules over a model folder or a package; the page that describes them.

Knows the order of the work. Must not know any rule.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from lilims.core.errors import LilimsError, UsageError
from lilims.core.locate import is_package
from lilims.core.manifest import Manifest, read_manifest

from . import devices, pairs, precision, shapes, state, weights  # noqa: F401  (fill RULES)
from .measure import Measured, measure
from .rule import RULES, SEVERITIES, Finding, Hit, Rule, Severity
from .subject import Subject, read_subject

__all__ = ["Report", "lint", "rules", "rules_page"]


@dataclass(frozen=True)
class Report:
    """What `lint` found, the worst first.

    Attributes:
        checked: ids of the rules that were applied.
        skipped: id → why a rule was not.
    """

    path: Path
    findings: tuple[Finding, ...]
    checked: tuple[str, ...]
    skipped: dict[str, str]

    def count(self, severity: Severity) -> int:
        """How many findings have this severity."""
        return sum(finding.severity == severity for finding in self.findings)


def rules() -> tuple[Rule, ...]:
    """Every rule, in the order of their ids."""
    return tuple(RULES[id_] for id_ in sorted(RULES))


def lint(path: Path, *, text: str | None = None, ignore: Collection[str] = (), strict: bool = False) -> Report:
    """Applies the rules to a model folder or a package, whoever made it.

    Args:
        path: a model folder, or an .mlpackage.
        text: what a decoder is run on for the rules that measure; default is some random tokens.
        ignore: ids of rules that are left out.
        strict: warnings count as errors.

    Raises:
        UsageError: an id does not exist, or there is a text for a package that is no model folder.
        ManifestError, PackageError, UnsupportedError: it cannot be read.
        TokenizerError: there is a text and the model has no tokenizer.
    """
    if unknown := sorted(set(ignore) - RULES.keys()):
        raise UsageError(f"there is no rule {unknown[0]!r}", hint="`lilims lint --rules` lists them")
    wanted = [rule for rule in rules() if rule.id not in ignore]
    manifest = None if is_package(path) else read_manifest(path)
    if manifest is None and text is not None:
        raise UsageError("--text is for model folders; this is a package alone", hint="leave --text out")
    runs, why = _measured(path, manifest, text, any(rule.measured for rule in wanted))
    skipped = {rule.id: why for rule in wanted if rule.measured and why}
    findings: list[Finding] = []
    for subject in _subjects(path, manifest, runs):
        for rule in wanted:
            if rule.id not in skipped and (rule.device is None or subject.uses(rule.device)):
                severity: Severity = "error" if strict and rule.severity == "warning" else rule.severity
                findings += _merged(rule, severity, subject)
    findings.sort(key=lambda f: (SEVERITIES.index(f.severity), f.rule.id, f.package))
    return Report(path, tuple(findings), tuple(r.id for r in wanted if r.id not in skipped), skipped)


def _measured(path: Path, manifest: Manifest | None, text: str | None, wanted: bool) -> tuple[dict[str, Measured], str]:
    """What a run showed, or why there was none. A text that cannot be used is an error: it was asked for."""
    if not wanted:
        return {}, ""
    if manifest is None:
        return {}, "only the decoders of model folders are run"
    try:
        return measure(path, manifest, text), ""
    except LilimsError as error:
        if text is not None:
            raise
        return {}, f"the model does not run here: {error}"


def _subjects(path: Path, manifest: Manifest | None, runs: dict[str, Measured]) -> Iterator[Subject]:
    if manifest is None:
        yield read_subject(path)
        return
    for part in manifest.packages():
        yield read_subject(
            path / part.package,
            units=manifest.compute_units,
            coremltools=manifest.tools.get("coremltools", ""),
            measured=runs.get(part.package),
        )


def _merged(rule: Rule, severity: Severity, subject: Subject) -> Iterator[Finding]:
    """A rule's findings in a package; what several functions have alike is one."""
    groups: list[list[Hit]] = []
    for hit in rule.check(subject):
        alike = [
            g for g in groups if g[0].message == hit.message and all(hit.function != other.function for other in g)
        ]
        if alike:
            alike[0].append(hit)
        else:
            groups.append([hit])
    for group in groups:
        functions = tuple(hit.function for hit in group if hit.function)
        yield Finding(rule, severity, group[0].message, subject.path.name, functions, group[0].op)


_HEAD = """# What `lilims lint` looks for

<!-- Written by `lilims lint --rules --markdown`; a test compares. -->

`lilims lint MODEL` reads a model folder, or any ML Program package, and prints what devices are known to dislike. It
needs no device. An **error** does not load, crashes or computes something else; a **warning** may, or is slow; **info**
is good to know. The exit code is 1 where there is an error, else 0; `--strict` makes warnings errors, `--ignore ID`
leaves a rule out, `--json` prints one object with `findings`.

Rules about one device are applied to packages that may run there: by their declared compute units, and to all where
none are declared. Two rules run the model, each result rounded to fp16: on `--text FILE`, or on some random tokens.

"Reported" is what the makers of published Core ML language models tell, where no public report was found to cite; none
of that could be reproduced without the device.
"""


def rules_page() -> str:
    """docs/lint.md."""
    parts = [_HEAD]
    for rule in rules():
        device = f", {'Neural Engine' if rule.device == 'ane' else 'GPU'} only" if rule.device else ""
        parts.append(
            f"## {rule.id}: {rule.title}\n\n**{rule.severity}**{device}{', measured' if rule.measured else ''}. "
            f"{rule.reason[:1].upper()}{rule.reason[1:]}.\n\n- What to do: {rule.remedy}.\n- Source: {rule.source}.\n"
        )
    return "\n".join(parts)
