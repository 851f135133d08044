"""One agent of the races: `race_worker.py CLONE NAME SKEW LEASE` claims, works, verifies, completes till all is done.

With `race_worker.py CLONE NAME --rounds` it claims whatever task stdin names and prints how that ended, line by line.
It prints one line for each thing that happens and may be killed anywhere.
"""

from __future__ import annotations

import random
import sys
import time
from pathlib import Path

from lilims.agents.board import Workplace
from lilims.agents.claiming import claim, own
from lilims.agents.completing import complete
from lilims.agents.errors import TaskError
from lilims.agents.git import Git
from lilims.agents.journal import Journal
from lilims.agents.picking import candidates
from lilims.agents.remote import Remote
from lilims.agents.verifying import verify


def say(*words: object) -> None:
    print(*words, flush=True)


def chosen(place: Workplace, journal: Journal, name: str, lease: float) -> str | None:
    """A task that is held from here already, or one that is won now."""
    board = place.board()
    for task in journal.tasks():
        try:
            own(board, journal, task)
        except TaskError:
            journal.forget(task)
        else:
            say("resumed", task)
            return task
    for found in candidates(board, name)[:3]:
        try:
            won = claim(place, journal, found.id, name, lease_s=lease)
        except TaskError as exc:
            say("lost", found.id, type(exc).__name__)
            continue
        say("took_over" if won.took_over else "claimed", found.id)
        return found.id
    return None


def work(place: Workplace, journal: Journal, task: str, name: str) -> None:
    """What an agent does: a commit on the main branch as it is now, verified in a clean worktree, then completed."""
    board = place.board()
    claimed = own(board, journal, task)
    tree = place.git.tree_with(board.main, {f"work/{task}.txt": f"{name} {claimed.nonce}\n".encode()})
    head = place.git.commit(tree, f"work on {task}", [board.main])
    time.sleep(random.uniform(0, 0.1))
    evidence = verify(place.git, board.catalogue.task(task), head)
    complete(place, journal, evidence)
    say("completed", task)


def main(clone: str, name: str, skew: float, lease: float) -> None:
    here = Git(Path(clone))
    place, journal = Workplace(here, Remote(here), skew=skew), Journal(here.own_folder, "origin")
    while True:
        try:
            board = place.board()
            if board.catalogue.specs.keys() <= board.catalogue.done.keys():
                return
            task = chosen(place, journal, name, lease)
            if task is None:
                time.sleep(random.uniform(0.1, 0.4))
                continue
            work(place, journal, task, name)
        except TaskError as exc:
            say("refused", type(exc).__name__, exc)


def rounds(clone: str, name: str) -> None:
    here = Git(Path(clone))
    place, journal = Workplace(here, Remote(here)), Journal(here.own_folder, "origin")
    place.board()
    say("ready")
    for line in sys.stdin:
        try:
            won = claim(place, journal, line.strip(), name)
        except TaskError as exc:
            say(type(exc).__name__)
        else:
            say("won", won.claim.commit)


if __name__ == "__main__":
    if sys.argv[3] == "--rounds":
        rounds(sys.argv[1], sys.argv[2])
    else:
        main(sys.argv[1], sys.argv[2], float(sys.argv[3]), float(sys.argv[4]))
