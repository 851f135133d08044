"""macos.yml and bench.yml: the CPU is the gate, a Mac of one's own runs no stranger's code, steps are scripts.

That they are valid, and safe in general, is for actionlint and zizmor to say.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from lilims.bench.commands.gate import _judged
from lilims.core.errors import UsageError

ROOT = Path(__file__).parents[4]
NAMES = ("macos", "bench")
_NO_FORK = "github.event_name != 'pull_request' || github.event.pull_request.head.repo.full_name == github.repository"
bash = pytest.mark.skipif(sys.platform == "win32", reason="scripts of Linux and macOS")


def workflow(name: str) -> dict[str, Any]:
    text = (ROOT / ".github" / "workflows" / f"{name}.yml").read_text("utf-8")
    found: dict[str, Any] = yaml.load(text, yaml.BaseLoader)  # strings alone: `on` is a key, not True
    assert found["jobs"].pop("plan")["uses"] == "./.github/workflows/plan.yml"  # the rest waits for it
    assert all("plan" in job["needs"] for job in found["jobs"].values())
    return found


def jobs_of(name: str) -> dict[str, Any]:
    """The jobs with steps; the plan, which decides whether they run, is another workflow's."""
    return {key: job for key, job in workflow(name)["jobs"].items() if "steps" in job}


def test_the_cpu_is_the_gate_and_the_gpu_is_told() -> None:
    job = jobs_of("macos")["macos"]
    assert job["runs-on"] == "macos-15"
    assert job["strategy"]["matrix"]["units"] == ["CPU_ONLY", "CPU_AND_GPU"]
    assert job["continue-on-error"] == "${{ matrix.units != 'CPU_ONLY' }}"
    assert job["strategy"]["fail-fast"] == "false"
    scripts = [step["run"] for step in job["steps"] if "macos_coreml.sh" in step.get("run", "")]
    assert [script.split()[-1] for script in scripts] == ["probes", "behaviour", "quality"]


def test_the_neural_engine_is_asked_on_a_machine_that_is_known_and_for_no_fork() -> None:
    jobs = jobs_of("macos")
    asked = {
        name for name, job in jobs.items() if "CPU_AND_NE" in job.get("strategy", {}).get("matrix", {}).get("units", [])
    }
    own = {name for name, job in jobs.items() if "self-hosted" in job["runs-on"]}
    assert asked == own == {"neural-engine"}
    condition = " ".join(jobs["neural-engine"]["if"].split())
    assert condition == (
        "fromJSON(needs.plan.outputs.jobs).macos && vars.LILIMS_ANE_RUNNER == 'yes' && "
        "(github.event_name != 'pull_request' || "
        "github.event.pull_request.head.repo.full_name == github.repository)"
    )


@pytest.mark.parametrize("name", NAMES)
def test_least_permissions_pins_and_limits(name: str) -> None:
    value = workflow(name)
    assert value["permissions"] == {"contents": "read"}
    for job in jobs_of(name).values():
        assert "permissions" not in job and int(job["timeout-minutes"]) <= 90
        for step in job["steps"]:
            if "uses" in step:
                assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", step["uses"])
            if "checkout" in step.get("uses", ""):
                assert step["with"]["persist-credentials"] == "false"
            assert "${{" not in step.get("run", ""), "an expression in a script is text that the shell reads"


@pytest.mark.parametrize("name", NAMES)
def test_reports_are_kept_of_what_failed(name: str) -> None:
    for job in jobs_of(name).values():
        for step in job["steps"]:
            if "upload-artifact" in step.get("uses", ""):
                assert step["if"] == "${{ !cancelled() }}"


def test_what_main_measured_alone_becomes_history() -> None:
    steps = jobs_of("bench")["bench"]["steps"]
    kept = [step for step in steps if "cache/save@" in step.get("uses", "")]
    read = [step for step in steps if "cache/restore@" in step.get("uses", "")]
    assert len(kept) == len(read) == 1
    assert kept[0]["if"] == "${{ github.ref == 'refs/heads/main' && success() }}"
    assert kept[0]["with"]["key"] == read[0]["with"]["key"] and "run_id" in kept[0]["with"]["key"]
    assert kept[0]["with"]["key"].startswith(read[0]["with"]["restore-keys"])
    assert kept[0]["with"]["path"] == read[0]["with"]["path"] == "bench/history.jsonl"


@bash
@pytest.mark.parametrize("script", ["macos_coreml.sh", "bench_gate.sh"])
def test_scripts_are_what_bash_reads(script: str) -> None:
    path = ROOT / "tools" / "ci" / script
    subprocess.run(["bash", "-n", str(path)], check=True)
    assert subprocess.run(["bash", str(path)], capture_output=True).returncode == 1, "a folder is wanted"


@bash
def test_the_script_asks_as_it_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With commands that note how they were called."""
    calls = tmp_path / "calls"
    for name in ("lilims", "python"):
        (tmp_path / name).write_text(f'#!/bin/sh\necho {name} "$@" >> "{calls}"\n')
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("UNITS", "CPU_AND_NE")
    monkeypatch.setenv("LIMIT", "300")
    reports = tmp_path / "Library" / "Logs" / "DiagnosticReports"
    reports.mkdir(parents=True)
    (reports / "old.ips").write_text("{}")
    os.utime(reports / "old.ips", (1, 1))
    (tmp_path / "python").write_text((tmp_path / "python").read_text() + f'echo {{}} > "{reports}/new.ips"\n')
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RUNNER_ENVIRONMENT", "github-hosted")
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    subprocess.run(["bash", str(ROOT / "tools/ci/macos_coreml.sh"), "out"], check=True, cwd=tmp_path)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["new.ips"]
    asked = "--executor coreml --compute-units CPU_AND_NE"
    assert calls.read_text().splitlines() == [
        f"lilims ci probes {asked} --limit 300 --artefact out/probes.json",
        f"lilims ci behaviour {asked} --limit 600 --artefact out/behaviour.json",
        "python tools/ci/quality_gate.py --compute-units CPU_AND_NE --artefact out/quality.json",
    ]
    (tmp_path / "python").write_text("#!/bin/sh\necho over the bar\nexit 1\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    done = subprocess.run(["bash", str(ROOT / "tools/ci/macos_coreml.sh"), "out", "quality"], cwd=tmp_path)
    assert done.returncode == 1
    assert (tmp_path / "summary.md").read_text() == "```\nover the bar\n```\n", "the fence is closed"
    done = subprocess.run(["bash", str(ROOT / "tools/ci/macos_coreml.sh"), "out", "speed"], cwd=tmp_path)
    assert done.returncode == 2


NO_RUN = "the baseline has no run of"  # how the script tells this from any other wrong usage


def test_the_gate_says_what_the_script_listens_for() -> None:
    model = {"name": "stories", "scheme": "int4", "compute_units": None}
    with pytest.raises(UsageError, match=NO_RUN):
        _judged([], {"models": [model]}, 0.1)
    assert f'grep -q "{NO_RUN}"' in (ROOT / "tools/ci/bench_gate.sh").read_text("utf-8")


@bash
@pytest.mark.parametrize(
    ("history", "accept", "gate", "lines", "code"),
    [
        ("", "", 0, ["bench"], 0),
        ("a run\n", "", 0, ["gate"], 0),
        ("a run\n", "", 1, ["gate"], 1),
        ("a run\n", "", 2, ["gate", "bench"], 0),
        ("a run\n", "", 2, ["gate"], 2),
        ("a run\n", "1", 1, ["bench"], 0),
    ],
    ids=["first run", "not worse", "worse", "another machine", "a wrong option", "accepted"],
)
def test_what_the_bench_script_does(
    history: str, accept: str, gate: int, lines: list[str], code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, calls = tmp_path / "bench", tmp_path / "calls"
    folder.mkdir()
    (folder / "history.jsonl").write_text(history)
    (tmp_path / "python").write_text("#!/bin/sh\necho /checkpoint\n")
    says = NO_RUN if code == 0 else "No such option"
    words = f'echo "$@" >> "{calls}"\n[ "$2" != gate ] || {{ echo "{says}"; exit {gate}; }}\n'
    (tmp_path / "lilims").write_text(f"#!/bin/sh\n{words}")
    for name in ("python", "lilims"):
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    for name, value in {"ACCEPT": accept, "EXECUTOR": "coreml", "UNITS": "CPU_ONLY"}.items():
        monkeypatch.setenv(name, value)
    done = subprocess.run(["bash", str(ROOT / "tools/ci/bench_gate.sh"), str(folder)], capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    seen = calls.read_text().splitlines()
    schemes = ("fp16", "int8", "int4")
    made = [f"convert /checkpoint -o {folder}/stories-{scheme} --quantize {scheme} --force" for scheme in schemes]
    models = " ".join(f"{folder}/stories-{scheme}" for scheme in schemes)
    forms = {
        "gate": f"bench gate --baseline {folder}/history.jsonl --history {folder}/history.jsonl --json",
        "bench": f"bench {models} --executor coreml --compute-units CPU_ONLY -p 128 -n 64 -r 5 --cold 3 "
        f"--history {folder}/history.jsonl",
    }
    assert seen == made + [forms[line] for line in lines]
