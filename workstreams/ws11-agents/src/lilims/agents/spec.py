"""A task: what stands in specs/<workstream>/<id>.yaml, and its published JSON Schema.

    python -m lilims.agents.spec          prints the schema; schema/task.schema.json is that text

A spec never changes once it is on the main branch: what is wrong with it is put right by a new task. Knows what a
field may hold. Must not know where a spec lies or which other specs there are (catalogue.py).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from lilims.core.strict_yaml import Document, parse

from . import globs
from .errors import TaskSpecError

__all__ = ["Acceptance", "Finding", "Task", "parse_task", "schema", "schema_file"]

ID_PATTERN = r"^(?=.{6,64}$)[a-z][a-z0-9]*(-[a-z0-9]+)*-(?=[a-z]*[0-9])[a-z0-9]{4,8}$"
WORKSTREAM_PATTERN = r"^ws[0-9]{2}-[a-z][a-z0-9-]{1,40}$"

# The same rules as globs.check and _folder, for readers of the schema alone; those give the better messages.
_NAME = r"[A-Za-z0-9._*?@+-]+"
GLOB_PATTERN = (
    r"^(?!(.*/)?\.\.?(/|$))(?!workstreams/?$)(?![^/]*[*?])(?!workstreams/[^/]*[*?])" + rf"{_NAME}(/{_NAME})*$"
)
FOLDER_PATTERN = r"^(\.|(?!(.*/)?\.\.?(/|$))[^/\\:\x00-\x1f\x7f]+(/[^/\\:\x00-\x1f\x7f]+)*)$"


def _glob(value: str) -> str:
    globs.check(value)
    return value


def _folder(value: str) -> str:
    parts = value.split("/")
    if value != "." and any(part in ("", ".", "..") for part in parts) or re.search(r"[\\:\x00-\x1f\x7f]", value):
        raise ValueError("must be '.' or a relative path without '..'")
    return value


def _argument(value: str) -> str:
    if "\0" in value:
        raise ValueError("holds a NUL character")
    return value


def _one_line(value: str) -> str:
    if not value.isprintable() or value != value.strip():
        raise ValueError("must be one line without control characters or spaces around it")
    return value


TaskId = Annotated[str, Field(pattern=ID_PATTERN), AfterValidator(_one_line)]  # `$` also matches before a line end
Line = Annotated[str, Field(min_length=4, max_length=200), AfterValidator(_one_line)]
Prose = Annotated[str, Field(min_length=40, max_length=8000)]
Glob = Annotated[
    str, Field(min_length=1, max_length=300, json_schema_extra={"pattern": GLOB_PATTERN}), AfterValidator(_glob)
]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, regex_engine="python-re")


class Acceptance(_Record):
    """A command that proves the task done: it exits with 0 then, and fails today, printing `fails_now`."""

    run: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=8000), AfterValidator(_argument)]],
        Field(min_length=1, max_length=64, description="The program and its arguments. No shell reads them."),
    ]
    cwd: Annotated[
        str,
        Field(max_length=200, description="Folder, from the root.", json_schema_extra={"pattern": FOLDER_PATTERN}),
        AfterValidator(_folder),
    ] = "."
    timeout_s: Annotated[int, Field(ge=1, le=7200)] = 300
    platform: Literal["any", "linux", "macos", "windows"] = "any"
    fails_now: Annotated[Line, Field(description="Text in the command's output that says why it fails today.")]


class Task(_Record):
    """One piece of work that one agent can claim."""

    schema_version: Literal[1]
    id: Annotated[TaskId, Field(description="Words and a random suffix with a digit, such as bench-json-k3f9.")]
    title: Line
    workstream: Annotated[str, Field(pattern=WORKSTREAM_PATTERN), AfterValidator(_one_line)]
    size: Literal["small", "medium", "large"]
    depends_on: Annotated[list[TaskId], Field(max_length=20)] = []
    touches: Annotated[
        list[Glob],
        Field(min_length=1, max_length=30, description="Globs of all files that the work may change or make."),
    ]
    context: Annotated[Prose, Field(description="What is there today, why this is wanted, where to look.")]
    instructions: Annotated[Prose, Field(description="What is to be done, so that it can be done from this alone.")]
    acceptance: Annotated[list[Acceptance], Field(min_length=1, max_length=20)]
    lease_minutes: Annotated[int, Field(ge=5, le=10080, description="A claim lasts so long unless renewed.")] = 240


@dataclass(frozen=True, order=True)
class Finding:
    """Something wrong with a spec: printed as `path:line: rule: message`."""

    path: str
    line: int
    rule: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.rule}: {self.message}"


def parse_task(data: bytes, path: str) -> tuple[Task | None, Document | None, list[Finding]]:
    """A spec's task with the lines of its fields; or None and why, each with its line."""
    try:
        document = parse(data, path, TaskSpecError)
    except TaskSpecError as exc:
        line = int(str(exc.where).rpartition(":")[2])
        return None, None, [Finding(path, line, "yaml", exc.message)]
    try:
        return Task.model_validate(document.value), document, []
    except ValidationError as exc:
        return None, document, [_finding(error, document, path) for error in exc.errors(include_url=False)]


def _finding(error: Any, document: Document, path: str) -> Finding:
    place = tuple(error["loc"])
    name = ".".join(str(part) for part in place) or "the document"
    message = error["msg"].removeprefix("Value error, ")
    rule = "acceptance" if place[:1] == ("acceptance",) and len(place) == 1 else "schema"
    return Finding(path, document.line(place), rule, f"{name}: {message}")


def schema() -> dict[str, Any]:
    """The JSON Schema of a task (draft 2020-12)."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Task.model_json_schema()}


def schema_file() -> Path:
    """The published schema."""
    return Path(__file__).with_name("schema") / "task.schema.json"


if __name__ == "__main__":
    print(json.dumps(schema(), indent=2))
