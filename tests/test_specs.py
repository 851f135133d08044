"""The repository's own task specs: valid, over all parts, and such that several can be worked on at a time."""

from __future__ import annotations

from pathlib import Path

from lilims.agents.catalogue import PROTOCOL, Catalogue
from lilims.agents.globs import overlap
from lilims.agents.protocol import parse_protocol

ROOT = Path(__file__).resolve().parent.parent


def test_the_specs_have_no_findings() -> None:
    assert [str(finding) for finding in Catalogue.of_folder(ROOT).lint()] == []


def test_every_workstream_has_a_task() -> None:
    tasks = Catalogue.of_folder(ROOT).valid().values()
    assert {task.workstream[:4] for task in tasks} == {f"ws{n:02}" for n in range(1, 12)}
    assert len(tasks) >= 20


def test_many_tasks_can_be_claimed_at_once() -> None:
    catalogue = Catalogue.of_folder(ROOT)
    free = [t for t in catalogue.valid().values() if t.id not in catalogue.done and not t.depends_on]
    chosen: list[list[str]] = []
    for task in sorted(free, key=lambda task: len(task.touches)):
        if not any(overlap(a, b) for other in chosen for a in other for b in task.touches):
            chosen.append(task.touches)
    assert len(chosen) >= min(8, len(free))


def test_the_protocols_settings() -> None:
    assert parse_protocol((ROOT / PROTOCOL).read_bytes(), PROTOCOL).claims_prefix == "refs/claims/"
