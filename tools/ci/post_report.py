"""Puts a report under its pull request: `python tools/ci/post_report.py COMMENT.md`.

Reads GITHUB_API_URL, GITHUB_REPOSITORY, GH_TOKEN and, of the run that was reported on, HEAD_SHA, HEAD_OWNER and
HEAD_BRANCH. The pull request is the open one whose head is that commit: nothing that the run left behind says which. A
comment of an earlier report, known by its first line, is replaced. Knows GitHub's API. Must not make the report.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote
from urllib.request import Request, urlopen

__all__ = ["GitHub", "main", "post"]

MARKER = "<!-- lilims-ci-report -->"
LONGEST = 65_000  # characters; GitHub takes 65,536
_PAGES, _LARGEST = 20, 16 << 20  # pages of comments that are looked through; bytes of an answer


class GitHub:
    """The API of one repository."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.repository = environment["GITHUB_REPOSITORY"]
        if not re.fullmatch(r"[\w.-]+/[\w.-]+", self.repository):
            raise SystemExit(f"{self.repository!r} is no repository")
        self.url = environment.get("GITHUB_API_URL", "https://api.github.com")
        self.token = environment["GH_TOKEN"]

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """One request; the answer's JSON. Ends this program, with the reason, where there is none."""
        request = Request(
            f"{self.url}/repos/{self.repository}/{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={
                "Authorization": f"Bearer {self.token}",
                "Accept": "application/vnd.github+json",
                "X-GitHub-Api-Version": "2022-11-28",
                "Content-Type": "application/json",
            },
        )
        try:
            with urlopen(request, timeout=60) as answer:
                return json.loads(answer.read(_LARGEST))
        except (OSError, ValueError) as exc:  # HTTPError is an OSError
            raise SystemExit(f"{method} {path}: {exc}") from exc

    def pull_request(self, sha: str, owner: str, branch: str) -> int | None:
        """The number of the open pull request whose head is that commit of that branch."""
        found = self.ask("GET", f"pulls?state=open&per_page=100&head={quote(f'{owner}:{branch}', safe='')}")
        return next((int(one["number"]) for one in found if one["head"]["sha"] == sha), None)

    def comment(self, number: int) -> int | None:
        """The id of the report's comment under a pull request: an app's, that begins with the marker."""
        for page in range(1, _PAGES + 1):
            comments = self.ask("GET", f"issues/{number}/comments?per_page=100&page={page}")
            for one in comments:
                if (one["user"] or {}).get("type") == "Bot" and one["body"].startswith(MARKER):  # no user: deleted
                    return int(one["id"])
            if len(comments) < 100:
                break
        return None


def post(github: GitHub, body: str, sha: str, owner: str, branch: str) -> str:
    """Writes or replaces the comment; says what was done."""
    if not body.startswith(MARKER) or len(body) > LONGEST:
        raise SystemExit("that is no report")
    number = github.pull_request(sha, owner, branch)
    if number is None:
        return f"no open pull request has {sha} as its head: nothing to comment on"
    comment = github.comment(number)
    if comment is None:
        github.ask("POST", f"issues/{number}/comments", {"body": body})
        return f"#{number}: new comment"
    github.ask("PATCH", f"issues/comments/{comment}", {"body": body})
    return f"#{number}: comment {comment} replaced"


def main(arguments: list[str]) -> int:
    environment = os.environ
    body = Path(arguments[0]).read_text("utf-8")
    names = (environment["HEAD_SHA"], environment["HEAD_OWNER"], environment["HEAD_BRANCH"])
    print(post(GitHub(environment), body, *names))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
