"""A model as a Swift package and an app: `lilims export MODEL --to swift`.

Knows what the sources in `starter/` need to be told of a model. Must not know how a model runs here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lilims.core.lazy import lazy

if TYPE_CHECKING:
    from .prompts import ChatPieces, chat_pieces
    from .record import STARTER, starter_record
    from .tables import tables_of
    from .writing import Export, SwiftApp, export_swift

__all__ = [
    "STARTER",
    "ChatPieces",
    "Export",
    "SwiftApp",
    "chat_pieces",
    "export_swift",
    "starter_record",
    "tables_of",
]

_HOMES = {
    "STARTER": "record",
    "ChatPieces": "prompts",
    "Export": "writing",
    "SwiftApp": "writing",
    "chat_pieces": "prompts",
    "export_swift": "writing",
    "starter_record": "record",
    "tables_of": "tables",
}

__getattr__, __dir__ = lazy(__name__, __all__, _HOMES)
