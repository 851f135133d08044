"""What is kept of a completed task: specs/<workstream>/<id>.done.json, with the evidence that it was verified.

Knows the record. Must not know how evidence is got (verifying.py) or where a record is pushed (completing.py).
"""

from __future__ import annotations

import json
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from .errors import TaskSpecError

__all__ = ["Completion", "Evidence", "Result", "parse_completion"]

_LIMIT = 1 << 20
ObjectId = Annotated[str, Field(pattern=r"^([0-9a-f]{40}|[0-9a-f]{64})$")]
Text = Annotated[str, Field(max_length=10_000)]


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Result(_Record):
    """One acceptance command's outcome. `output_tail` is the end of stdout and stderr together."""

    run: Annotated[list[Text], Field(max_length=64)]
    cwd: Text
    outcome: Literal["passed", "failed", "timeout", "not_started", "skipped"]
    exit_code: int | None
    seconds: Annotated[float, Field(ge=0)]
    output_bytes: Annotated[int, Field(ge=0)]
    output_sha256: Text
    output_tail: Text


class Evidence(_Record):
    """The acceptance commands' outcomes on one commit."""

    task: Text
    commit: ObjectId
    platform: Text
    python: Text
    results: Annotated[list[Result], Field(min_length=1, max_length=20)]

    @property
    def passed(self) -> bool:
        """Every command that runs on this platform passed, and at least one did."""
        outcomes = {result.outcome for result in self.results}
        return "passed" in outcomes and outcomes <= {"passed", "skipped"}


class Completion(_Record):
    """The record. `spec` is the blob id of the spec that was worked on, `claim` the claim's nonce."""

    schema_version: Literal[1] = 1
    task: Text
    claim: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    agent: Text
    completed_at: Text
    spec: ObjectId
    evidence: Evidence

    def encode(self) -> bytes:
        """The bytes of the record, as it is committed."""
        return (json.dumps(self.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n").encode()


def parse_completion(data: bytes, path: str) -> Completion:
    """Reads a record.

    Raises:
        TaskSpecError: it is not one.
    """
    try:
        if len(data) > _LIMIT:
            raise TaskSpecError(f"larger than {_LIMIT} bytes", where=path)
        return Completion.model_validate_json(data)
    except ValidationError as exc:
        first = exc.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"]) or "the document"
        raise TaskSpecError(f"not a completion record: {key}: {first['msg']}", where=path) from exc
