"""The check before a merge: what completes a task must be done under the claim that is live for it.

    record      each added record is of a known task that is not done, its evidence passed, on a commit of the range
    trailers    the commit that adds it carries Task and Claim, which agree with the record and with the remote's claim
    scope       files that the range changes are covered by what the claims touch
    immutable   specs and records that the main branch holds do not change, and records stay

A range that completes no task and changes no spec passes. Knows commits and claims. Must not change anything.
"""

from __future__ import annotations

from dataclasses import dataclass

from .board import Board
from .catalogue import FOLDER
from .completing import outside
from .errors import TaskSpecError
from .git import Git, GitError
from .records import Completion, parse_completion

__all__ = ["Refusal", "check_merge"]


@dataclass(frozen=True, order=True)
class Refusal:
    """One reason not to merge."""

    rule: str
    message: str

    def __str__(self) -> str:
        return f"{self.rule}: {self.message}"


def check_merge(git: Git, board: Board, base: str, head: str) -> tuple[list[str], list[Refusal]]:
    """Tasks that `base..head` completes, and every reason not to merge it. Both are full commit ids."""
    fork = git.run("merge-base", base, head).stdout.decode("ascii", "replace").strip()
    if not fork:
        raise GitError("the two commits have nothing in common", hint="fetch the whole history (fetch-depth: 0)")
    changed = git.changes(fork, head)
    refusals = _immutable(changed)
    added = {p: s for p, s in changed.items() if s == "A" and _is_record(p)}
    entries = git.files(head, FOLDER)
    content = git.read_objects(entries[p].object_id for p in added)
    tasks: dict[str, Completion] = {}
    for path in sorted(added):
        name = path.rsplit("/", 1)[1].removesuffix(".done.json")
        try:
            record = parse_completion(content.get(entries[path].object_id, b""), path)
        except TaskSpecError as exc:
            refusals.append(Refusal("record", str(exc)))
            continue
        tasks[name] = record
        refusals += _record(git, board, path, name, record, fork, head)
        refusals += _trailers(git, board, path, name, record, fork, head)
    for task in sorted(_named(git, fork, head) - tasks.keys()):
        refusals.append(Refusal("trailers", f"a commit names the task {task}, but the range adds no record of it"))
    if tasks and tasks.keys() <= board.claims.keys():
        claims = [board.claims[task] for task in tasks]
        touches = tuple(glob for claim in claims for glob in claim.touches)
        rest = {p: s for p, s in changed.items() if p not in added}
        refusals += [Refusal("scope", f"{p} is outside what the task touches") for p in outside(rest, touches)]
    return sorted(tasks), sorted(refusals)


def _is_record(path: str) -> bool:
    return path.startswith(f"{FOLDER}/") and path.endswith(".done.json")


def _immutable(changed: dict[str, str]) -> list[Refusal]:
    found = []
    for path, status in sorted(changed.items()):
        if _is_record(path) and status != "A":
            found.append(Refusal("immutable", f"{path} is a completion record: it stays as it is"))
        if path.startswith(f"{FOLDER}/") and path.endswith(".yaml") and status in "MT":
            found.append(Refusal("immutable", f"{path} may not change: delete it and write a new task"))
    return found


def _record(git: Git, board: Board, path: str, name: str, record: Completion, fork: str, head: str) -> list[Refusal]:
    found = []
    spec = board.catalogue.specs.get(name)
    if spec is None or spec.rsplit("/", 1)[0] != path.rsplit("/", 1)[0]:
        return [Refusal("record", f"{path}: the main branch has no task {name!r} there")]
    if name in board.catalogue.done:
        found.append(Refusal("record", f"{name} is done already"))
    if record.task != name or record.evidence.task != name:
        found.append(Refusal("record", f"{path} speaks of {record.task!r}"))
    if record.spec != board.catalogue.files[spec]:
        found.append(Refusal("record", f"{path}: the work was done on another text of the spec"))
    if not record.evidence.passed:
        found.append(Refusal("record", f"{path}: its evidence shows a failure"))
    verified = git.commit_id(record.evidence.commit)
    if verified is None or not git.is_ancestor(verified, head) or git.is_ancestor(verified, fork):
        found.append(Refusal("record", f"{path}: the commit that was verified is not in what is to be merged"))
    return found


def _trailers(git: Git, board: Board, path: str, name: str, record: Completion, fork: str, head: str) -> list[Refusal]:
    options = ("--diff-filter=A", "--format=%H", "-m", "--first-parent")
    adding = git.out("log", *options, f"{fork}..{head}", "--", path).split()
    if len(adding) != 1:
        return [Refusal("trailers", f"{path} is not added by exactly one commit of the branch")]
    if _trailer(git, adding[0], "Task") != [name] or _trailer(git, adding[0], "Claim") != [record.claim]:
        return [Refusal("trailers", f"{adding[0][:12]} does not carry the trailers Task and Claim of {path}")]
    claim = board.claims.get(name)
    if claim is None:
        return [Refusal("trailers", f"there is no claim of {name} on the remote")]
    if claim.nonce != record.claim:
        return [Refusal("trailers", f"the claim of {name} is {claim.agent}'s {claim.nonce}, not {record.claim}")]
    return []


def _trailer(git: Git, commit: str, key: str) -> list[str]:
    text = git.out("log", "-1", f"--format=%(trailers:key={key},valueonly,unfold)", commit)
    return [line.strip() for line in text.splitlines() if line.strip()]


def _named(git: Git, fork: str, head: str) -> set[str]:
    text = git.out("log", "--format=%(trailers:key=Task,valueonly,unfold)", f"{fork}..{head}")
    return {line.strip() for line in text.splitlines() if line.strip()}
