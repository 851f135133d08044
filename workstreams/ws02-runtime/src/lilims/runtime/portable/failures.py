"""What a library's exception means: too little memory, or something else.

Knows how frameworks word it, since their exceptions share no base class. Must not know which call failed.
"""

from __future__ import annotations

import re

from lilims.core.errors import ExecutionError, OutOfMemoryError

__all__ = ["failure"]

# C++'s own, ONNX Runtime's BFC arena and CPU allocator, POSIX, Core ML and Metal
_MEMORY = re.compile(
    r"bad[_ ]alloc|failed to allocate|cannot allocate|could not allocate|out of memory|insufficient memory", re.I
)


def failure(what: str, cause: Exception, *, where: str | None = None, hint: str | None = None) -> ExecutionError:
    """The error for `cause`: an `OutOfMemoryError` if that says so, else an `ExecutionError`; of its words, one line.

    A call that fails for want of memory has written nothing that a mask shows: its session goes on from where it was.
    """
    words = str(cause).strip().split("\n", 1)[0] or type(cause).__name__
    if isinstance(cause, MemoryError) or _MEMORY.search(str(cause)):
        return OutOfMemoryError(f"{what} for want of memory: {words}", where=where)
    return ExecutionError(f"{what}: {words}", where=where, hint=hint)
