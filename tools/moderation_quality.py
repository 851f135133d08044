"""Prints what moderation of the web chat finds and misses: `python tools/moderation_quality.py [SET]`.

SET is a file of lines {"text", "kind", "offensive"}; default is the set of the tests. Precision is the share of
offensive texts among those held back, recall the share of the offensive ones that are. Needs lilims-ui[moderation].
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

SET = Path(__file__).parents[1] / "workstreams/ws07-ui/tests/web/moderation_set.jsonl"
THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8)


def quality(scores: list[float], truth: list[bool], threshold: float) -> tuple[float, float]:
    """Precision and recall at a threshold; precision of nothing is 1."""
    found = [score >= threshold for score in scores]
    hits = sum(1 for one, real in zip(found, truth, strict=True) if one and real)
    return hits / max(sum(found), 1) if any(found) else 1.0, hits / max(sum(truth), 1)


def main(arguments: list[str]) -> int:
    """Prints a table of thresholds, and one of kinds."""
    from lilims.ui.web.moderation import THRESHOLD, score

    path = Path(arguments[0]) if arguments else SET
    rows: list[dict[str, Any]] = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    scores, truth = [score(row["text"]) for row in rows], [bool(row["offensive"]) for row in rows]
    print(f"{len(rows)} texts, {sum(truth)} of them offensive\n\nthreshold  precision  recall")
    for threshold in THRESHOLDS:
        precision, recall = quality(scores, truth, threshold)
        print(f"{threshold:9.1f}  {precision:9.3f}  {recall:6.3f}{'   in use' if threshold == THRESHOLD else ''}")
    print("\nkind        texts  held back")
    for kind in dict.fromkeys(row["kind"] for row in rows):
        own = [value for value, row in zip(scores, rows, strict=True) if row["kind"] == kind]
        print(f"{kind:10}  {len(own):5}  {sum(value >= THRESHOLD for value in own):9}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
