"""A quality budget, met at the fewest bits that are found.

goal       what is asked for: `ppl<=3%`
ladder     groups of matrices, and the schemes that each may take
trial      a model with some matrices replaced, measured on held-out windows
allocate   which group gets more bits next
ledger     what was measured already
search     the order of all that
"""

from __future__ import annotations

from .goal import Goal, read_goal
from .search import Found, Point, search

__all__ = ["Found", "Goal", "Point", "read_goal", "search"]
