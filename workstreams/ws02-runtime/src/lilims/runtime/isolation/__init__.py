"""An executor in a child process: what kills or hangs it costs a state, not the program.

    host = IsolationHost()                      starts lilims.runtime.isolation.child when it is first needed
    executor = host.open(package, name=…, …)    as `open_executor`, and with the same interface
    FallbackExecutor(primary, backup)           goes on with another executor when the first one is lost

    parent                                                     child
    Session ─ IsolatedPackage ─ Child ══ pipe: requests ══► listener ─► server ─ CoreMLExecutor or PortableExecutor
                                      ◄══ pipe: answers ════════════════┘

When the child dies, is stopped after a timeout, or answers with garbage, the call ends with a `StateLostError`: all
states of that child are gone. A session, which knows its tokens, runs them again on a new state, in a new child.
"""

from __future__ import annotations

from .fallback import FallbackExecutor
from .host import IsolatedPackage, IsolatedState, IsolationHost, Timeouts

__all__ = ["FallbackExecutor", "IsolatedPackage", "IsolatedState", "IsolationHost", "Timeouts"]
