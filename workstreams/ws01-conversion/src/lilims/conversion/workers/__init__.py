"""The same function over many items, whatever does the work: this process, several, or a Dask cluster.

    with crew(jobs=4) as workers:
        for result in workers.map(function, work, items):   # function(opened, item), results in the order of the items
            ...

base            what all have in common, and the work done in this process
processes       processes of this machine
cluster         a Dask cluster (extra `cluster`)

`work` is a small picklable description with an `open()`: what that gives is made once in each process, where it is
first needed, and kept for the items that follow, until other work comes. Which of the three does the work changes no
bit of a result, as long as the function looks at nothing but what was opened and the item.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lilims.core.lazy import lazy

if TYPE_CHECKING:
    from .base import Opens, Serial, Workers
    from .cluster import Cluster
    from .processes import Processes

__all__ = ["Cluster", "Opens", "Processes", "Serial", "Workers", "crew"]

_HOMES = {"Cluster": "cluster", "Opens": "base", "Processes": "processes", "Serial": "base", "Workers": "base"}


def crew(*, jobs: int = 1, dask: str | None = None) -> Workers:
    """The workers that a user asks for; a context manager, so that they end.

    Args:
        jobs: processes of this machine; 1 is this process.
        dask: the address of a Dask scheduler, `tcp://host:port`; then `jobs` does not count.

    Raises:
        UsageError: the address is none.
        MissingDependencyError: dask.distributed is not installed.
        ExecutionError: the scheduler cannot be reached.
    """
    if dask is not None:
        from .cluster import Cluster

        return Cluster(dask)
    if jobs > 1:
        from .processes import Processes

        return Processes(jobs)
    from .base import Serial

    return Serial()


__getattr__, __dir__ = lazy(__name__, __all__, _HOMES)
