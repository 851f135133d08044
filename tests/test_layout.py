"""tools/check_layout.py against trees that break each rule; tools/new_workstream.py, whose result must break none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import check_layout
import new_workstream

ROOT = """\
[tool.uv.workspace]
members = ["shared", "workstreams/*"]

[tool.uv.sources]
lilims-core = { workspace = true }
lilims-words = { workspace = true }
lilims-text = { workspace = true }

[tool.pytest.ini_options]
testpaths = ["shared/tests", "workstreams/*/tests"]

[tool.mypy]
mypy_path = [
    "tools",
    "shared/src",
    "workstreams/ws01-words/src",
    "workstreams/ws02-text/src",
]
"""
HATCH = """\
[envs.default]
workspace.members = [
    "shared",
    "workstreams/ws01-words",
    "workstreams/ws02-text",
]

[envs.hatch-test]
workspace.members = [
    "shared",
    "workstreams/ws01-words",
    "workstreams/ws02-text",
]
"""
README = """\
# tree

See `workstreams/ws02-text` and [the core](shared/README.md).

<!-- layout: arrows -->
```mermaid
graph BT
    text[lilims-text] --> words --> core
```
"""
MEMBERS = {
    "shared": ("core", [], []),
    "workstreams/ws01-words": ("words", ["lilims-core", "numpy>=2"], ["../../shared"]),
    "workstreams/ws02-text": ("text", ["lilims-core", "lilims-words"], ["../../shared", "../ws01-words"]),
}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A repository of three members in which every rule holds."""
    files = {"pyproject.toml": ROOT, "hatch.toml": HATCH, "README.md": README}
    for folder, (name, dependencies, siblings) in MEMBERS.items():
        imports = "".join(f"import {d.split('>')[0].replace('-', '.')}\n" for d in dependencies)
        files[f"{folder}/pyproject.toml"] = (
            f'[project]\nname = "lilims-{name}"\ndependencies = [\n'
            + "".join(f'    "{d}",\n' for d in dependencies)
            + f']\n\n[project.entry-points."lilims.commands"]\n{name} = "lilims.{name}.main:command"\n'
            + f"\n[tool.hatch.envs.hatch-test]\nworkspace.members = {siblings!r}\n"
        )
        files[f"{folder}/README.md"] = f"The code is in `src/lilims/{name}`.\n"
        files[f"{folder}/src/lilims/{name}/__init__.py"] = imports
        files[f"{folder}/src/lilims/{name}/py.typed"] = ""
        files[f"{folder}/src/lilims/{name}/main.py"] = "def command(): ...\n"
        files[f"{folder}/tests/test_{name}.py"] = f"import lilims.{name}\nimport pytest\n"
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text, "utf-8")
    return tmp_path


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new, 1), "utf-8")


def findings(tree: Path) -> list[str]:
    return [str(finding) for finding in check_layout.check(tree)]


def test_a_sound_tree_has_no_findings(tree: Path) -> None:
    assert findings(tree) == []


WORDS, TEXT = "workstreams/ws01-words", "workstreams/ws02-text"


@pytest.mark.parametrize(
    ("removed", "finding"),
    [
        ("README.md", f"{WORDS}:1: parts: has no README.md"),
        ("tests/test_words.py", f"{WORDS}:1: parts: has no tests/test_*.py"),
        ("src/lilims/words/py.typed", f"{WORDS}:1: parts: lilims-words has no {WORDS}/src/lilims/words/py.typed"),
    ],
)
def test_a_missing_part(tree: Path, removed: str, finding: str) -> None:
    (tree / WORDS / removed).unlink()
    assert findings(tree) == [finding]


def test_a_workstream_without_pyproject(tree: Path) -> None:
    (tree / "workstreams/ws03-lost").mkdir()
    (tree / "workstreams/ws03-lost/notes.txt").write_text("", "utf-8")
    assert "workstreams/ws03-lost:1: parts: has no pyproject.toml" in findings(tree)


def test_a_leftover_folder_is_no_workstream(tree: Path) -> None:
    (tree / "workstreams/ws03-gone/src/__pycache__").mkdir(parents=True)
    (tree / "workstreams/ws03-gone/src/__pycache__/a.pyc").write_bytes(b"")
    assert findings(tree) == []


def test_each_distribution_carries_the_licence(tree: Path) -> None:
    for folder in ("", *MEMBERS):
        (tree / folder / "LICENSE").write_text("Terms.\n", "utf-8")
    assert findings(tree) == []
    (tree / WORDS / "LICENSE").write_text("Other terms.\n", "utf-8")
    (tree / TEXT / "LICENSE").unlink()
    lines = findings(tree)
    assert len(lines) == 2 and all("has not the root's LICENSE" in line for line in lines)


def test_the_namespace_has_no_init(tree: Path) -> None:
    (tree / "shared/src/lilims/__init__.py").write_text("", "utf-8")
    assert findings(tree) == [
        "shared/src/lilims/__init__.py:1: parts: lilims is a namespace package: remove it",
    ]


def test_a_cycle(tree: Path) -> None:
    edit(tree / "shared/pyproject.toml", "dependencies = [\n", 'dependencies = [\n    "lilims-text",\n')
    assert "shared/pyproject.toml:4: arrows: lilims-core depends on itself, through lilims-text" in findings(tree)


@pytest.mark.parametrize(
    ("drawn", "finding"),
    [
        ("words --> core", f"{TEXT}/pyproject.toml:5: arrows: lilims-text depends on lilims-words, "
         "which the diagram in README.md does not show"),
        ("text --> words --> core --> text",
         "README.md:8: arrows: draws core --> text, which lilims-core does not declare"),
        ("", "README.md:1: arrows: has no diagram after a comment <!-- layout: arrows -->"),
    ],
    ids=["too few", "too many", "none"],
)  # fmt: skip
def test_arrows_are_as_drawn(tree: Path, drawn: str, finding: str) -> None:
    edit(tree / "README.md", "text[lilims-text] --> words --> core", drawn)
    assert finding in findings(tree)


def test_several_nodes_on_one_arrow(tree: Path) -> None:
    edit(tree / "README.md", "text[lilims-text] --> words --> core", "words & text[the text] --> core\ntext --> words")
    assert findings(tree) == []


@pytest.mark.parametrize(
    ("file", "code", "finding"),
    [
        ("src/lilims/words/main.py", "from lilims.text import x",
         f"{WORDS}/src/lilims/words/main.py:2: imports: lilims.text, which lilims-words does not depend on"),
        ("src/lilims/words/main.py", "def f():\n    from lilims import text",
         f"{WORDS}/src/lilims/words/main.py:3: imports: lilims.text, which lilims-words does not depend on"),
        ("tests/test_words.py", "import lilims.text.main",
         f"{WORDS}/tests/test_words.py:3: imports: lilims.text, which lilims-words does not depend on"),
        ("src/lilims/words/main.py", "import rich.table",
         f"{WORDS}/src/lilims/words/main.py:2: imports: rich, which lilims-words does not require"),
        ("src/lilims/words/main.py", "from google import protobuf",
         f"{WORDS}/src/lilims/words/main.py:2: imports: google, which lilims-words does not require"),
    ],
    ids=["source", "inside a function", "test", "third party", "named otherwise"],
)  # fmt: skip
def test_imports_are_declared(tree: Path, file: str, code: str, finding: str) -> None:
    path = tree / WORDS / file
    path.write_text(path.read_text("utf-8") + code + "\n", "utf-8")
    assert findings(tree) == [finding]


def test_a_distribution_inside_a_member_declares_for_itself(tree: Path) -> None:
    folder = tree / WORDS / "native"
    folder.mkdir()
    (folder / "test_it.py").write_text("import lilims.native\n", "utf-8")
    assert findings(tree) == [
        f"{WORDS}/native/test_it.py:1: imports: lilims.native, which lilims-words does not depend on"
    ]
    (folder / "pyproject.toml").write_text("", "utf-8")
    assert findings(tree) == []


def test_the_standard_library_and_own_modules_need_no_declaration(tree: Path) -> None:
    path = tree / WORDS / "src/lilims/words/main.py"
    path.write_text(path.read_text("utf-8") + "import os.path\nimport lilims.words.more\nfrom . import more\n", "utf-8")
    assert findings(tree) == []


def test_an_extra_is_declared(tree: Path) -> None:
    path = tree / WORDS / "pyproject.toml"
    path.write_text(path.read_text("utf-8") + '\n[project.optional-dependencies]\nnice = ["Rich>=13"]\n', "utf-8")
    edit(tree / WORDS / "src/lilims/words/main.py", "def", "import rich\n\n\ndef")
    assert findings(tree) == []


def test_a_dependency_that_is_never_imported(tree: Path) -> None:
    edit(tree / TEXT / "src/lilims/text/__init__.py", "import lilims.words\n", "")
    assert findings(tree) == [
        f"{TEXT}/pyproject.toml:5: imports: lilims-text declares lilims-words and never imports it",
    ]


def test_an_entry_point_that_does_not_exist(tree: Path) -> None:
    edit(tree / TEXT / "src/lilims/text/main.py", "def command", "def commands")
    assert findings(tree) == [
        f"{TEXT}/pyproject.toml:9: imports: the entry point lilims.text.main:command does not exist",
    ]


@pytest.mark.parametrize(
    ("file", "old", "new", "finding"),
    [
        ("pyproject.toml", "lilims-text = { workspace = true }\n", "",
         "pyproject.toml:4: lists: tool.uv.sources leaves out lilims-text"),
        ("pyproject.toml", '    "shared/src",\n', "",
         "pyproject.toml:13: lists: tool.mypy.mypy_path leaves out shared/src"),
        ("pyproject.toml", '"workstreams/*/tests"', "",
         f"pyproject.toml:10: lists: testpaths leaves out {WORDS}/tests"),
        ("hatch.toml", f'    "{TEXT}",\n', "",
         f"hatch.toml:2: lists: envs.default.workspace.members leaves out {TEXT}"),
        ("hatch.toml", "[envs.hatch-test]", f'[envs.docs]\nworkspace.members = ["{TEXT}"]\n\n[envs.hatch-test]',
         f"hatch.toml:2: lists: envs.docs.workspace.members leaves out shared, {WORDS}"),
        ("hatch.toml", '    "shared",\n', '    "shared",\n    "workstreams/ws09-gone",\n',
         "hatch.toml:4: lists: envs.default.workspace.members names workstreams/ws09-gone, which does not belong"),
        (f"{TEXT}/pyproject.toml", "'../../shared', ", "",
         f"{TEXT}/pyproject.toml:12: lists: tool.hatch.envs.hatch-test.workspace.members leaves out ../../shared"),
        (f"{WORDS}/pyproject.toml", "'../../shared'", "'../../shared', '../ws02-text'",
         f"{WORDS}/pyproject.toml:12: lists: tool.hatch.envs.hatch-test.workspace.members names ../ws02-text, "
         "which does not belong"),
    ],
    ids=["uv", "mypy", "pytest", "hatch", "another environment", "a member that is gone", "not transitive", "too many"],
)  # fmt: skip
def test_lists_agree(tree: Path, file: str, old: str, new: str, finding: str) -> None:
    edit(tree / file, old, new)
    assert finding in findings(tree)


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("run `tools/none.py` now", None),  # there is no folder tools: not taken for a path
        ("run `shared/none.py` now", "shared/none.py"),
        ("    python shared/none.py --flag", "shared/none.py"),
        ("[a link](docs/none.md#part)", "docs/none.md"),
        ("[a link](https://example.org/shared/none.py)", None),
        ("`../shared/data` lies beside", None),
        ("`shared/<name>/x.py` and `shared/{a,b}/x.py`", None),
        ("`workstreams/ws*/README.md`", None),
        ("`workstreams/ws*/NONE.md`", "workstreams/ws*/NONE.md"),
    ],
)
def test_paths_exist(tree: Path, line: str, named: str | None) -> None:
    (tree / "AGENTS.md").write_text(f"# map\n\n{line}\n", "utf-8")
    assert findings(tree) == ([f"AGENTS.md:3: paths: {named} does not exist"] if named else [])


@pytest.mark.parametrize(
    ("lines", "reason", "found"),
    [
        (450, "", False),
        (451, "", True),
        (451, "# layout: long because it is one table\n", False),
        (451, "# layout: long because\n", True),
    ],
    ids=["450", "451", "with a reason", "with an empty reason"],
)  # fmt: skip
def test_long_files(tree: Path, lines: int, reason: str, found: bool) -> None:
    path = tree / "shared/src/lilims/core/table.py"
    path.write_text(reason + "x = 1\n" * (lines - bool(reason)), "utf-8")
    expected = "shared/src/lilims/core/table.py:451: length: 451 lines: split it, or say why it is long"
    assert findings(tree) == ([expected] if found else [])


def test_the_program_prints_findings_and_fails(tree: Path) -> None:
    def run() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, check_layout.__file__, str(tree)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    good = run()
    assert (good.returncode, good.stdout) == (0, "")
    (tree / WORDS / "README.md").unlink()
    bad = run()
    assert (bad.returncode, bad.stdout) == (1, f"{WORDS}:1: parts: has no README.md\n")


def test_a_new_workstream_is_in_order(tree: Path) -> None:
    folder = new_workstream.create(tree, 3, "bench", ["text", "core"], "Measures.")
    assert folder == tree / "workstreams/ws03-bench"
    assert findings(tree) == []
    repository = check_layout.Repository(tree)
    assert repository.arrows()["lilims-bench"] == {"lilims-core", "lilims-text"}
    assert check_layout.drawn_arrows(tree / "README.md")[("bench", "text")]


def test_a_new_workstream_is_in_the_umbrella(tree: Path) -> None:
    umbrella = '[project]\nversion = "0.3.0"\ndependencies = [\n    "lilims-core==0.3.0",\n]\n\n[project.optional]\n'
    (tree / "pyproject.toml").write_text(umbrella + (tree / "pyproject.toml").read_text("utf-8"), "utf-8")
    (tree / "LICENSE").write_text("Terms.\n", "utf-8")
    folder = new_workstream.create(tree, 3, "bench", ["core"], "Measures.")
    root = check_layout.read_toml(tree / "pyproject.toml")
    assert root["project"]["dependencies"] == ["lilims-core==0.3.0", "lilims-bench==0.3.0"]
    assert check_layout.read_toml(folder / "pyproject.toml")["project"]["version"] == "0.3.0"
    assert (folder / "LICENSE").read_text("utf-8") == "Terms.\n"


@pytest.mark.parametrize(
    ("name", "needs"), [("text", ["core"]), ("Bad-Name", ["core"]), ("bench", ["nothing"])]
)  # fmt: skip
def test_a_new_workstream_is_refused(tree: Path, name: str, needs: list[str]) -> None:
    before = sorted(tree.rglob("*"))
    with pytest.raises(SystemExit):
        new_workstream.create(tree, 3, name, needs, "Measures.")
    assert sorted(tree.rglob("*")) == before
