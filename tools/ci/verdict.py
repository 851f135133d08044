"""Whether a run of ci.yml is good: every job succeeded, or was left out as planned: `python tools/ci/verdict.py`.

Reads GitHub's `toJSON(needs)` from the variable NEEDS; the job `plan` has the output `jobs`, job → whether it runs. A
job that is not in the plan has to succeed. Knows that object. Must not know a job by name but `plan`.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

__all__ = ["main", "wrong"]


def wrong(needs: dict[str, Any]) -> list[str]:
    """A line for each job that did not do what was planned."""
    if needs.get("plan", {}).get("result") != "success":
        return ["plan: there is no plan"]
    try:
        planned = json.loads(needs["plan"]["outputs"]["jobs"])
    except (KeyError, TypeError, ValueError):
        return ["plan: has no output `jobs`"]
    if not isinstance(planned, dict) or not all(isinstance(one, bool) for one in planned.values()):
        return ["plan: its output `jobs` is no table of jobs"]
    found = []
    for job, state in sorted(needs.items()):
        wanted = "success" if job == "plan" or planned.get(job, True) else "skipped"
        if state.get("result") != wanted:
            found.append(f"{job}: {state.get('result')}, and the plan wants {wanted}")
    return found


def main() -> int:
    needs = json.loads(os.environ["NEEDS"])
    found = wrong(needs)
    for job, state in sorted(needs.items()):
        print(f"{state.get('result'):>10}  {job}")
    print("\n".join(found) or "as planned")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
