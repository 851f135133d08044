"""`lilims ci plan` on repositories made for it: what is touched, what depends on it, and everything in doubt."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lilims.ci.errors import PlanError
from lilims.ci.globs import matches
from lilims.ci.planning import Rules, make_plan
from lilims.ci.tree import Tree, changed, commit_of
from lilims.core import cli

from .repository import Repo

RULES = """\
everything = ["tools/**", "pyproject.toml"]

[areas.documents]
files = ["*.md", "docs/**", "workstreams/*/README.md"]
tests = ["tests/test_docs.py"]

[areas.native]
files = ["workstreams/ws02-high/native/**"]

[areas.inside]
files = ["workstreams/ws02-high/inside/**"]
within = true

[jobs.lint]
packages = ["*"]
areas = ["*"]
[jobs.mac]
packages = ["lilims-low"]
[jobs.page]
packages = ["lilims-other"]
areas = ["documents"]
[jobs.native]
areas = ["native", "inside"]
"""


def project(name: str, *needs: str, extra: str = "") -> str:
    more = f'[project.optional-dependencies]\nmore = ["{extra}"]\n' if extra else ""
    return f'[project]\nname = "lilims-{name}"\ndependencies = {json.dumps(needs)}\n{more}'


FILES = {
    "pyproject.toml": '[tool.uv.workspace]\nmembers = ["shared", "workstreams/*"]\n',
    "hatch.toml": '[[envs.hatch-test.matrix]]\npython = ["3.11", "3.12"]\n',
    ".ci/jobs.toml": RULES,
    "README.md": "# x\n",
    "docs/guide.md": "x\n",
    "tests/test_docs.py": "x = 1\n",
    "tests/test_all.py": "x = 1\n",
    "shared/pyproject.toml": project("core"),
    "shared/tests/test_x.py": "x = 1\n",
    "workstreams/ws01-low/pyproject.toml": project("low", "lilims-core>=0.1"),
    "workstreams/ws01-low/README.md": "# low\n",
    "workstreams/ws01-low/tests/test_x.py": "x = 1\n",
    "workstreams/ws01-low/src/x.py": "x = 1\n",
    "workstreams/ws02-high/pyproject.toml": project("high", "Lilims_Low[some] ; python_version > '3'"),
    "workstreams/ws02-high/tests/test_x.py": "x = 1\n",
    "workstreams/ws02-high/native/x.cpp": "int x;\n",
    "workstreams/ws03-other/pyproject.toml": project("other", extra="lilims-high"),
    "workstreams/ws03-other/tests/test_x.py": "x = 1\n",
    "workstreams/ws04-alone/pyproject.toml": project("alone"),
    "workstreams/ws04-alone/tests/test_x.py": "x = 1\n",
}
Planned = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def shared_repo(tmp_path_factory: pytest.TempPathFactory) -> Repo:
    return Repo(tmp_path_factory.mktemp("shared"), FILES)


@pytest.fixture
def repo(tmp_path: Path) -> Repo:
    return Repo(tmp_path / "repo", FILES)


@pytest.fixture
def plan(repo: Repo, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Planned:
    """Runs the command in the repository and reads its JSON."""

    def run(*words: str) -> dict[str, Any]:
        monkeypatch.chdir(repo.root)
        code = cli.run(["ci", "plan", "--json", *words])
        found: dict[str, Any] = json.loads(capsys.readouterr().out)
        assert code == (1 if found["kind"] == "error" else 0)
        return found

    return run


def running(found: dict[str, Any]) -> list[str]:
    return [job for job, runs in found["jobs"].items() if runs]


TOUCHED = {
    "a package, and those that depend on it": (
        {"workstreams/ws01-low/src/x.py": "x = 2\n"},
        ["ws01-low", "ws02-high", "ws03-other"],
        ["lint", "mac", "page"],
    ),
    "the last but one of a chain": ({"workstreams/ws02-high/y.py": ""}, ["ws02-high", "ws03-other"], ["lint", "page"]),
    "through an extra": ({"workstreams/ws03-other/x.py": ""}, ["ws03-other"], ["lint", "page"]),
    "a package that nothing needs": ({"workstreams/ws04-alone/x.py": ""}, ["ws04-alone"], ["lint"]),
    "documents alone": ({"docs/guide.md": "y\n", "README.md": "y\n"}, [], ["lint", "page"]),
    "a package's own page": ({"workstreams/ws01-low/README.md": "y\n"}, [], ["lint", "page"]),
    "an area inside of a package": ({"workstreams/ws02-high/native/x.cpp": "int y;\n"}, [], ["lint", "native"]),
    "an area within a package": (
        {"workstreams/ws02-high/inside/x.swift": ""},
        ["ws02-high", "ws03-other"],
        ["lint", "page", "native"],
    ),
    "a page and a package": ({"README.md": "y\n", "workstreams/ws04-alone/x.py": ""}, ["ws04-alone"], ["lint", "page"]),
}  # fmt: skip


@pytest.mark.parametrize("name", TOUCHED)
@pytest.mark.parametrize("committed", [True, False], ids=["committed", "not yet committed"])
def test_what_a_change_reaches(repo: Repo, plan: Planned, name: str, committed: bool) -> None:
    files, workstreams, jobs = TOUCHED[name]
    base = repo.git("rev-parse", "HEAD")
    repo.write(files)
    if committed:
        repo.commit()
    found = plan("--base", base)
    assert (found["everything"], found["workstreams"], running(found)) == (None, workstreams, jobs)
    assert found["schema_version"] == 1 and found["kind"] == "ci-plan"


ALL = ["shared", "ws01-low", "ws02-high", "ws03-other", "ws04-alone"]
EVERYTHING = {
    "a file that nothing names": {"Makefile": "x\n"},
    "a file in a folder that nothing names": {"workstreams/README.md": "x\n"},
    "a tool": {"tools/x.py": "x\n"},
    "a folder that is no package": {"workstreams/ws09-new/src/x.py": "x\n"},
    "the rules themselves": {".ci/jobs.toml": RULES + "\n"},
    "a name with a line end": {"jobs=true\nx": "x\n"} if sys.platform != "win32" else {"x": "x\n"},
}


@pytest.mark.parametrize("name", EVERYTHING)
def test_in_doubt_everything(repo: Repo, plan: Planned, name: str) -> None:
    base = repo.git("rev-parse", "HEAD")
    repo.write(EVERYTHING[name])
    found = plan("--base", base)
    assert found["workstreams"] == ALL and running(found) == ["lint", "mac", "page", "native"]
    assert next(iter(EVERYTHING[name])) in found["everything"]
    assert found["tests"] == [] and found["pythons"] == ["3.11", "3.12"]


@pytest.mark.parametrize("base", ["0" * 40, "origin/main", "nothing", "--help", "HEAD~9", ""])
def test_a_base_that_is_not_there(plan: Planned, base: str) -> None:
    found = plan(f"--base={base}")
    assert found["workstreams"] == ALL and repr(base) in found["everything"]


def test_a_base_with_no_common_commit(repo: Repo, plan: Planned) -> None:
    repo.git("switch", "-q", "--orphan", "other")
    repo.write({**FILES, "docs/else.md": "x\n"})
    repo.commit()
    assert plan("--base", "main")["everything"] == "'main' is unrelated"


def test_deleted_and_renamed_files_count(repo: Repo, plan: Planned) -> None:
    base = repo.git("rev-parse", "HEAD")
    (repo.root / "workstreams/ws01-low/src/x.py").unlink()
    assert plan("--base", base)["workstreams"] == ["ws01-low", "ws02-high", "ws03-other"]
    repo.git("reset", "-q", "--hard")
    repo.git("mv", "workstreams/ws01-low/src/x.py", "workstreams/ws04-alone/x.py")
    repo.commit()
    assert plan("--base", base)["workstreams"] == ["ws01-low", "ws02-high", "ws03-other", "ws04-alone"]
    repo.git("mv", "workstreams/ws04-alone/x.py", "docs/x.py")  # from a package into an area
    repo.commit()
    found = plan("--base", "HEAD~1")
    assert found["workstreams"] == ["ws04-alone"] and running(found) == ["lint", "page"]


def test_a_package_that_is_gone_reaches_everything(repo: Repo, plan: Planned) -> None:
    repo.git("rm", "-q", "-r", "workstreams/ws04-alone")
    repo.commit()
    assert "ws04-alone" in plan("--base", "HEAD~1")["everything"]


def test_only_what_the_branch_changed_counts(repo: Repo, plan: Planned) -> None:
    repo.git("switch", "-q", "-c", "branch")
    repo.write({"workstreams/ws04-alone/x.py": "x = 1\n"})
    repo.commit()
    repo.git("switch", "-q", "main")
    repo.write({"shared/x.py": "x = 1\n"})
    repo.commit()
    assert plan("--base", "main", "--head", "branch")["workstreams"] == ["ws04-alone"]


def test_head_is_read_from_its_commit(repo: Repo, plan: Planned) -> None:
    """Dependencies are those of the commit that is asked about, whatever lies in the checkout."""
    repo.write({"workstreams/ws01-low/src/x.py": "x = 3\n"})
    head = repo.commit()
    repo.write({"workstreams/ws02-high/pyproject.toml": project("high"), "workstreams/ws03-other/pyproject.toml": "no"})
    repo.commit()
    assert plan("--base", f"{head}~1", "--head", head)["workstreams"] == ["ws01-low", "ws02-high", "ws03-other"]


def test_tests_of_what_is_reached(repo: Repo, plan: Planned) -> None:
    base = repo.git("rev-parse", "HEAD")
    repo.write({"workstreams/ws02-high/x.py": ""})
    found = plan("--base", base)
    assert found["tests"] == ["tests", "workstreams/ws02-high/tests", "workstreams/ws03-other/tests"]
    repo.git("clean", "-qfd")
    repo.write({"README.md": "z"})
    found = plan("--base", base)
    assert found["tests"] == ["tests/test_docs.py"] and found["pythons"] == ["3.11"]


def test_lines_for_github(repo: Repo, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    base = repo.git("rev-parse", "HEAD")
    repo.write({"workstreams/ws01-low/src/x\u2028jobs={}.py": "", "docs/jobs={}.md": "x"})
    monkeypatch.chdir(repo.root / "docs")
    assert cli.run(["ci", "plan", "--base", base, "--github"]) == 0
    lines = dict(line.split("=", 1) for line in capsys.readouterr().out.splitlines())
    assert list(lines) == ["jobs", "folders", "tests", "pythons"]
    assert json.loads(lines["jobs"]) == {"lint": True, "mac": True, "native": False, "page": True}
    assert lines["folders"] == "workstreams/ws01-low workstreams/ws02-high workstreams/ws03-other"
    assert lines["tests"].split() == ["tests", *(f"{folder}/tests" for folder in lines["folders"].split())]
    assert json.loads(lines["pythons"]) == ["3.11", "3.12"]
    assert cli.run(["ci", "plan", "--github", "--json"]) == 2


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (".ci/jobs.toml", "everything = 3"),
        (".ci/jobs.toml", "[jobs.x]\npaths = []"),
        (".ci/jobs.toml", "[jobs.x]\nareas = ['gone']"),
        (".ci/jobs.toml", "[jobs.'a b']\nareas = []"),
        (".ci/jobs.toml", "[areas]\nx = 3"),
        (".ci/jobs.toml", "[areas.x]\nwithin = 'yes'"),
        (".ci/jobs.toml", "[more]"),
        (".ci/jobs.toml", "[jobs.x]\nareas = 3"),
        (".ci/jobs.toml", "[jobs.x]\nareas = [['documents']]"),
        ("pyproject.toml", "tool = 3"),
        ("pyproject.toml", "[tool]\nuv = 3"),
        ("pyproject.toml", "[tool.uv.workspace]\nmembers = [3]"),
        ("shared/pyproject.toml", "project = 3"),
        ("shared/pyproject.toml", "[project]\nname = 'x'\ndependencies = 'y'"),
        ("shared/pyproject.toml", "[project]\nname = 'x'\noptional-dependencies = 3"),
        ("shared/pyproject.toml", "[project]\nname = 'x'\noptional-dependencies = { a = [3] }"),
        ("hatch.toml", "envs = 3"),
        ("hatch.toml", "[envs.hatch-test]\nmatrix = [3]"),
        ("hatch.toml", "[[envs.hatch-test.matrix]]\npython = '3.11'"),
        ("shared/pyproject.toml", "[project"),
        ("workstreams/ws04-alone/pyproject.toml", project("low")),
    ],
)
def test_what_cannot_be_read_is_an_error(repo: Repo, plan: Planned, path: str, text: str) -> None:
    repo.write({path: text})
    error = plan("--base", "HEAD")["error"]
    assert error["type"] == "PlanError" and error["where"] == path


def test_a_link_to_a_folder_is_an_error(repo: Repo, plan: Planned) -> None:
    (repo.root / "hatch.toml").unlink()
    try:
        (repo.root / "hatch.toml").symlink_to("docs", target_is_directory=True)
    except OSError:
        pytest.skip("no right to make links")
    error = plan("--base", "HEAD")["error"]
    assert error["type"] == "PlanError" and error["where"] == "hatch.toml"


@pytest.mark.parametrize("folder", ["workstreams/a b", "workstreams/$(x)", "workstreams/a\nb", "workstreams/-x;"])
def test_a_folder_that_a_shell_would_read(repo: Repo, plan: Planned, folder: str) -> None:
    try:
        repo.write({f"{folder}/pyproject.toml": project("strange")})
    except OSError:
        pytest.skip("no such name on this file system")
    assert plan("--base", "HEAD")["error"]["where"].startswith("workstreams/")


def test_outside_of_a_repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", os.fspath(tmp_path.parent))
    assert cli.run(["ci", "plan"]) == 1


PATHS = st.lists(st.sampled_from([*FILES, "Makefile", "docs/new.md", "workstreams/ws01-low/new.py"]), max_size=4)


@settings(max_examples=60, deadline=None)
@given(some=PATHS, more=PATHS)
def test_more_files_never_need_less(shared_repo: Repo, some: list[str], more: list[str]) -> None:
    tree = Tree.of(shared_repo.root)
    one, both = make_plan(tree, some), make_plan(tree, [*some, *more])
    assert all(both.jobs[job] for job, runs in one.jobs.items() if runs)
    assert set(one.workstreams) <= set(both.workstreams) and set(one.pythons) <= set(both.pythons)
    if both.tests and one.tests:  # none is all
        assert all(any(matches(f"{b}/**", t) or t == b for b in both.tests) for t in one.tests)


def test_nothing_changed_needs_nothing(shared_repo: Repo) -> None:
    head = commit_of(shared_repo.root, "HEAD")
    assert head is not None and changed(shared_repo.root, head, head) == set()
    plan = make_plan(Tree.of(shared_repo.root, head), set())
    assert not any(plan.jobs.values()) and plan.workstreams == ()


@pytest.mark.parametrize(
    ("pattern", "path", "wanted"),
    [
        ("*.md", "README.md", True),
        ("*.md", "docs/x.md", False),
        ("docs/**", "docs/a/b.md", True),
        ("docs/**", "docs", False),
        ("a/**/b", "a/b", True),
        ("a/**/b", "a/x/y/b", True),
        ("a/**/b", "a/xb", False),
        ("workstreams/*", "workstreams/a/b", False),
        ("a.b", "aXb", False),
        ("a[b]", "ab", False),
    ],
)
def test_patterns(pattern: str, path: str, wanted: bool) -> None:
    assert matches(pattern, path) is wanted


def test_without_rules_packages_are_still_found(tmp_path: Path) -> None:
    files = {name: text for name, text in FILES.items() if name != ".ci/jobs.toml"}
    repo = Repo(tmp_path, files)
    tree = Tree.of(repo.root)
    assert Rules.of(tree) == Rules()
    assert make_plan(tree, ["workstreams/ws02-high/x"]).workstreams == ("ws02-high", "ws03-other")
    assert make_plan(tree, ["README.md"]).workstreams == tuple(ALL)


def test_a_huge_file_is_refused(tmp_path: Path) -> None:
    repo = Repo(tmp_path, {"pyproject.toml": "#" * (2 << 20)})
    for commit in (None, "HEAD"):
        with pytest.raises(PlanError, match="larger than"):
            make_plan(Tree.of(repo.root, commit), None)
