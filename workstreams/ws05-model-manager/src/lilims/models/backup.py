"""Keeps models out of Time Machine and iCloud backups: they can be pulled again.

Knows macOS's extended attribute for that, `com.apple.metadata:com_apple_backup_excludeItem`, whose value is the
property list of a string that names who excludes. Does nothing elsewhere. Must not know what lies in a folder.
"""

from __future__ import annotations

import ctypes
import os
import plistlib
import sys
from pathlib import Path
from typing import Any

__all__ = ["exclude"]

_ATTRIBUTE = b"com.apple.metadata:com_apple_backup_excludeItem"
_VALUE = plistlib.dumps("com.apple.backupd", fmt=plistlib.FMT_BINARY)


def exclude(path: Path) -> bool:
    """Excludes a file or a folder, with all in it, from backups; whether that could be done."""
    if sys.platform != "darwin":
        return False
    libc: Any = ctypes.CDLL(None, use_errno=True)
    # int setxattr(path, name, value, size, position, options); position is for resource forks
    done: int = libc.setxattr(
        os.fsencode(path), _ATTRIBUTE, _VALUE, ctypes.c_size_t(len(_VALUE)), ctypes.c_uint32(0), ctypes.c_int(0)
    )
    return done == 0
