"""`lilims tasks` as an agent drives it: JSON on stdout, exit codes, nothing to read in prose."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lilims.core import cli

from .conftest import Hub, git, spec

ONE, TWO = "one-2a2a", "two-3b3b"


@dataclass
class Seen:
    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        value: dict[str, Any] = json.loads(self.out)
        assert value["schema_version"] == 1
        return value


Run = Callable[..., Seen]


@pytest.fixture
def tasks(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs the command in a folder, in this process."""
    monkeypatch.setenv("NO_COLOR", "1")

    def run(folder: Path, *arguments: str) -> Seen:
        monkeypatch.chdir(folder)
        capfd.readouterr()
        from lilims.agents.commands.tasks import command

        monkeypatch.setattr(cli.lilims, "get_command", lambda _ctx, _name: command)
        code = cli.run(["tasks", *arguments])
        captured = capfd.readouterr()
        return Seen(code, captured.out, captured.err)

    return run


def test_a_whole_life(hub: Hub, tasks: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = hub.clone(), hub.clone()
    listed = tasks(a, "list", "--json").json
    assert [(t["id"], t["state"]) for t in listed["tasks"]] == [(ONE, "ready"), (TWO, "ready")]
    won = tasks(a, "claim", ONE, "--agent", "ann", "--json")
    assert won.code == 0 and won.json["kind"] == "claim" and won.json["agent"] == "ann" and not won.json["resumed"]
    lost = tasks(b, "claim", ONE, "--agent", "bob", "--json")
    assert (lost.code, lost.json["kind"], lost.json["error"]["type"]) == (1, "error", "ClaimHeldError")
    again = tasks(a, "claim", ONE, "--agent", "ann", "--json")
    assert again.code == 0 and again.json["resumed"] and again.json["claim"] == won.json["claim"]

    nxt = tasks(b, "next", "--claim", "--agent", "bob", "--json")
    assert (nxt.code, nxt.json["task"]) == (0, TWO)
    none = tasks(a, "next", "--json")
    assert (none.code, none.json["error"]["type"]) == (1, "NothingReadyError")
    shown = tasks(b, "show", ONE, "--json").json
    assert shown["claim"]["agent"] == "ann" and shown["spec"]["acceptance"][0]["fails_now"] == "No such file"
    assert [t["id"] for t in tasks(b, "list", "--mine", "--json").json["tasks"]] == [TWO]
    assert tasks(b, "renew", TWO, "--json").json["renewals"] == 1
    assert tasks(b, "release", TWO, "--json").json["released"] == [TWO]

    failed = tasks(a, "complete", ONE, "--json")
    assert (failed.code, failed.json["error"]["type"]) == (1, "AcceptanceError")
    git(a, "switch", "--quiet", "-c", f"task/{ONE}")
    (a / "work").mkdir()
    (a / f"work/{ONE}.txt").write_text("done")
    git(a, "add", "-A")
    git(a, "commit", "--quiet", "-m", "work")
    verified = tasks(a, "verify", ONE, "--json")
    assert verified.code == 0 and verified.json["passed"] is True
    dry = tasks(a, "complete", ONE, "--dry-run", "--json")
    assert dry.code == 0 and dry.json["merged"] is False and "Claim: " in dry.json["body"]
    done = tasks(a, "complete", ONE, "--json")
    assert done.code == 0 and done.json["merged"] is True
    assert git(a, "rev-parse", "HEAD") == done.json["commit"] == git(hub.path, "rev-parse", "main")
    assert git(a, "status", "--porcelain") == ""
    assert [(t["id"], t["state"]) for t in tasks(b, "list", "--json").json["tasks"]] == [(ONE, "done"), (TWO, "ready")]
    late = tasks(b, "claim", ONE, "--agent", "bob", "--json")
    assert (late.code, late.json["error"]["type"]) == (1, "NotReadyError")
    assert tasks(a, "lint", "--json").json["findings"] == []


def test_people_can_read_it(hub: Hub, tasks: Run) -> None:
    hub.specs("markup-2a2a", title="[bold]Not[/] markup \\[x]", context="Some [red]context[/] of the task, [/] long")
    clone = hub.clone()
    listed = tasks(clone, "list")
    assert listed.code == 0 and "[bold]Not[/] markup \\[x]" in listed.out
    shown = tasks(clone, "show", "markup-2a2a")
    assert shown.code == 0 and "Some [red]context[/]" in shown.out and "today: No such file" in shown.out
    assert tasks(clone, "next").out.strip() in {ONE, TWO, "markup-2a2a"}
    assert "claimed: " in tasks(clone, "claim", ONE, "--agent", "ann").out
    assert tasks(clone, "graph").out.startswith("digraph tasks {")
    assert tasks(clone, "check-merge").out == "may be merged; completes no task\n"


@pytest.mark.parametrize(
    ("arguments", "kind"),
    [
        (["claim", ONE], "UsageError"),
        (["release"], "UsageError"),
        (["release", ONE, "--force"], "UsageError"),
        (["list", "--branch", "--upload-pack=x"], "UsageError"),
        (["claim", ONE, "--agent", "ann", "--claim", "0" * 32], "UsageError"),
        (["lint", "--only", "absent-2a2a"], "UsageError"),
        (["check-merge", "--head", "absent"], "UsageError"),
        (["new", "A title", "--workstream", "ws09-docs", "--touch", "../x"], "UsageError"),
        (["new", "A title", "--workstream", "../up", "--touch", "docs"], "UsageError"),
        (["new", "A title", "--workstream", "ws09-docs", "--touch", "docs", "--accept", "x"], "UsageError"),
    ],
    ids=lambda value: " ".join(value[:3]) if isinstance(value, list) else "",
)
def test_usage(hub: Hub, tasks: Run, arguments: list[str], kind: str) -> None:
    seen = tasks(hub.clone(), *arguments, "--json")
    assert (seen.code, seen.json["error"]["type"]) == (2, kind)


def test_a_remote_that_is_away_is_exit_code_3(hub: Hub, tasks: Run) -> None:
    clone = hub.clone()
    hub.path.rename(hub.folder / "away.git")
    for arguments in (["list"], ["claim", ONE, "--agent", "ann"], ["next"]):
        seen = tasks(clone, *arguments, "--json")
        assert (seen.code, seen.json["error"]["type"]) == (3, "RemoteError")
    assert [t["state"] for t in tasks(clone, "list", "--offline", "--json").json["tasks"]] == ["open", "open"]
    assert tasks(clone, "list", "--remote", "nowhere", "--json").code == 3


def test_outside_a_repository(tmp_path: Path, tasks: Run) -> None:
    seen = tasks(tmp_path, "list", "--json")
    assert seen.code == 1 and "is not in a git working tree" in seen.json["error"]["message"]


def test_going_on_in_another_clone(hub: Hub, tasks: Run) -> None:
    a, b = hub.clone(), hub.clone()
    won = tasks(a, "claim", ONE, "--agent", "ann", "--json").json
    assert tasks(b, "claim", ONE, "--agent", "ann", "--json").code == 1
    assert tasks(b, "claim", ONE, "--agent", "ann", "--claim", won["claim"], "--json").json["resumed"]
    assert tasks(b, "renew", ONE, "--json").code == 0


def test_settings_from_the_environment(hub: Hub, tasks: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LILIMS_AGENT", "ann")
    monkeypatch.setenv("LILIMS_CLAIMS_PREFIX", "refs/heads/trial/")
    assert tasks(hub.clone(), "claim", ONE, "--json").json["agent"] == "ann"
    assert set(hub.refs("refs/heads/trial/")) == {ONE}
    assert hub.refs() == {}


@pytest.mark.parametrize("prefix", ["refs/heads/", "claims/", "refs/claims", "refs/../x/", "refs/claims/ /", "--x"])
def test_prefixes_that_are_refused(hub: Hub, tasks: Run, monkeypatch: pytest.MonkeyPatch, prefix: str) -> None:
    monkeypatch.setenv("LILIMS_CLAIMS_PREFIX", prefix)
    seen = tasks(hub.clone(), "list", "--json")
    assert (seen.code, seen.json["error"]["where"]) == (1, "LILIMS_CLAIMS_PREFIX")


def test_maintainers_release(hub: Hub, tasks: Run) -> None:
    a, b = hub.clone(), hub.clone()
    tasks(a, "claim", ONE, "--agent", "ann")
    assert tasks(b, "release", ONE, "--json").json["error"]["type"] == "ClaimLostError"
    assert tasks(b, "release", ONE, "--force", "--dry-run", "--json").json == {
        "kind": "release", "schema_version": 1, "released": [ONE], "dry_run": True,
    }  # fmt: skip
    assert set(hub.refs()) == {ONE}
    assert tasks(b, "release", ONE, "--force", "--yes", "--json").json["released"] == [ONE]
    assert tasks(a, "renew", ONE, "--json").code == 1
    tasks(a, "claim", TWO, "--agent", "ann")
    hub.put({f"specs/ws09-docs/{TWO}.done.json": "{}"})
    assert tasks(b, "release", "--done", "--json").json["released"] == [TWO]
    assert hub.refs() == {}


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script stands in for gh")
def test_a_pull_request_through_gh(hub: Hub, tasks: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clone = hub.clone()
    tasks(clone, "claim", ONE, "--agent", "ann")
    (clone / "work").mkdir()
    (clone / f"work/{ONE}.txt").write_text("done")
    git(clone, "add", "-A")
    git(clone, "commit", "--quiet", "-m", "work")
    monkeypatch.setattr("shutil.which", which_without("gh"))
    by_hand = tasks(clone, "complete", ONE, "--pull-request", "--json")
    assert by_hand.code == 0 and by_hand.json["pull_request"]["message"] == "gh is not installed"
    monkeypatch.undo()
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    fake = tmp_path / "bin/gh"
    fake.parent.mkdir()
    fake.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" > {tmp_path}/asked\necho https://host/pull/1\n')
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(clone)
    code = "import sys; from lilims.core.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code, "tasks", "complete", ONE, "--pull-request", "--json"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert made["pull_request"] == {"opened": True, "branch": f"task/{ONE}", "message": "https://host/pull/1"}
    asked = (tmp_path / "asked").read_text()
    assert asked.startswith(f"pr\ncreate\n--base\nmain\n--head\ntask/{ONE}\n") and "\nClaim: " in asked
    main = git(hub.path, "rev-parse", "main")
    checked = tasks(clone, "check-merge", "--head", made["commit"], "--json")
    assert checked.code == 0 and checked.json["tasks"] == [ONE] and checked.json["base"] == main
    git(clone, "commit", "--quiet", "--allow-empty", "-m", f"x\n\nTask: {TWO}")
    refused = tasks(clone, "check-merge", "--json")
    assert refused.code == 1 and refused.json["refusals"][0]["rule"] == "trailers"


def which_without(name: str) -> Callable[..., str | None]:
    import shutil

    real = shutil.which
    return lambda program, *args, **kwargs: None if program == name else real(program, *args, **kwargs)


def test_new_lint_and_schema(hub: Hub, tasks: Run, tmp_path: Path) -> None:
    clone = hub.clone()
    arguments = ["--workstream", "ws06-bench", "--touch", "docs/bench.md", "--depends-on", ONE]
    made = tasks(clone, "new", "9 Lives: a `$(touch x)` title", *arguments, "--json").json
    assert made["path"].startswith("specs/ws06-bench/lives-a-touch-x-title-") and made["path"].endswith(".yaml")
    linted = tasks(clone, "lint", "--json")
    assert linted.code == 1
    (finding,) = linted.json["findings"]
    assert (finding["path"], finding["rule"]) == (made["path"], "acceptance")
    assert (clone / made["path"]).read_text().splitlines()[finding["line"] - 1].startswith("acceptance")
    (clone / made["path"]).unlink()
    accept = ["--accept", "python -c 'open(\"absent\")'", "--fails-now", "No such file"]
    good = tasks(clone, "new", "Proved", *arguments, *accept, "--json").json
    assert good["id"] != tasks(clone, "new", "Proved", *arguments, *accept, "--json").json["id"]
    proved = tasks(clone, "lint", "--prove", "--jobs", "2", "--only", good["id"], "--json")
    assert proved.code == 0 and [p["problem"] for p in proved.json["proofs"]] == [None]
    (clone / "specs/ws09-docs/bad-2a2a.yaml").write_text(
        spec("bad-2a2a", acceptance=[{"run": ["python", "-c", "pass"], "fails_now": "nothing"}])
    )
    unproved = tasks(clone, "lint", "--prove", "--only", "bad-2a2a")
    assert unproved.code == 1 and "acceptance 0: passes already" in unproved.out
    tasks(clone, "schema", "-o", str(tmp_path / "s.json"))
    assert json.loads((tmp_path / "s.json").read_text()) == json.loads(tasks(clone, "schema").out)


def test_graph_to_a_file(hub: Hub, tasks: Run, tmp_path: Path) -> None:
    clone = hub.clone()
    seen = tasks(clone, "graph", "-o", str(tmp_path / "g.svg"), "--json").json
    assert seen["format"] == "svg" and len(seen["nodes"]) == 2
    assert (tmp_path / "g.svg").read_text().startswith("<svg")
    assert tasks(clone, "graph", "--offline", "--format", "svg").out.startswith("<svg")


def test_watch_renews_and_ends_when_the_claim_is_lost(hub: Hub, tasks: Run) -> None:
    a, b = hub.clone(), hub.clone()
    tasks(a, "claim", ONE, "--agent", "ann", "--lease-minutes", "0.02")
    code = "import sys; from lilims.core.cli import main; main()"
    watching = subprocess.Popen(
        [sys.executable, "-c", code, "tasks", "renew", ONE, "--watch", "--json"],
        cwd=a, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert watching.stdout is not None
        text = ""
        while '"renewals": 3' not in text:
            line = watching.stdout.readline()
            assert line, "it ended early"
            text += line
        assert tasks(b, "release", ONE, "--force", "--yes").code == 0
        rest, _err = watching.communicate(timeout=30)
    finally:
        watching.kill()
    assert watching.returncode == 1 and '"type": "ClaimLostError"' in rest
