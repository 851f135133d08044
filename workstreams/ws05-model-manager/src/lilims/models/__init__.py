"""Models by name: what is installed, how more are brought, the built-in one, and the commands that use all of it.

Knows nothing itself: names are loaded from their modules when they are first used, so that importing this is cheap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lilims.core.lazy import lazy

if TYPE_CHECKING:
    from .archive.write import write_archive
    from .importing import import_package
    from .names import BUILTIN, builtin_checkpoint, resolve
    from .pulling import Pulled, Wishes, pull
    from .store import Installed, all_models, find, pin, remove

__all__ = [
    "BUILTIN",
    "Installed",
    "Pulled",
    "Wishes",
    "all_models",
    "builtin_checkpoint",
    "find",
    "import_package",
    "pin",
    "pull",
    "remove",
    "resolve",
    "write_archive",
]

_HOMES = {
    "BUILTIN": "names",
    "Installed": "store",
    "Pulled": "pulling",
    "Wishes": "pulling",
    "all_models": "store",
    "builtin_checkpoint": "names",
    "find": "store",
    "import_package": "importing",
    "pin": "store",
    "pull": "pulling",
    "remove": "store",
    "resolve": "names",
    "write_archive": "archive.write",
}

__getattr__, __dir__ = lazy(__name__, __all__, _HOMES)
