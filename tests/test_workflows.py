"""The workflows of this repository: what each has to have; and that the plan, the jobs and the scripts agree."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import check_layout
from ci import lint_workflows, verdict
from lilims.ci.globs import matches
from lilims.ci.planning import Rules, make_plan, place_of
from lilims.ci.tree import Tree
from lilims.ci.workspace import dependents, members

ROOT = Path(__file__).resolve().parent.parent
FILES = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PINNED = re.compile(r"[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")
# Written by whoever opens a pull request, pushes a branch or comments: may be the value of a variable, never a script.
HOSTILE = re.compile(r"\$\{\{")
WRITES = {  # all permissions to write, by workflow and job; a new one is to be weighed
    ("docs", "publish"): {"pages", "id-token"},
    ("labels", "label"): {"pull-requests", "issues"},
    ("release", "attest"): {"id-token", "attestations"},
    ("release", "github"): {"contents"},
    ("release", "pypi"): {"id-token"},
    ("report", "comment"): {"pull-requests"},
    ("tasks", "clear"): {"contents"},
}


def workflow(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.load(path.read_text("utf-8"), yaml.BaseLoader)  # every value is a string, `on` too
    return found


def jobs() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path in FILES:
        for name, job in workflow(path)["jobs"].items():
            yield path.stem, name, job


JOBS = {f"{file}: {name}": (file, name, job) for file, name, job in jobs()}
STEPS = {
    f"{title} {number}": (job, step)
    for title, (_, _, job) in JOBS.items()
    for number, step in enumerate(job.get("steps", []))
}
by_file = pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
by_job = pytest.mark.parametrize("title", JOBS)


@by_file
def test_rights_are_stated_on_top_and_read_at_most(path: Path) -> None:
    stated = workflow(path)["permissions"]
    assert stated == {} or set(stated.values()) <= {"read"}, "jobs ask for more, one by one"


@by_job
def test_rights_to_write_are_those_that_were_weighed(title: str) -> None:
    file, name, job = JOBS[title]
    stated = job.get("permissions", {})
    assert isinstance(stated, dict)
    assert {key for key, value in stated.items() if value == "write"} == WRITES.get((file, name), set())


@by_job
def test_no_job_runs_for_ever(title: str) -> None:
    _, _, job = JOBS[title]
    assert "uses" in job or 1 <= int(job["timeout-minutes"]) <= 90


@by_file
def test_runs_of_one_branch_do_not_pile_up(path: Path) -> None:
    found = workflow(path)
    stated = [one for one in (found, *found["jobs"].values()) if "concurrency" in one]
    assert stated or set(found["on"]) <= {"schedule", "workflow_dispatch", "workflow_call", "pull_request_target"}


@pytest.mark.parametrize("path", [p for p in FILES if "plan" in workflow(p)["jobs"]], ids=lambda path: path.stem)
def test_no_push_to_main_is_replaced_by_one_that_needs_less(path: Path) -> None:
    """A plan is of one push: what another push would have run stays unknown if this one's run takes its place."""
    group = workflow(path).get("concurrency", {}).get("group", "github.run_id")
    assert "github.run_id" in group, "runs of main are each for themselves, or only jobs that were planned wait"


@by_file
def test_actions_are_pinned_by_hash_with_the_version_beside_it(path: Path) -> None:
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        if match := re.match(r"\s*(?:- )?uses: (.*)", line):
            local = re.fullmatch(r"\./(\.github/workflows/[\w-]+\.yml)( #.*)?", match[1])
            assert PINNED.fullmatch(match[1]) or (local and (ROOT / local[1]).is_file()), f"line {number}: {match[1]}"


def test_one_action_has_one_version() -> None:
    uses = {step["uses"] for _job, step in STEPS.values() if "uses" in step}
    actions = [use.partition("@")[0] for use in uses]
    assert len(actions) == len(set(actions)), sorted(uses)


@pytest.mark.parametrize("title", STEPS)
def test_a_step(title: str) -> None:
    job, step = STEPS[title]
    if "uses" in step and step["uses"].startswith("actions/checkout@"):
        assert step["with"]["persist-credentials"] == "false"
    if "run" in step:
        assert not HOSTILE.search(step["run"]), "values come to scripts as variables"
        if re.search(r"[^|]\|[^|]", step["run"]):
            assert step.get("shell") == "bash", "without it there is no pipefail: the first program's failure is lost"
        if "windows" in str(job["runs-on"]) and re.search(r"bash |\*|\$", step["run"]):
            assert step.get("shell") == "bash", "PowerShell reads this otherwise"


@pytest.mark.parametrize("title", [title for title, (_job, step) in STEPS.items() if "run" in step])
def test_scripts_of_steps_exist(title: str) -> None:
    """So every step can be run locally: it is a program of tools/, a script of hatch.toml, or a word or two."""
    _job, step = STEPS[title]
    for line in step["run"].splitlines():
        for word in shlex.split(line, comments=True):
            if re.match(r"(\./)?(tools|\.ci)/", word):
                assert (ROOT / word).is_file(), word
        if match := re.search(r"hatch run ([\w-]+):([\w-]+)", line):
            scripts = check_layout.get(check_layout.read_toml(ROOT / "hatch.toml"), f"envs.{match[1]}.scripts", {})
            assert match[2] in scripts, match[0]
    assert len(step["run"].splitlines()) <= 4, "a longer script belongs into tools/ci"


# The plan ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tree() -> Tree:
    return Tree.of(ROOT)


def test_every_file_is_known(tree: Tree) -> None:
    """In doubt everything runs; but no file that is there today is in doubt."""
    rules, found = Rules.of(tree), members(tree)
    named = [path for path in tree.files if any(matches(one, path) for one in rules.everything)]
    unknown = sorted(path for path in tree.files if place_of(path, rules, found) == (set(), None) and path not in named)
    assert unknown == []


def test_every_pattern_is_of_some_file(tree: Tree) -> None:
    rules = Rules.of(tree)
    optional = {".pre-commit-config.yaml", ".editorconfig"}
    patterns = [*rules.everything, *(one for files in rules.areas.values() for one in files)]
    assert [one for one in patterns if one not in optional and not any(matches(one, path) for path in tree.files)] == []
    tests = {one for patterns in rules.area_tests.values() for one in patterns}
    there = tree.files | {path.rsplit("/", n)[0] for path in tree.files for n in range(1, path.count("/") + 1)}
    assert [one for one in tests if not any(matches(one, path) for path in there)] == []


READ = {  # area → how a test of a package names a file of it: by the way up to the root
    "documents": r'parents\[\d\][ )]*/ "(docs\b|README\.md)',
    "hosting": r'(parents\[\d\]|ROOT)[ )]*/ "\.github',
}


@pytest.mark.parametrize("area", READ)
def test_tests_that_read_what_is_of_no_package_run_when_it_changes(tree: Tree, area: str) -> None:
    paths = [path for path in tree.files if re.search(r"/tests/.*test_\w+\.py$|^tests/test_\w+\.py$", path)]
    readers = {path for path in paths if re.search(READ[area], (ROOT / path).read_text("utf-8"))}
    run = Rules.of(tree).area_tests[area]
    assert len(readers) > 1
    assert [one for one in sorted(readers) if not any(matches(p, one) or matches(f"{p}/**", one) for p in run)] == []


def test_dependencies_are_those_that_the_layout_check_reads(tree: Tree) -> None:
    repo = check_layout.Repository(ROOT)
    arrows, found = repo.arrows(), members(tree)
    assert found.keys() == arrows.keys()
    for name in arrows:
        declared = {other for other in arrows if name in check_layout.closure(arrows, other)} - {name}
        assert set(dependents(found, [name])) == declared


def test_a_change_in_core_runs_everything(tree: Tree) -> None:
    plan = make_plan(tree, ["shared/src/lilims/core/errors.py"])
    assert set(plan.workstreams) == {one.folder.split("/")[-1] for one in members(tree).values()}
    assert all(plan.jobs.values()) and plan.tests == ()


@pytest.mark.parametrize("path", ["docs/bench.md", "README.md", "CHANGELOG.md", "workstreams/ws02-runtime/README.md"])
def test_documents_alone_do_not_run_the_mac(tree: Tree, path: str) -> None:
    plan = make_plan(tree, [path])
    assert not plan.jobs["macos"] and not plan.jobs["windows"] and plan.workstreams == ()
    assert plan.jobs["lint"] and plan.jobs["docs"] and plan.jobs["test"] and len(plan.pythons) == 1


def test_a_leaf_runs_no_more_than_itself(tree: Tree) -> None:
    plan = make_plan(tree, ["workstreams/ws11-agents/src/lilims/agents/git.py"])
    assert plan.workstreams == ("ws11-agents",) and plan.tests == ("tests", "workstreams/ws11-agents/tests")
    assert not plan.jobs["macos"] and not plan.jobs["browser"] and not plan.jobs["parity"]


def test_jobs_are_planned_and_planned_jobs_are_there(tree: Tree) -> None:
    rules = Rules.of(tree)
    asked: set[str] = set()
    for title, (file, name, job) in JOBS.items():
        words = re.findall(r"fromJSON\(needs\.plan\.outputs\.jobs\)\.([\w-]+)", str(job.get("if", "")))
        assert set(words) <= rules.jobs.keys(), title
        if name in needed(file):
            assert words == [name], f"{title} runs when another job is planned"
        asked |= set(words)
    assert rules.jobs.keys() - asked == set(), "nothing asks whether these run"
    every = set(members(tree)) | {"*"}
    assert all(wanted <= every for wanted, _areas in rules.jobs.values())


REQUIRED = {"ci": ("ci", set()), "macos": ("verdict", {"neural-engine"})}  # workflow → its check, what that leaves out


def needed(file: str) -> set[str]:
    """The jobs whose results the required check of a workflow judges; no job where it has none."""
    check, apart = REQUIRED.get(file, ("", set()))
    return {name for of, name, _ in JOBS.values() if of == file and check} - apart - {check, "plan"}


@pytest.mark.parametrize("file", REQUIRED)
def test_the_required_check_waits_for_every_job(file: str) -> None:
    job = workflow(ROOT / f".github/workflows/{file}.yml")["jobs"][REQUIRED[file][0]]
    assert set(job["needs"]) == needed(file) | {"plan"} and job["if"] == "always()"
    assert job.get("name", file) == file and "strategy" not in job, "its name is the same whatever is left out"
    assert job["steps"][-1]["run"] == "python3 tools/ci/verdict.py"


def needs(planned: object, **results: str) -> dict[str, Any]:
    plan = {"result": "success", "outputs": {"jobs": json.dumps(planned)}}
    return {"plan": plan, **{name: {"result": result, "outputs": {}} for name, result in results.items()}}


VERDICTS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "all as planned": (needs({"a": True, "b": False}, a="success", b="skipped"), []),
    "a failure": (needs({"a": True}, a="failure"), ["a: failure, and the plan wants success"]),
    "cancelled": (needs({"a": True}, a="cancelled"), ["a: cancelled, and the plan wants success"]),
    "planned and left out": (needs({"a": True}, a="skipped"), ["a: skipped, and the plan wants success"]),
    "run without a plan": (needs({"a": False}, a="success"), ["a: success, and the plan wants skipped"]),
    "in no plan": (needs({}, a="skipped"), ["a: skipped, and the plan wants success"]),
    "no plan": ({"plan": {"result": "failure", "outputs": {}}}, ["plan: there is no plan"]),
    "an empty plan": ({"plan": {"result": "success", "outputs": {}}}, ["plan: has no output `jobs`"]),
    "a plan of words": (needs({"a": "false"}, a="skipped"), ["plan: its output `jobs` is no table of jobs"]),
    "nothing": ({}, ["plan: there is no plan"]),
}


@pytest.mark.parametrize("name", VERDICTS)
def test_the_verdict(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    state, wanted = VERDICTS[name]
    assert verdict.wrong(state) == wanted
    monkeypatch.setenv("NEEDS", json.dumps(state))
    assert verdict.main() == (1 if wanted else 0)


# The scripts ---------------------------------------------------------------------------------------------------------

FILLED = {"models"}  # lists that begin empty and are filled whatever happens
NEWER_THAN_3_2 = {
    "env -0": r"\benv -0",
    "mapfile": r"\b(mapfile|readarray)\b",
    "tables": r"\b(declare|local|typeset) -[a-zA-Z]*[An]",
    "upper and lower case": r"\$\{\w+(\^|,)",
    "a short pipe of both": r"\|&",
    "appending both": r"&>>",
    "coproc": r"\bcoproc\b",
    "negative index": r"\$\{\w+\[-\d",
    "globstar": r"\bglobstar\b",
    "variable is set": r"\[\[? -v ",
}


@pytest.mark.parametrize(
    "path", [*ROOT.glob("tools/ci/*.sh"), ROOT / ".ci/run", ROOT / ".ci/steps"], ids=lambda path: path.name
)
def test_shell_scripts_take_what_macos_has(path: Path) -> None:
    """Its bash is 3.2. A list that may be empty is an error there under `set -u`, unless it is guarded."""
    text = "\n".join(line.split(" # ")[0] for line in path.read_text("utf-8").splitlines() if not line.startswith("#"))
    assert [name for name, pattern in NEWER_THAN_3_2.items() if re.search(pattern, text)] == []
    assert "set -euo pipefail" in text
    for name in set(re.findall(r"^\s*(\w+)=\(\)", text, re.MULTILINE)) - FILLED:
        assert not re.search(rf'(?<!\+)"\$\{{{name}\[@\]\}}"', text), f"{name} may be empty"


def test_zizmor_has_to_run_and_actionlint_may_be_missing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    results: dict[str, bool | None] = {"zizmor": True, "actionlint": None}
    monkeypatch.setattr(lint_workflows, "zizmor", lambda _root: results["zizmor"])
    monkeypatch.setattr(lint_workflows, "actionlint", lambda _root: results["actionlint"])
    monkeypatch.setattr("sys.argv", ["lint_workflows.py"])
    assert lint_workflows.main() == 0 and "LEFT OUT" in capsys.readouterr().err
    monkeypatch.setattr("sys.argv", ["lint_workflows.py", "--require-actionlint"])
    assert lint_workflows.main() == 1
    results["actionlint"] = True
    assert lint_workflows.main() == 0
    results["zizmor"] = False
    assert lint_workflows.main() == 1
    results.update(zizmor=True, actionlint=False)
    assert lint_workflows.main() == 1
    monkeypatch.undo()
    monkeypatch.setattr("shutil.which", lambda _name: None)
    assert lint_workflows.actionlint(ROOT) is None
