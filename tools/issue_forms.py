"""Issue forms and labels, one for each part of the project: `python tools/issue_forms.py [--check]`.

Writes .github/ISSUE_TEMPLATE/<label>.yml and .github/labeler.yml from the table below; --check only compares and exits
with 1 if a file is not current. Knows the table and the two formats. Must not know what the parts do.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

# label: (title, folders and files, what a report needs besides what every report needs)
PARTS: dict[str, tuple[str, list[str], str]] = {
    "ws01-conversion": (
        "Conversion: checkpoint to package",
        ["workstreams/ws01-conversion/**"],
        "The checkpoint (name, or its config.json) and the whole `lilims convert` command.",
    ),
    "ws02-runtime": (
        "Runtime: running a package",
        ["workstreams/ws02-runtime/**"],
        "Output of `lilims inspect MODEL --json`, and whether Core ML or the portable executor ran it.",
    ),
    "ws03-context-window": (
        "Context: chunks, masks, rotary tables",
        ["workstreams/ws03-context-window/**"],
        "The context length, the number of tokens and the config's rotary settings.",
    ),
    "ws04-tokenizer": (
        "Tokenizer: text to ids and back",
        ["workstreams/ws04-tokenizer/**"],
        "The tokenizer's files or the model's name, the text, the ids that came and those that should.",
    ),
    "ws05-model-manager": (
        "Models: names, the built-in model, run",
        ["workstreams/ws05-model-manager/**", "tools/stories/**"],
        "The model's name and what lies in the models folder (`lilims doctor` prints where it is).",
    ),
    "ws06-bench": (
        "Benchmarks: speed and memory",
        ["workstreams/ws06-bench/**", "docs/performance.md", "tools/bench_*"],
        "The machine, the model, the command, and the figures of at least three runs.",
    ),
    "ws07-ui": ("Chat and server", ["workstreams/ws07-ui/**"], "The client or browser, and the request that was sent."),
    "ws08-telemetry": (
        "Telemetry and crash reports",
        ["workstreams/ws08-telemetry/**"],
        "What was recorded or left out. Leave out prompts and names.",
    ),
    "ws09-docs": (
        "Documentation",
        ["workstreams/ws09-docs/**", "docs/**", "**/README.md"],
        "The page, the sentence, and what you expected to find there.",
    ),
    "ws10-ci": (
        "Continuous integration",
        [
            "workstreams/ws10-ci/**",
            ".github/**",
            ".ci/**",
            "tools/ci/**",
            ".pre-commit-config.yaml",
            "hatch.toml",
            "pyproject.toml",
        ],
        "A link to the run, and the command that shows the same on your machine.",
    ),
    "ws11-agents": (
        "Tasks and claims",
        ["workstreams/ws11-agents/**", "specs/**", "AGENTS.md"],
        "The command with `--json`, its output and exit code, and what `git ls-remote origin 'refs/claims/*'` prints.",
    ),
    "core": (
        "Core: the command line, errors, settings",
        ["shared/**"],
        "The command, its output, and the settings that differ from the defaults.",
    ),
}
HEAD = "# Written by tools/issue_forms.py: change its table, not this file.\n"


def form(label: str) -> str:
    """The issue form of one part."""
    title, _paths, needed = PARTS[label]
    fields = [
        ("what", "What happens, and what should happen instead?", "For an idea: what is missing, and for whom.", ""),
        ("details", "What it takes to see it", needed, ""),
        (
            "doctor",
            "Output of `lilims doctor --json`",
            "Leave out folders that name you.",
            "json",
        ),
    ]
    lines = [f"name: {json.dumps(title)}", f"description: {json.dumps(f'A problem or an idea: {label}')}"]
    lines += [f"labels: [{json.dumps(label)}]", "body:"]
    for name, text, about, render in fields:
        lines += ["  - type: textarea", f"    id: {name}", "    attributes:"]
        lines += [f"      label: {json.dumps(text)}", f"      description: {json.dumps(about)}"]
        lines += [f"      render: {render}"] if render else []
        lines += ["    validations:", f"      required: {'true' if name == 'what' else 'false'}"]
    return HEAD + "\n".join(lines) + "\n"


def labels() -> str:
    """The settings of actions/labeler: label → changed files."""
    lines = []
    for label, (_title, paths, _needed) in PARTS.items():
        lines += [f"{label}:", "  - changed-files:", "      - any-glob-to-any-file:"]
        lines += [f"          - {json.dumps(path)}" for path in paths]
    return HEAD + "\n".join(lines) + "\n"


def wanted() -> dict[str, str]:
    """Path → content of every file that this program writes."""
    forms = {f".github/ISSUE_TEMPLATE/{label}.yml": form(label) for label in PARTS}
    return {**forms, ".github/labeler.yml": labels()}


def stale(root: Path) -> list[str]:
    """Files that are not as they should be, and forms that should not be there."""
    files = wanted()
    wrong = [p for p, text in files.items() if not (root / p).is_file() or (root / p).read_text("utf-8") != text]
    there = (root / ".github/ISSUE_TEMPLATE").glob("*.yml")
    strangers = [p.relative_to(root).as_posix() for p in there if p.name != "config.yml"]
    return sorted({*wrong, *(p for p in strangers if p not in files)})


def main(arguments: list[str]) -> int:
    root = Path(__file__).resolve().parent.parent
    if arguments == ["--check"]:
        for path in stale(root):
            print(f"{path}: is not what tools/issue_forms.py writes")
        return 1 if stale(root) else 0
    for path, text in wanted().items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
