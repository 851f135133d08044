"""What builds, checks and announces a release (tools/ci, tools/set_version.py), on small trees and a made-up host."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from zipfile import ZipFile

import pytest

import set_version
from ci import check_wheels, post_report, release_notes, sbom, sizes, smoke
from lilims.ci import reporting
from lilims.ci.releasing import check_release
from lilims.ci.tree import Tree

ROOT = Path(__file__).resolve().parent.parent

# Distributions -------------------------------------------------------------------------------------------------------

METADATA = "Metadata-Version: 2.4\nName: {}\nVersion: 0.1.0\nLicense-Expression: Apache-2.0\n\nText.\n"


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """An umbrella and one package; `dist` beside it has their distributions as they should be."""
    root, dist = tmp_path / "root", tmp_path / "dist"
    files = {
        "pyproject.toml": '[project]\nname = "lilims"\nversion = "0.1.0"\n[tool.uv.workspace]\nmembers = ["ws/*"]\n',
        "ws/words/pyproject.toml": '[project]\nname = "lilims-words"\nversion = "0.1.0"\n',
        "ws/words/src/lilims/words/__init__.py": "x = 1\n",
        "ws/words/src/lilims/words/py.typed": "",
        "ws/words/src/lilims/words/data.json": "{}",
        "ws/words/src/lilims/words/__pycache__/x.pyc": "ignored",
        "ws/words/tests/test_x.py": "",
        ".gitignore": "__pycache__/\n",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, "utf-8")
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    dist.mkdir()
    wheel(dist, "lilims", {})
    wheel(dist, "lilims-words", {f"lilims/words/{name}": b"" for name in ("__init__.py", "py.typed", "data.json")})
    for name in ("lilims", "lilims_words"):
        (dist / f"{name}-0.1.0.tar.gz").write_bytes(b"")
    return root


def wheel(
    dist: Path, name: str, files: dict[str, bytes], metadata: str = METADATA, licence: bytes = b"Apache License"
) -> None:
    stem = f"{name.replace('-', '_')}-0.1.0"
    own = {"METADATA": metadata.format(name).encode(), "WHEEL": b"", "RECORD": b"", "licenses/LICENSE": licence}
    with ZipFile(dist / f"{stem}-py3-none-any.whl", "w") as archive:
        for path, content in {**files, **{f"{stem}.dist-info/{key}": value for key, value in own.items()}}.items():
            archive.writestr(path, content)


def found(root: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(check_wheels, "check_sdist", lambda *_words: iter(()))
    return list(check_wheels.check(root.parent / "dist", root))


CODE = {f"lilims/words/{name}": b"" for name in ("__init__.py", "py.typed", "data.json")}


def test_sound_distributions(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert found(workspace, monkeypatch) == []


WHEELS: dict[str, tuple[dict[str, Any], str]] = {
    "data left out": ({"files": {k: b"" for k in CODE if "data" not in k}}, "lacks lilims/words/data.json"),
    "py.typed left out": ({"files": {k: b"" for k in CODE if "typed" not in k}}, "lacks lilims/words/py.typed"),
    "bytecode": ({"files": {**CODE, "lilims/words/__pycache__/x.pyc": b""}}, "x.pyc, which is no file of the package"),
    "tests": ({"files": {**CODE, "tests/test_x.py": b""}}, "has tests/test_x.py, which is no file"),
    "an owner of the namespace": ({"files": {**CODE, "lilims/__init__.py": b""}}, "has lilims/__init__.py"),
    "no licence": ({"files": CODE, "licence": b""}, "lacks the licence"),
    "another name": ({"files": CODE, "metadata": METADATA.replace("{}", "words")}, "Name is words, not lilims-words"),
    "another licence": ({"files": CODE, "metadata": METADATA.replace("Apache-2.0", "MIT")}, "License-Expression is"),
}  # fmt: skip


@pytest.mark.parametrize("name", WHEELS)
def test_a_wheel_with_a_fault(workspace: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    words, message = WHEELS[name]
    wheel(workspace.parent / "dist", "lilims-words", **words)
    lines = found(workspace, monkeypatch)
    assert any(message in line and line.startswith("lilims_words-0.1.0") for line in lines), lines


def test_what_is_missing_or_does_not_belong(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dist = workspace.parent / "dist"
    (dist / "lilims_words-0.1.0.tar.gz").rename(dist / "lilims_words-0.2.0.tar.gz")
    assert found(workspace, monkeypatch) == [
        "lilims_words-0.1.0.tar.gz: set: was not built",
        "lilims_words-0.2.0.tar.gz: set: belongs to no member",
    ]


def test_two_wheels_with_one_file(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel(workspace.parent / "dist", "lilims", {"lilims/words/data.json": b""})
    assert any(
        ": apart: lilims/words/data.json is also in lilims-0.1.0" in line for line in found(workspace, monkeypatch)
    )


def test_every_member_is_built() -> None:
    built = {one.name for one in check_wheels.distributions(ROOT)}
    assert {"lilims", "lilims-core", "lilims-models", "lilims-ui"} <= built and "lilims-kernels" not in built
    assert any(
        name.startswith("lilims/ui/web/static/") for one in check_wheels.distributions(ROOT) for name in one.shipped
    )


# The bill of materials, sizes, the guard ------------------------------------------------------------------------------


def bill(*names: str) -> dict[str, Any]:
    parts = [{"name": n, "version": "1", "externalReferences": [{"url": f"file:///home/x/{n}.whl"}]} for n in names]
    return {
        "metadata": {"component": {"name": "lilims", "version": "1"}},
        "components": [*parts, {"name": "numpy", "version": "2"}],
    }


def test_a_bill_names_what_was_built_by_its_hash() -> None:
    made = bill("lilims-core")
    assert sbom.tidy(made, {("lilims", "1"): "aa", ("lilims-core", "1"): "bb"}) == []
    core = made["components"][0]
    assert core["hashes"] == [{"alg": "SHA-256", "content": "bb"}] and core["purl"] == "pkg:pypi/lilims-core@1"
    assert "file:" not in json.dumps(made)


def test_a_bill_that_is_not_whole() -> None:
    wrong = sbom.tidy(bill("lilims-old"), {("lilims", "1"): "aa", ("lilims-core", "1"): "bb"})
    assert wrong == ["the bill lacks lilims-core 1", "the bill has lilims-old 1, which was not built"]
    made = bill()
    made["components"][0]["externalReferences"] = [{"url": "file:///home/x"}]
    assert sbom.tidy(made, {("lilims", "1"): "aa"}) == ["the bill names a path of this machine"]


def test_sizes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "model/a").mkdir(parents=True)
    (tmp_path / "model/a/weights").write_bytes(b"12345")
    (tmp_path / "model/manifest.json").write_bytes(b"123")
    (tmp_path / "lilims_core-0.1.0-py3-none-any.whl").write_bytes(b"12")
    assert sizes.main([str(path) for path in tmp_path.iterdir()]) == 0
    value = json.loads(capsys.readouterr().out)
    assert value["kind"] == "sizes" and value["sizes"] == {"model": 8, "lilims_core (wheel)": 2}


@pytest.mark.parametrize("inside", [True, False], ids=["of the checkout", "beside it"])
def test_the_guard_of_the_smoke_test(tmp_path: Path, inside: bool) -> None:
    """A Python that opens a file of the checkout ends at once; one beside it, whose name begins so, may be opened."""
    forbidden = tmp_path / "checkout"
    target = (forbidden if inside else tmp_path / "checkout-2") / "x"
    target.parent.mkdir()
    target.write_text("x")
    (tmp_path / "sitecustomize.py").write_text(smoke.GUARD, "utf-8")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path), "SMOKE_FORBID": str(forbidden)}
    code = f"try: open({str(target)!r})\nexcept BaseException: pass"
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == (99 if inside else 0), done.stderr
    assert ("which lies in the checkout" in done.stderr) is inside


# Versions ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The files of this repository that have to do with versions."""
    for path in [
        ROOT / "CHANGELOG.md",
        ROOT / "pyproject.toml",
        *ROOT.glob("*/pyproject.toml"),
        *ROOT.glob("workstreams/*/pyproject.toml"),
    ]:
        target = tmp_path / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    return tmp_path


def test_a_version_is_set_everywhere(copy: Path) -> None:
    assert set_version.main(["9.8.7rc1", "--date", "2026-01-31", "--root", str(copy)]) == 0
    assert check_release(Tree.of(copy), tag="v9.8.7rc1") == []
    text = (copy / "CHANGELOG.md").read_text("utf-8")
    assert "\n## Unreleased\n\n## 9.8.7rc1 - 2026-01-31\n" in text
    assert release_notes.section(text, "9.8.7rc1").startswith("### Added")


def test_a_version_is_set_whole_or_not_at_all(copy: Path) -> None:
    before = (copy / "pyproject.toml").read_text("utf-8")
    (copy / "CHANGELOG.md").write_text("# Changelog\n", "utf-8")
    with pytest.raises(SystemExit, match="0 sections Unreleased"):
        set_version.main(["9.8.7", "--date", "2026-01-31", "--root", str(copy)])
    assert (copy / "pyproject.toml").read_text("utf-8") == before
    for words in (["9.8"], ["v9.8.7"], ["9.8.7", "--date", "31.1.2026"]):
        with pytest.raises(SystemExit):
            set_version.main([*words, "--root", str(copy)])


def test_release_notes() -> None:
    text = "# C\n\n## Unreleased\n\n## 0.2.0 - 2026-01-31\n\n### Added\n- x\n\n## 0.1.0\n- y\n"
    assert release_notes.section(text, "0.2.0") == "### Added\n- x"
    assert release_notes.section(text, "0.1.0") == "- y"
    for version in ("0.3.0", "0.2", "Unreleased"):
        with pytest.raises(SystemExit):
            release_notes.section(text, version)


# The comment ---------------------------------------------------------------------------------------------------------


class Host(ThreadingHTTPServer):
    """As much of GitHub's API as the report's comment takes."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.pulls: list[dict[str, Any]] = []
        self.comments: list[dict[str, Any]] = []
        self.asked: list[str] = []
        self.refuses = False


class Handler(BaseHTTPRequestHandler):
    server: Host

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        query = parse_qs(url.query)
        assert self.headers["Authorization"] == "Bearer secret"
        self.server.asked.append(self.path)
        if self.server.refuses:
            self.send_error(403)
            return
        if url.path.endswith("/pulls"):
            self.answer([one for one in self.server.pulls if query["head"] == [one["label"]]])
        else:
            start = 100 * (int(query["page"][0]) - 1)
            self.answer(self.server.comments[start : start + 100])

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        number = int(self.path.split("/")[-2])
        self.server.comments.append({"id": 1000, "user": {"type": "Bot"}, "issue": number, **body})
        self.answer({})

    def do_PATCH(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        comment = next(one for one in self.server.comments if one["id"] == int(self.path.split("/")[-1]))
        comment.update(body)
        self.answer({})

    def answer(self, value: Any) -> None:
        raw = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_words: Any) -> None:
        pass


@pytest.fixture
def host() -> Iterator[Host]:
    with Host() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        server.pulls = [
            {"number": 6, "label": "them:branch&x=1/é", "head": {"sha": "old"}},
            {"number": 7, "label": "them:branch&x=1/é", "head": {"sha": "new"}},
        ]
        yield server
        server.shutdown()
        thread.join()


def github(host: Host) -> post_report.GitHub:
    url = f"http://127.0.0.1:{host.server_port}"
    return post_report.GitHub({"GITHUB_REPOSITORY": "a/b", "GITHUB_API_URL": url, "GH_TOKEN": "secret"})


BODY = post_report.MARKER + "\n\nfirst"
WHOSE = ("new", "them", "branch&x=1/é")


def test_the_first_report_is_a_comment_and_the_next_replaces_it(host: Host) -> None:
    own = {"user": {"type": "Bot"}, "body": "another app's"}
    host.comments = [{"id": n, "user": {"type": "User"}, "body": BODY} for n in range(149)]
    host.comments += [{"id": 149, "user": None, "body": BODY}, {"id": 200, **own}]
    assert post_report.post(github(host), BODY, *WHOSE) == "#7: new comment"
    assert host.comments[-1]["body"] == BODY and host.comments[-1]["issue"] == 7
    assert post_report.post(github(host), BODY + " and second", *WHOSE) == "#7: comment 1000 replaced"
    assert len(host.comments) == 152 and host.comments[-1]["body"].endswith("and second")
    assert all(one["body"] == BODY for one in host.comments[:150])  # others may begin as they like


@pytest.mark.parametrize("whose", [("older", *WHOSE[1:]), ("new", "others", WHOSE[2]), ("new", "them", "main")])
def test_a_run_that_is_no_pull_requests_head(host: Host, whose: tuple[str, str, str]) -> None:
    assert "nothing to comment on" in post_report.post(github(host), BODY, *whose)
    assert host.comments == []


def test_what_the_host_refuses_is_told(host: Host) -> None:
    host.refuses = True
    with pytest.raises(SystemExit, match=r"GET pulls.*403"):
        post_report.post(github(host), BODY, *WHOSE)


@pytest.mark.parametrize("body", ["hello", "", " " + BODY, BODY + "x" * 65_000])
def test_what_is_no_report_is_not_posted(host: Host, body: str) -> None:
    with pytest.raises(SystemExit, match="no report"):
        post_report.post(github(host), body, *WHOSE)
    assert host.asked == [] and host.comments == []


def test_a_repository_is_a_repository() -> None:
    with pytest.raises(SystemExit, match="is no repository"):
        post_report.GitHub({"GITHUB_REPOSITORY": "a/b/../../c", "GH_TOKEN": "x"})


def test_both_ends_know_the_same_marker() -> None:
    assert post_report.MARKER == reporting.MARKER and reporting.LONGEST <= post_report.LONGEST
