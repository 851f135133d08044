"""Checkpoints into Core ML packages, and how good what came out is.

Knows nothing itself: names are loaded from their modules when they are first used, so that importing this is cheap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lilims.core.lazy import lazy

if TYPE_CHECKING:
    from .architectures import supported
    from .estimate import Estimate, dry_run
    from .evaluation.measure import Evaluation, Perplexity, evaluate, perplexity
    from .pipeline import Conversion, convert
    from .reshape.folder import Retargeted, retarget
    from .shapes import GraphOptions

__all__ = [
    "Conversion",
    "Estimate",
    "Evaluation",
    "GraphOptions",
    "Perplexity",
    "Retargeted",
    "convert",
    "dry_run",
    "evaluate",
    "perplexity",
    "retarget",
    "supported",
]

_HOMES = {
    "Conversion": "pipeline",
    "Estimate": "estimate",
    "Evaluation": "evaluation.measure",
    "GraphOptions": "shapes",
    "Perplexity": "evaluation.measure",
    "Retargeted": "reshape.folder",
    "convert": "pipeline",
    "dry_run": "estimate",
    "evaluate": "evaluation.measure",
    "perplexity": "evaluation.measure",
    "retarget": "reshape.folder",
    "supported": "architectures",
}

__getattr__, __dir__ = lazy(__name__, __all__, _HOMES)
