"""A hub (a bare remote with specs) and clones of it, in a temporary folder; settings and git's own are the test's."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings as hypothesis_settings

from lilims.agents.board import Workplace
from lilims.agents.git import Git
from lilims.agents.journal import Journal
from lilims.agents.remote import Remote
from lilims.core.console import console
from lilims.core.settings import settings

hypothesis_settings.register_profile("lilims", deadline=None)
hypothesis_settings.load_profile("lilims")

PYTHON_OK = ["python", "-c", "print('fine')"]


def spec(name: str, **changes: Any) -> str:
    """A valid spec, as YAML (JSON is a part of it)."""
    value: dict[str, Any] = {
        "schema_version": 1,
        "id": name,
        "title": f"The task {name}",
        "workstream": "ws09-docs",
        "size": "small",
        "depends_on": [],
        "touches": [f"work/{name}.txt"],
        "context": "A task of the tests, which stands for any piece of work there is.",
        "instructions": "Write the file that is named like the task, with anything in it.",
        "acceptance": [{"run": ["python", "-c", f"open('work/{name}.txt')"], "fails_now": "No such file"}],
        "lease_minutes": 60,
        **changes,
    }
    return json.dumps({key: field for key, field in value.items() if field is not None}, indent=1)


def git(folder: Path, *arguments: str, check: bool = True) -> str:
    """Runs git for a test and returns what it prints."""
    done = subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0 or not check, f"git {arguments}: {done.stderr}"
    return done.stdout.strip()


class Hub:
    """A bare remote and what can be done to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "hub.git"
        self.clones = 0

    def put(self, files: dict[str, str], message: str = "put") -> str:
        """Commits files to the main branch, past every clone."""
        made = Git(self.path)
        main = made.commit_id("refs/heads/main")
        tree = made.tree_with(main or made.empty_tree, {path: text.encode() for path, text in files.items()})
        commit = made.commit(tree, message, [main] if main else [])
        made.out("update-ref", "refs/heads/main", commit)
        return commit

    def specs(self, *names: str, **changes: Any) -> None:
        self.put({f"specs/ws09-docs/{name}.yaml": spec(name, **changes) for name in names})

    def clone(self, name: str = "") -> Path:
        self.clones += 1
        target = self.folder / (name or f"clone{self.clones}")
        subprocess.run(["git", "clone", "--quiet", str(self.path), str(target)], check=True, capture_output=True)
        return target

    def place(self, **settings: Any) -> tuple[Workplace, Journal]:
        """An agent's place of work: a repository with the hub as its remote, and nothing fetched or checked out."""
        self.clones += 1
        target = self.folder / f"place{self.clones}"
        shutil.copytree(self.path.with_name("seat"), target)
        with (target / ".git/config").open("a") as config:
            config.write(f'[remote "origin"]\n\turl = {self.path.as_posix()}\n')
        here = Git(target)
        return Workplace(here, Remote(here), **settings), Journal(here.own_folder, "origin")

    def refs(self, prefix: str = "refs/claims/") -> dict[str, str]:
        listing = git(self.path, "for-each-ref", "--format=%(refname) %(objectname)", prefix)
        rows = (line.split() for line in listing.splitlines())
        return {name.removeprefix(prefix): i for name, i in rows if "_locks" not in name}

    def hook(self, name: str, text: str) -> None:
        path = self.path / "hooks" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)


@pytest.fixture(autouse=True)
def own_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in [n for n in os.environ if n.startswith(("LILIMS_", "GIT_"))]:
        monkeypatch.delenv(name)
    config = tmp_path / "gitconfig"
    config.write_text("[user]\nname = Test\nemail = test@lilims.invalid\n[core]\nfsync = none\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("LILIMS_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("LILIMS_CONFIG", str(tmp_path / "config.toml"))
    settings.cache_clear()
    yield
    settings.cache_clear()
    console.json = console.quiet = False


@pytest.fixture(scope="session")
def first_hub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("template") / "hub.git"
    subprocess.run(["git", "init", "--quiet", "--bare", "--initial-branch=main", str(path)], check=True)
    shutil.rmtree(path / "hooks", ignore_errors=True)
    subprocess.run(["git", "init", "--quiet", "--template=", str(path.with_name("seat"))], check=True)
    for key, value in {"core.fsync": "none", "receive.autogc": "false", "gc.auto": "0"}.items():
        subprocess.run(["git", "config", key, value], cwd=path, check=True)
    names = ("one-2a2a", "two-3b3b")
    with pytest.MonkeyPatch.context() as patch:
        for role in ("AUTHOR", "COMMITTER"):
            patch.setenv(f"GIT_{role}_NAME", "Test")
            patch.setenv(f"GIT_{role}_EMAIL", "test@lilims.invalid")
        Hub(path.parent).put({"README.md": "hub\n", **{f"specs/ws09-docs/{n}.yaml": spec(n) for n in names}})
    return path


@pytest.fixture
def hub(tmp_path: Path, first_hub: Path) -> Hub:
    """A hub with one plain file and the specs one-2a2a and two-3b3b."""
    shutil.copytree(first_hub, tmp_path / "hub.git")
    shutil.copytree(first_hub.with_name("seat"), tmp_path / "seat")
    return Hub(tmp_path)


@pytest.fixture
def do_work() -> Callable[..., str]:
    """Commits files on top of the remote's main branch, on no branch; returns the commit."""

    def work(place: Workplace, files: dict[str, str], base: str | None = None) -> str:
        parent = base or place.board().main
        tree = place.git.tree_with(parent, {path: text.encode() for path, text in files.items()})
        return place.git.commit(tree, "work", [parent])

    return work
