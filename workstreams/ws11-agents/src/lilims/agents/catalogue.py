"""All task specs of one tree, the working tree's or a commit's, and what must hold between them.

    specs/<workstream>/<id>.yaml          a task
    specs/<workstream>/<id>.done.json     its completion record
    specs/protocol.toml                   the protocol's settings (protocol.py)

Knows names and dependencies. Must not know claims. Specs are read when they are asked for: claiming one task out of a
thousand parses one file.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import TaskSpecError, UnknownTaskError
from .git import Git
from .records import parse_completion

if TYPE_CHECKING:
    from lilims.core.strict_yaml import Document

    from .spec import Finding, Task

__all__ = ["Catalogue", "record_path", "spec_path"]

FOLDER = "specs"
PROTOCOL = f"{FOLDER}/protocol.toml"
_SPEC = re.compile(rf"{FOLDER}/([A-Za-z0-9._-]+)/([A-Za-z0-9_-]{{1,64}})(\.yaml|\.done\.json)")
_FREE = re.compile(rf"{FOLDER}/[A-Za-z0-9._-]+\.(md|toml)")
_LIMIT = 1 << 20

Read = Callable[[Iterable[str]], dict[str, bytes]]


def spec_path(workstream: str, task: str) -> str:
    return f"{FOLDER}/{workstream}/{task}.yaml"


def record_path(workstream: str, task: str) -> str:
    return f"{FOLDER}/{workstream}/{task}.done.json"


class Catalogue:
    """Specs and records by task id.

    Args:
        files: path → blob id (or any text that changes with the content).
        read: content of the files at some paths.
    """

    def __init__(self, files: Mapping[str, str], read: Read) -> None:
        self._read = read
        self.files = files
        self.specs: dict[str, str] = {}
        self.done: dict[str, str] = {}
        self.strangers: list[str] = []
        self.twice: list[tuple[str, str]] = []
        self._parsed: dict[str, tuple[Task | None, Document | None, list[Finding]]] = {}
        for path in sorted(files):
            match = _SPEC.fullmatch(path)
            if match is None:
                if not _FREE.fullmatch(path):
                    self.strangers.append(path)
                continue
            found = self.specs if match[3] == ".yaml" else self.done
            if match[2] in found:
                self.twice.append((path, found[match[2]]))
            found.setdefault(match[2], path)

    @classmethod
    def of_commit(cls, git: Git, commit: str) -> Catalogue:
        """The specs of a commit. Links and submodules count as strangers."""
        entries = git.files(commit, FOLDER)
        plain = {p: e.object_id for p, e in entries.items() if e.mode in ("100644", "100755")}

        def read(paths: Iterable[str]) -> dict[str, bytes]:
            wanted = [p for p in paths if p in plain]
            content = git.read_objects(plain[p] for p in wanted)
            return {p: content[plain[p]] for p in wanted if plain[p] in content}

        made = cls(plain, read)
        made.strangers += sorted(entries.keys() - plain.keys())
        return made

    @classmethod
    def of_folder(cls, root: Path) -> Catalogue:
        """The specs of the working tree."""
        paths = [p for p in (root / FOLDER).rglob("*") if p.is_symlink() or p.is_file()]
        plain = {p.relative_to(root).as_posix(): p for p in paths if not p.is_symlink()}

        def read(wanted: Iterable[str]) -> dict[str, bytes]:
            content = {}
            for path in wanted:
                with (root / path).open("rb") as file:
                    content[path] = file.read(_LIMIT)
            return content

        made = cls(dict.fromkeys(plain, ""), read)
        made.strangers += sorted(p.relative_to(root).as_posix() for p in paths if p.is_symlink())
        return made

    def text(self, path: str) -> bytes | None:
        """A file's content, or None where there is none."""
        return self._read([path]).get(path)

    def parse(self, ids: Iterable[str]) -> None:
        """Reads and parses specs that were not yet."""
        from .spec import parse_task

        missing = {i: self.specs[i] for i in ids if i in self.specs and i not in self._parsed}
        content = self._read(missing.values()) if missing else {}
        for task, path in missing.items():
            self._parsed[task] = parse_task(content.get(path, b""), path)

    def task(self, task: str) -> Task:
        """One task.

        Raises:
            UnknownTaskError: there is no such spec; the hint names similar ids.
            TaskSpecError: its spec is not valid.
        """
        if task not in self.specs:
            import difflib

            close = difflib.get_close_matches(task, self.specs, n=3, cutoff=0.5)
            hint = f"similar: {', '.join(close)}" if close else "`lilims tasks list` shows all"
            raise UnknownTaskError(f"no task {task!r}", hint=hint)
        self.parse([task])
        found, _document, findings = self._parsed[task]
        if found is None or findings or found.id != task:
            message = str(findings[0].message) if findings else "its id is not its file's name"
            line = findings[0].line if findings else 1
            raise TaskSpecError(message, where=f"{self.specs[task]}:{line}", hint="`lilims tasks lint` shows all")
        return found

    def valid(self) -> dict[str, Task]:
        """Every task whose spec is valid by itself, by id."""
        self.parse(self.specs)
        found = {i: parsed[0] for i, parsed in self._parsed.items()}
        return {i: task for i, task in sorted(found.items()) if task is not None and task.id == i}

    # -----------------------------------------------------------------------------------------------------------------

    def lint(self) -> list[Finding]:
        """Everything that is wrong, each with file and line, sorted by place."""
        from .spec import Finding

        self.parse(self.specs)
        findings = [f for _task, _document, fs in self._parsed.values() for f in fs]
        findings += [Finding(p, 1, "name", "is neither <workstream>/<id>.yaml nor its record") for p in self.strangers]
        findings += [Finding(p, 1, "name", f"the same id as {other}") for p, other in self.twice]
        for task in self.specs:
            findings += self._lint_one(task)
        findings += self._lint_cycles()
        content = self._read(self.done.values())
        for task, path in self.done.items():
            if task not in self.specs:
                findings.append(Finding(path, 1, "record", "there is no spec of that id"))
            try:
                record = parse_completion(content[path], path)
            except TaskSpecError as exc:
                findings.append(Finding(path, 1, "record", exc.message))
            else:
                if record.task != task:
                    findings.append(Finding(path, 1, "record", f"is of the task {record.task!r}"))
        return sorted(findings)

    def _lint_one(self, name: str) -> list[Finding]:
        from .spec import Finding

        task, document, _findings = self._parsed[name]
        path = self.specs[name]
        if task is None or document is None:
            return []
        found = []
        if task.id != name:
            found.append(Finding(path, document.line(("id",)), "name", f"id {task.id!r} is not the file's name"))
        if task.workstream != path.split("/")[1]:
            line = document.line(("workstream",))
            found.append(Finding(path, line, "name", f"workstream {task.workstream!r} is not the folder's name"))
        for number, other in enumerate(task.depends_on):
            line = document.line(("depends_on", number))
            if other not in self.specs:
                found.append(Finding(path, line, "dependency", f"there is no task {other!r}"))
            elif other in task.depends_on[:number]:
                found.append(Finding(path, line, "dependency", f"{other!r} stands twice"))
        return found

    def _lint_cycles(self) -> list[Finding]:
        from .spec import Finding

        graph = {i: [d for d in t.depends_on if d in self.specs] for i, t in self.valid().items()}
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as exc:
            ring = [str(name) for name in reversed(exc.args[1])]
            document = self._parsed[ring[0]][1]
            number = graph[ring[0]].index(ring[1]) if ring[1] in graph[ring[0]] else 0
            line = document.line(("depends_on", number)) if document else 1
            return [Finding(self.specs[ring[0]], line, "dependency", f"a cycle: {' → '.join(ring)}")]
        return []
