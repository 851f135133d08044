"""Races of real processes over a bare remote: agents are killed, clocks differ, and each task is done exactly once.

The hub writes down every push that it takes, with the ids that refs had before. So what is checked is what happened on
the remote, not what the agents say.

    pytest -m soak workstreams/ws11-agents/tests/test_race.py -s        the long forms: minutes
"""

from __future__ import annotations

import os
import random
import shlex
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from lilims.agents.catalogue import Catalogue
from lilims.agents.claim_record import read_claims
from lilims.agents.git import Git
from lilims.agents.records import parse_completion

from .conftest import Hub, git, spec

ZERO = "0" * 40
WORKER = Path(__file__).with_name("race_worker.py")
# A push is noted when its refs have moved (not in post-receive, which a host leaves out when the agent has gone), under
# the time at which they were locked: what one push could read of another is in that order, however the hooks fare.
NOTE_PUSH = f"""case "$1" in
prepared) {shlex.quote(sys.executable)} -Ic "import time; print(time.time_ns())" > "$GIT_DIR/times/$PPID" ;;
committed) cat > "$GIT_DIR/pushes/$(cat "$GIT_DIR/times/$PPID")-$PPID" ;;
esac"""


# In a session of its own, as the hub's side of a connection is another machine's: it is not killed with the agent.
RECEIVE = "import os, sys; os.setsid(); os.execvp('git', ['git', 'receive-pack', *sys.argv[1:]])"

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="kill -9 and sessions")


@dataclass
class Agent:
    """A clone and whoever works in it now."""

    name: str
    clone: Path
    lease: float
    spread: float
    log: Path
    process: subprocess.Popen[bytes] | None = None
    lives: int = field(default=0)

    def start(self, chance: random.Random) -> None:
        self.lives += 1
        skew = chance.uniform(-self.spread, self.spread)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(WORKER), str(self.clone), self.name, f"{skew}", f"{self.lease}"],
                stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    def kill(self, everything: bool) -> None:
        """kill -9: the agent alone, or with every git command that it runs (a host lives on: setsid)."""
        assert self.process is not None
        if everything:
            os.killpg(self.process.pid, signal.SIGKILL)
        else:
            self.process.kill()
        self.process.wait()


def prepared(hub: Hub, names: list[str], grace: int) -> None:
    accept = [{"run": ["test", "-s", "work/{}.txt"], "fails_now": "nothing"}]
    files = {"specs/protocol.toml": f"grace_s = {grace}\n"}
    for number, name in enumerate(names):
        command = [{**accept[0], "run": ["test", "-s", f"work/{name}.txt"]}]
        depends = [names[number // 2]] if number % 3 == 2 else []
        shared = [f"shared/{number // 4}"] if number % 4 < 2 else []  # pairs that may not be worked on at a time
        files[f"specs/ws09-docs/{name}.yaml"] = spec(
            name, acceptance=command, depends_on=depends, touches=[f"work/{name}.txt", *shared]
        )
    git(hub.path, "update-ref", "-d", "refs/heads/main")
    hub.put(files)
    for folder in ("pushes", "times"):
        (hub.path / folder).mkdir()
    hub.hook("reference-transaction", NOTE_PUSH)


def run_race(
    hub: Hub, agents: int, names: list[str], *, lease: float, kill_every: float, limit: float, seed: int
) -> Counter[str]:
    """Lets agents work until all tasks are done; kills one now and then and starts it anew. Returns what they said."""
    chance = random.Random(seed)
    prepared(hub, names, grace=1)
    crew = [Agent(f"agent-{n}", hub.clone(f"agent{n}"), lease, lease, hub.folder / f"log{n}") for n in range(agents)]
    for agent in crew:
        git(agent.clone, "config", "remote.origin.receivepack", shlex.join([sys.executable, "-Ic", RECEIVE]))
        agent.start(chance)
    counts: Counter[str] = Counter()
    end, next_kill = time.monotonic() + limit, time.monotonic() + kill_every
    while any(agent.process and agent.process.poll() is None for agent in crew):
        assert time.monotonic() < end, f"not done in time: {dict(counts)}\n" + crew[0].log.read_text()[-2000:]
        for agent in crew:
            assert agent.process is not None
            code = agent.process.poll()
            assert code in (None, 0), agent.log.read_text()[-3000:]
        if time.monotonic() > next_kill:
            victim = chance.choice(crew)
            if victim.process and victim.process.poll() is None:
                victim.kill(everything=chance.random() < 0.5)
                counts["killed"] += 1
                victim.start(chance)
            next_kill = time.monotonic() + chance.expovariate(1 / kill_every)
        time.sleep(0.02)
    for agent in crew:
        counts.update(line.split(" ")[0] for line in agent.log.read_text().splitlines())
    return counts


def check(hub: Hub, names: list[str]) -> Counter[str]:
    """What the remote says: each task done once, each by a push that deleted the claim which the record names."""
    here = Git(hub.path)
    catalogue = Catalogue.of_commit(here, git(hub.path, "rev-parse", "main"))
    assert set(catalogue.done) == set(names), "a task is lost"
    assert catalogue.lint() == []
    for name in names:
        path = catalogue.done[name]
        touched = git(hub.path, "log", "--format=%H", "-m", "--first-parent", "main", "--", path).split()
        assert len(touched) == 1, f"{name} was completed {len(touched)} times"
    seen: Counter[str] = Counter()
    for note in sorted((hub.path / "pushes").iterdir()):
        lines = [line.split() for line in note.read_text().splitlines()]
        seen["pushes"] += 1
        claims = {
            ref.removeprefix("refs/claims/"): (old, new)
            for old, new, ref in lines
            if "_locks" not in ref and "claims" in ref
        }
        for old, new, ref in lines:
            if ref != "refs/heads/main":
                continue
            seen["completions"] += 1
            added = [p for p, s in here.changes(old, new).items() if p.endswith(".done.json")]
            assert len(added) == 1
            record = parse_completion(git(hub.path, "show", f"{new}:{added[0]}").encode(), added[0])
            before, after = claims[record.task]
            assert after == ZERO, "a completion deletes its claim"
            assert read_claims(here, {record.task: before})[record.task].nonce == record.claim, "by another's claim"
            content = git(hub.path, "show", f"{new}:work/{record.task}.txt").split()
            assert content == [record.agent, record.claim], "the merged work is the claim's"
        seen["claims"] += sum(old == ZERO for old, _new in claims.values())
        seen["takeovers"] += sum(ZERO not in (old, new) for old, new in claims.values())
    assert seen["completions"] == len(names)
    return seen


def most_claims(hub: Hub) -> int:
    """Replays the pushes: no two claims on one file stand on the remote at a time. Returns how many stood at most."""
    here = Git(hub.path)
    standing: dict[str, str] = {}
    most = 0
    for note in sorted((hub.path / "pushes").iterdir()):
        for _old, new, ref in (line.split() for line in note.read_text().splitlines()):
            name = ref.removeprefix("refs/claims/")
            if name == ref or name.startswith("_locks"):
                continue
            if new == ZERO:
                standing.pop(name, None)
            else:
                standing[name] = new
        most = max(most, len(standing))
        claims = list(read_claims(here, standing).values())
        for n, one in enumerate(claims):
            for other in claims[n + 1 :]:
                assert not one.overlaps(other.touches), f"{one.task} and {other.task} are claimed at a time"
    return most


def names_of(count: int) -> list[str]:
    return [f"task-{n:02}a{n % 7}b" for n in range(count)]


def test_a_race_with_kills(hub: Hub) -> None:
    names = names_of(5)
    counts = run_race(hub, 4, names, lease=2.0, kill_every=0.6, limit=120, seed=1)
    seen = check(hub, names)
    assert most_claims(hub) >= 2
    assert counts["completed"] <= len(names) == seen["completions"]


@pytest.mark.soak
def test_sixteen_agents_fifty_tasks(hub: Hub) -> None:
    started, names = time.monotonic(), names_of(50)
    counts = run_race(hub, 16, names, lease=6.0, kill_every=0.5, limit=1200, seed=2)
    seen = check(hub, names)
    seen["claims at a time"] = most_claims(hub)
    assert counts["killed"] >= 20
    assert seen["takeovers"] + counts["resumed"] > 0, "no killed agent's task was ever taken up"
    print(f"\n16 agents, 50 tasks: {time.monotonic() - started:.0f} s; agents: {dict(counts)}; hub: {dict(seen)}")


# -- one task, many clones --------------------------------------------------------------------------------------------


def run_rounds(hub: Hub, clones: int, names: list[str]) -> None:
    """Every clone claims the same task at the same time, once for each name: one wins and the others know it."""
    hub.specs(*names)
    crew = [
        subprocess.Popen(
            [sys.executable, str(WORKER), str(hub.clone()), f"agent-{n}", "--rounds"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1,
        )
        for n in range(clones)
    ]  # fmt: skip
    try:
        pipes = [(agent.stdin, agent.stdout) for agent in crew]
        assert all(out is not None and out.readline() == "ready\n" for _in, out in pipes)
        for name in names:
            for stdin, _out in pipes:
                assert stdin is not None
                stdin.write(f"{name}\n")
                stdin.flush()
            answers = [out.readline().split() for _in, out in pipes if out is not None]
            winners = [answer for answer in answers if answer[0] == "won"]
            assert len(winners) == 1, (name, answers)
            assert sum(answer == ["ClaimHeldError"] for answer in answers) == clones - 1, (name, answers)
            assert hub.refs()[name] == winners[0][1]
    finally:
        for agent in crew:
            agent.kill()
            agent.communicate()


def test_one_winner(hub: Hub) -> None:
    run_rounds(hub, 5, [f"round-{n}a2b" for n in range(3)])


@pytest.mark.soak
def test_twelve_clones_a_hundred_times(hub: Hub) -> None:
    started = time.monotonic()
    run_rounds(hub, 12, [f"round-{n:02}a2b" for n in range(100)])
    print(f"\n12 clones, 100 rounds: {time.monotonic() - started:.0f} s")


def test_the_commands_exit_codes_under_race(hub: Hub) -> None:
    """As agents call it: 0 for one, 1 for all others."""
    code = "import sys; from lilims.core.cli import main; main()"
    crew = [
        subprocess.Popen(
            [sys.executable, "-c", code, "tasks", "claim", "one-2a2a", "--agent", f"agent-{n}", "--json"],
            cwd=hub.clone(), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for n in range(4)
    ]  # fmt: skip
    for agent in crew:
        agent.communicate(timeout=60)
    assert sorted(agent.returncode for agent in crew) == [0, 1, 1, 1]
