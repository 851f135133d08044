"""Task specs that coding agents claim, with nothing shared but a git remote.

Knows nothing itself: names are loaded from their modules when they are first used, so that importing this is cheap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lilims.core.lazy import lazy

if TYPE_CHECKING:
    from .board import Board, Workplace
    from .catalogue import Catalogue
    from .claim_record import Claim
    from .claiming import Claimed, claim, release, renew
    from .completing import Completed, complete, submit
    from .git import Git
    from .journal import Journal
    from .merging import check_merge
    from .records import Completion, Evidence
    from .remote import Remote
    from .spec import Acceptance, Task, schema
    from .verifying import verify

__all__ = [
    "Acceptance",
    "Board",
    "Catalogue",
    "Claim",
    "Claimed",
    "Completed",
    "Completion",
    "Evidence",
    "Git",
    "Journal",
    "Remote",
    "Task",
    "Workplace",
    "check_merge",
    "claim",
    "complete",
    "release",
    "renew",
    "schema",
    "submit",
    "verify",
]

_HOMES = {
    "Acceptance": "spec",
    "Board": "board",
    "Catalogue": "catalogue",
    "Claim": "claim_record",
    "Claimed": "claiming",
    "Completed": "completing",
    "Completion": "records",
    "Evidence": "records",
    "Git": "git",
    "Journal": "journal",
    "Remote": "remote",
    "Task": "spec",
    "Workplace": "board",
    "check_merge": "merging",
    "claim": "claiming",
    "complete": "completing",
    "release": "claiming",
    "renew": "claiming",
    "schema": "spec",
    "submit": "completing",
    "verify": "verifying",
}

__getattr__, __dir__ = lazy(__name__, __all__, _HOMES)
