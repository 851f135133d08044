"""What the environment `browser` has. Elsewhere these are None: tests that are selected all the same fail."""

from __future__ import annotations

from typing import Any

expect: Any = None
axe: Any = None
try:
    from axe_playwright_python.sync_playwright import Axe
    from playwright.sync_api import expect as _expect
except ImportError:
    pass
else:
    expect, axe = _expect, Axe()

__all__ = ["axe", "expect"]
