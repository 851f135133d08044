"""Pushing by compare-and-swap: which flags count, and git's traps that the protocol is built around."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lilims.agents.errors import RemoteError
from lilims.agents.git import Git, GitError
from lilims.agents.remote import Remote, Update

from .conftest import Hub, git

REF = "refs/claims/one-2a2a"


@pytest.fixture
def remote(hub: Hub) -> Remote:
    return hub.place()[0].remote


def commit(remote: Remote, text: str) -> str:
    return remote.git.commit(remote.git.empty_tree, text)


def test_make_replace_delete(remote: Remote, hub: Hub) -> None:
    first, second = commit(remote, "1"), commit(remote, "2")
    assert remote.push([Update(REF, None, first)])
    assert hub.refs() == {"one-2a2a": first}
    assert not remote.push([Update(REF, None, second)]), "it exists"
    assert not remote.push([Update(REF, second, first)]), "another lease"
    assert remote.push([Update(REF, first, second)])
    assert hub.refs() == {"one-2a2a": second}
    assert not remote.push([Update(REF, first, None)]), "a deletion has a lease too"
    assert remote.push([Update(REF, second, None)])
    assert hub.refs() == {}
    assert not remote.push([Update(REF, second, None)]), "it is gone"


def test_all_or_nothing(remote: Remote, hub: Hub) -> None:
    first, second = commit(remote, "1"), commit(remote, "2")
    assert remote.push([Update(REF, None, first)])
    other = "refs/claims/two-3b3b"
    assert not remote.push([Update(other, None, second), Update(REF, second, None)])
    assert hub.refs() == {"one-2a2a": first}


def test_a_byte_identical_commit_is_no_win(hub: Hub) -> None:
    """Two clones that push the same bytes: git says `=`, up to date, and exits with 0."""
    a, b = hub.place()[0].remote, hub.place()[0].remote
    when = {f"GIT_{r}_DATE": "@1000 +0000" for r in ("AUTHOR", "COMMITTER")}
    one, two = (r.git.commit(r.git.empty_tree, "same", environment=when) for r in (a, b))
    assert one == two
    assert a.push([Update(REF, None, one)])
    raw = b.git.run("push", "--porcelain", "--force-with-lease", "origin", f"{two}:{REF}")
    assert raw.returncode == 0 and b"=\t" in raw.stdout, "the trap is there"
    assert not b.push([Update(REF, None, two)])


def test_an_empty_source_would_delete(remote: Remote) -> None:
    for new in ("", "abc", "HEAD", "0" * 39):
        with pytest.raises(AssertionError):
            Update(REF, None, new)
    with pytest.raises(AssertionError):
        Update(REF, "", "0" * 40)
    with pytest.raises(AssertionError):
        Update("refs/claims/a:refs/heads/main", None, "0" * 40)


def test_reading_and_fetching_move_no_ref(remote: Remote, hub: Hub) -> None:
    other = hub.place()[0].remote
    made = commit(other, "claim")
    assert other.push([Update(REF, None, made)])
    before = git(remote.git.root, "for-each-ref")
    assert remote.refs("refs/claims/*") == {REF: made}
    assert remote.git.read_objects([made]) == {}
    remote.fetch([made])
    assert b"claim" in remote.git.read_objects([made])[made]
    assert git(remote.git.root, "for-each-ref") == before
    assert not (remote.git.root / ".git/FETCH_HEAD").exists()


def test_a_claim_that_vanishes_between_listing_and_fetching(remote: Remote, hub: Hub) -> None:
    other = hub.place()[0].remote
    there, gone = commit(other, "there"), "1" * 40
    assert other.push([Update(REF, None, there)])
    remote.fetch([there, gone])
    assert set(remote.git.read_objects([there, gone])) == {there}


def test_a_remote_that_is_away(remote: Remote, hub: Hub) -> None:
    made = commit(remote, "1")
    hub.path.rename(hub.folder / "elsewhere.git")
    for ask in (lambda: remote.refs("refs/claims/*"), lambda: remote.fetch(["2" * 40, "3" * 40])):
        with pytest.raises(RemoteError, match="does not answer") as caught:
            ask()
        assert caught.value.exit_code == 3
    with pytest.raises(RemoteError, match="did not take the push"):
        remote.push([Update(REF, None, made)])


def test_an_option_is_no_remote(remote: Remote) -> None:
    with pytest.raises(RemoteError, match="is not a remote"):
        Remote(remote.git, "--upload-pack=touch x")


@pytest.mark.skipif(sys.platform == "win32", reason="a shell script stands in for git")
def test_a_git_that_hangs(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = tmp_path / "bin/git"
    slow.parent.mkdir()
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", f"{slow.parent}:/usr/bin:/bin")
    with pytest.raises(GitError, match=r"took longer than"):
        Git(hub.path, timeout=0.2).out("status")


def test_the_environment_of_a_hook_does_not_mislead(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    clone = hub.clone()
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    monkeypatch.setenv("GIT_INDEX_FILE", "/nowhere/index")
    assert Git(clone).top == clone.resolve()


def test_trees_and_changes(hub: Hub) -> None:
    here = Git(hub.clone())
    old = here.commit_id("HEAD")
    assert old is not None
    tree = here.tree_with(old, {"a b/ü.txt": b"x", "README.md": b"new"})
    new = here.commit(tree, "more", [old])
    assert here.changes(old, new) == {"README.md": "M", "a b/ü.txt": "A"}
    assert here.read_objects([here.files(new)["a b/ü.txt"].object_id]).popitem()[1] == b"x"
    assert git(here.root, "status", "--porcelain") == "", "neither index nor working tree was touched"
    assert here.is_ancestor(old, new) and not here.is_ancestor(new, old)
    with pytest.raises(GitError):
        here.is_ancestor(old, "4" * 40)
