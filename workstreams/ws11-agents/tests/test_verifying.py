"""Acceptance commands: a clean worktree, time limits, whole process groups, bounded and private evidence; and proof."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from lilims.agents import process
from lilims.agents.git import Git
from lilims.agents.overlay import environment
from lilims.agents.prove import prove
from lilims.agents.spec import Acceptance, Task, parse_task
from lilims.agents.verifying import clean_worktree, run_acceptance, verify

from .conftest import Hub, git, spec

posix = pytest.mark.skipif(sys.platform == "win32", reason="process groups")


def run(code: str, timeout_s: float = 30, **changes: str) -> process.Outcome:
    return process.run([sys.executable, "-c", code], Path.cwd(), {**os.environ, **changes}, timeout_s)


def test_output_and_exit_code() -> None:
    seen = run("import sys; print('out'); print('err', file=sys.stderr); sys.exit(7)")
    assert (seen.exit_code, seen.timed_out, seen.started) == (7, False, True)
    assert sorted(seen.output.split()) == ["err", "out"]


def test_a_great_deal_of_output_is_kept_in_part() -> None:
    seen = run("print('start'); print('x' * 3_000_000); print('end')")
    assert seen.output_bytes == 3_000_011
    assert len(seen.output) < 70_000
    assert seen.output.startswith("start") and seen.output.endswith("end\n") and "bytes left out" in seen.output


def test_stdin_is_empty() -> None:
    assert run("print(repr(input()))").exit_code == 1


@posix
def test_the_time_limit_ends_the_whole_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_MERCY", 0.3)
    pids = tmp_path / "pids"
    code = f"""
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
stubborn = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(60)"
child = subprocess.Popen([sys.executable, "-c", stubborn])
open({str(pids)!r}, "w").write(f"{{os.getpid()}} {{child.pid}}")
time.sleep(60)
"""
    started = time.monotonic()
    seen = run(code, timeout_s=4)
    assert (seen.exit_code, seen.timed_out) == (None, True)
    assert time.monotonic() - started < 45
    assert_gone(pids)


@posix
def test_what_a_command_leaves_running_is_ended(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    sleeper = "[sys.executable, '-c', 'import time; time.sleep(60)']"
    code = f"import subprocess, sys; p = subprocess.Popen({sleeper}); open({str(pids)!r}, 'w').write(str(p.pid))"
    seen = run(code)
    assert seen.exit_code == 0 and seen.seconds < 20
    assert_gone(pids)


def assert_gone(pids: Path) -> None:
    for pid in pids.read_text().split():
        for _ in range(50):
            try:
                os.kill(int(pid), 0)
                stat = Path(f"/proc/{pid}/stat")
                if stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z":
                    break  # ended; its parent has not asked for it yet
            except ProcessLookupError:
                break
            time.sleep(0.1)
        else:
            pytest.fail(f"{pid} still runs")


def test_a_program_that_is_not_there() -> None:
    seen = process.run(["no-such-program-here"], Path.cwd(), dict(os.environ), 5)
    assert not seen.started and "cannot be started" in seen.output


# -- the tree and its environment -------------------------------------------------------------------------------------


def task(name: str, *commands: list[str], **changes: object) -> Task:
    acceptance = [{"run": list(c), "fails_now": "No such file", **changes} for c in commands]
    found, _document, findings = parse_task(spec(name, acceptance=acceptance).encode(), "x")
    assert found is not None, findings
    return found


READ = ["python", "-c", "print(open('work/one-2a2a.txt').read())"]


def test_verify_runs_in_a_clean_worktree(hub: Hub) -> None:
    here = Git(hub.clone())
    (here.root / "work").mkdir()
    (here.root / "work/one-2a2a.txt").write_text("not committed")
    head = here.commit_id("HEAD")
    assert head is not None
    seen = verify(here, task("one-2a2a", READ, ["python", "-c", "open('litter', 'w')"]), head)
    assert [r.outcome for r in seen.results] == ["failed", "passed"]
    assert not seen.passed
    assert "No such file" in seen.results[0].output_tail
    assert not (here.root / "litter").exists()
    assert git(here.root, "worktree", "list").count("\n") == 0
    tree = here.tree_with(head, {"work/one-2a2a.txt": b"committed"})
    made = here.commit(tree, "work", [head])
    seen = verify(here, task("one-2a2a", READ), made)
    assert seen.passed and seen.commit == made and "committed" in seen.results[0].output_tail


def test_a_worktree_that_a_killed_run_left_is_pruned(hub: Hub) -> None:
    here = Git(hub.clone())
    head = here.commit_id("HEAD")
    assert head is not None
    left = here.root.parent / "left"
    here.out("worktree", "add", "--detach", str(left), head)
    left.rename(here.root.parent / "moved-away")
    with clean_worktree(here, head) as (tree, _scratch):
        assert (tree / "README.md").is_file()
    assert git(here.root, "worktree", "list").count("\n") == 0
    assert not tree.exists()


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
def test_platforms_and_folders(tmp_path: Path) -> None:
    other = "windows" if sys.platform != "win32" else "linux"
    assert (
        run_acceptance(task("a-2a2a", READ, platform=other).acceptance[0], tmp_path, tmp_path / "s")[0].outcome
        == "skipped"
    )
    outside = tmp_path / "outside"
    (tmp_path / "tree").mkdir()
    outside.mkdir()
    (tmp_path / "tree/link").symlink_to(outside)
    for cwd in ("link", "absent"):
        command = task("a-2a2a", ["python", "-c", "print('ran')"], cwd=cwd).acceptance[0]
        result, output = run_acceptance(command, tmp_path / "tree", tmp_path / "s")
        assert result.outcome == "not_started" and "is not in the tree" in output


def test_no_shell_reads_a_command(tmp_path: Path) -> None:
    words = ["$(touch pwned)", "`touch pwned`", "; touch pwned", "&& touch pwned", "*"]
    command = task("a-2a2a", ["python", "-c", "import sys; print(sys.argv[1:])", *words]).acceptance[0]
    result, output = run_acceptance(command, tmp_path, tmp_path / "scratch")
    assert result.outcome == "passed" and str(words) in output
    assert not list(tmp_path.rglob("pwned"))


def test_the_environment_has_no_secrets_and_a_home_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = ("GITHUB_TOKEN", "AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "MY_PASSWORD", "OPENAI_API_KEY", "GIT_DIR")
    for name in secrets:
        monkeypatch.setenv(name, "hidden")
    made = environment(tmp_path, tmp_path / "scratch")
    assert not set(secrets) & made.keys() and "hidden" not in made.values()
    assert made["LILIMS_HOME"].startswith(str(tmp_path)) and made["NO_COLOR"] == "1"


def test_the_trees_own_packages_and_commands_are_used(tmp_path: Path) -> None:
    member = tmp_path / "workstreams/ws99-hello"
    (member / "src/lilims/hello").mkdir(parents=True)
    (member / "src/lilims/hello/__init__.py").write_text("'''Say hello.'''\nWORD = 'from the tree'\n")
    (tmp_path / "pyproject.toml").write_text('[tool.uv.workspace]\nmembers = ["workstreams/*"]\n')
    (member / "pyproject.toml").write_text(
        '[project]\nname = "x"\n[project.entry-points."lilims.commands"]\nhello = "lilims.hello:c"\n'
    )
    code = (
        "import lilims.hello, lilims.core; from importlib.metadata import entry_points;"
        "print(lilims.hello.WORD, [e.value for e in entry_points(group='lilims.commands', name='hello')])"
    )
    command = task("a-2a2a", ["python", "-c", code]).acceptance[0]
    result, output = run_acceptance(command, tmp_path, tmp_path / "scratch")
    assert result.outcome == "passed", output
    assert "from the tree ['lilims.hello:c']" in output


def test_evidence_does_not_name_this_machines_folders(tmp_path: Path) -> None:
    code = "import os; print(os.getcwd(), os.environ['LILIMS_HOME'], os.path.expanduser('~/x'))"
    _result, output = run_acceptance(task("a-2a2a", ["python", "-c", code]).acceptance[0], tmp_path, tmp_path / "s")
    assert output == "<tree> <tree>/s/home ~/x\n"


# -- proof ------------------------------------------------------------------------------------------------------------

PROOFS = {
    "as-stated": (["python", "-c", "open('absent')"], {}, None),
    "wrapped-text": (["python", "-c", "raise SystemExit('No such\\n   file')"], {}, None),
    "passes": (["python", "-c", "pass"], {}, "passes already"),
    "another-reason": (["python", "-c", "1/0"], {}, "not for the stated reason: ZeroDivisionError"),
    "says-so-but-passes": (["python", "-c", "print('No such file')"], {}, "passes already"),
    "hangs": (["python", "-c", "import time; time.sleep(60)"], {"timeout_s": 1}, "still running after 1 s"),
    "absent-program": (["no-such-program", "No such file"], {}, "does not run"),
}


def test_proofs(hub: Hub) -> None:
    here = Git(hub.clone())
    head = here.commit_id("HEAD")
    assert head is not None
    tasks = [task(f"{name}-2a2a", command, **changes) for name, (command, changes, _problem) in PROOFS.items()]
    seen: list[str] = []
    proofs = prove(here, tasks, head, jobs=4, done=lambda proof: seen.append(proof.task))
    assert sorted(seen) == sorted(t.id for t in tasks)
    for proof, (name, (_command, _changes, problem)) in zip(proofs, PROOFS.items(), strict=True):
        assert proof.task == f"{name}-2a2a"
        assert (proof.problem is None) == (problem is None), (name, proof.problem)
        assert problem is None or problem in str(proof.problem), name


def test_an_acceptance_is_what_the_spec_says() -> None:
    made = Acceptance(run=["x"], fails_now="nothing")
    assert (made.cwd, made.timeout_s, made.platform) == (".", 300, "any")
