"""The workflow: who may sign, and when."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[4]
WORKFLOW = ROOT / ".github/workflows/swift.yml"
SCRIPT = ROOT / "tools/ci/swift.sh"
SECRETS = ("LILIMS_TEAM_ID", "ASC_KEY_ID", "ASC_ISSUER_ID", "ASC_KEY")
posix = pytest.mark.skipif(sys.platform == "win32" or shutil.which("bash") is None, reason="needs bash")


@pytest.fixture(scope="module")
def workflow() -> dict[Any, Any]:
    yaml = pytest.importorskip("yaml")
    value = yaml.safe_load(WORKFLOW.read_text("utf-8"))
    assert isinstance(value, dict)
    return value


def test_only_one_job_sees_secrets_and_never_for_a_pull_request(workflow: dict[Any, Any]) -> None:
    assert {name for name, job in workflow["jobs"].items() if "secrets." in str(job)} == {"testflight"}
    job = workflow["jobs"]["testflight"]
    assert job["if"] == "github.event_name == 'workflow_dispatch' || startsWith(github.ref, 'refs/tags/v')"
    assert job["environment"] == "testflight" and set(job["needs"]) == {"package", "simulator"}


def test_nothing_is_uploaded_without_secrets_or_against_the_gates(workflow: dict[Any, Any]) -> None:
    steps = workflow["jobs"]["testflight"]["steps"]
    runs = [step.get("run", "").split(" | ")[0] for step in steps]
    order = [runs.index(f"bash tools/ci/swift.sh {step}") for step in ("signing", "gates", "testflight")]
    assert order == sorted(order)
    for step in steps[order[0] + 1 :]:
        assert step["if"] == "steps.signing.outputs.ready == 'yes'"


def test_rights_and_pins(workflow: dict[Any, Any]) -> None:
    assert workflow["permissions"] == {"contents": "read"}
    for job in workflow["jobs"].values():
        assert "permissions" not in job and job.get("timeout-minutes", 5) <= 90
        for step in job.get("steps", ()):
            if "checkout" in step.get("uses", ""):
                assert step["with"]["persist-credentials"] is False
    for line in WORKFLOW.read_text("utf-8").splitlines():
        if "uses:" in line and "uses: ./" not in line:
            assert re.search(r"@[0-9a-f]{40} # v\d", line), line


def test_it_runs_when_it_is_planned(workflow: dict[Any, Any]) -> None:
    for name in ("package", "simulator"):
        job = workflow["jobs"][name]
        assert job["needs"] == "plan" and job["if"] == "fromJSON(needs.plan.outputs.jobs).swift"


def _script(step: str, folder: Path, **given: str) -> subprocess.CompletedProcess[str]:
    environment = {"PATH": os.environ["PATH"], "WORK": str(folder)} | given
    command = ["bash", str(SCRIPT), step]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


@posix
@pytest.mark.parametrize("missing", [None, *SECRETS])
def test_the_check_of_the_secrets(tmp_path: Path, missing: str | None) -> None:
    result = _script("signing", tmp_path, **{name: "" if name == missing else "x" for name in SECRETS})
    assert result.stdout == f"ready={'no' if missing else 'yes'}\n" and result.returncode == 0


@posix
def test_an_upload_without_secrets_is_refused_before_anything_is_built(tmp_path: Path) -> None:
    result = _script("testflight", tmp_path)
    assert result.returncode == 1 and "docs/swift.md" in result.stderr and not any(tmp_path.iterdir())


def _programs(folder: Path, **scripts: str) -> dict[str, str]:
    """Programs that stand for Xcode's, first in the path; lilims does nothing."""
    folder.mkdir()
    for name, script in scripts.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n", "utf-8")
        (folder / name).chmod(0o755)
    return {"PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", "LILIMS": "true", "TMPDIR": str(folder)}


@posix
@pytest.mark.parametrize("code", [0, 7])
def test_the_key_is_gone_after_the_upload(tmp_path: Path, code: int) -> None:
    look = f'for a in "$@"; do case "$a" in *.p8) cat "$a" >> "{tmp_path}/seen";; esac; done; exit {code}'
    given = _programs(tmp_path / "bin", xcodebuild=look)
    result = _script("testflight", tmp_path / "work", **dict.fromkeys(SECRETS, "secret"), BUILD="1", **given)
    assert (result.returncode, result.stderr) == (code, "")
    assert (tmp_path / "seen").read_text() == "secret\n" * (1 if code else 2)
    assert [path.name for path in (tmp_path / "bin").iterdir()] == ["xcodebuild"]


@posix
@pytest.mark.parametrize(("sdk", "device"), [("18.5", "new"), ("26.0", "newer"), ("18.0", "old"), ("17.0", None)])
def test_the_newest_simulator_that_xcode_knows(tmp_path: Path, sdk: str, device: str | None) -> None:
    runtimes = {"iOS-18-0": "old", "iOS-18-5": "new", "iOS-26-0": "newer", "watchOS-11-0": "watch"}
    devices = {f"com.apple.CoreSimulator.SimRuntime.{runtime}": [{"name": "iPad", "udid": "pad"},
                                                                {"name": "iPhone 16", "udid": udid}]
               for runtime, udid in runtimes.items()}  # fmt: skip
    answer = f"case $1 in simctl) echo '{json.dumps({'devices': devices})}';; *) echo {sdk};; esac"
    given = _programs(tmp_path / "bin", xcrun=answer, xcodebuild='echo "$@"')
    result = _script("simulator", tmp_path / "work", **given)
    if device is None:
        assert result.returncode == 1 and f"no iPhone simulator up to iOS {sdk}" in result.stderr
    else:
        assert result.returncode == 0 and f"-destination id={device} " in result.stdout
