"""What the tests have done by workers; processes import it by name."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from lilims.core.errors import UsageError


@dataclass(frozen=True)
class Multiplier:
    """Opens as a factor; writes the process's number to a file each time."""

    factor: int
    opened: str

    def open(self) -> int:
        if self.factor < 0:
            os._exit(9)
        with Path(self.opened).open("a") as file:
            file.write(f"{os.getpid()}\n")
        return self.factor


def multiply(factor: int, item: int) -> int:
    return factor * item


def nap(factor: int, seconds: float) -> float:
    time.sleep(seconds)
    return factor * seconds


def where(factor: int, item: int) -> int:
    """The process that does it; slow enough for each of several to get a share."""
    time.sleep(0.02)
    return os.getpid()


def refuse(factor: int, item: int) -> int:
    if item == 3:
        raise UsageError("three is too much", where="item 3", hint="take two")
    return item


def late(factor: int, item: int) -> int:
    raise TimeoutError("its own")


def die_once(factor: int, item: tuple[int, str]) -> int:
    """Kills its process, the first time that the item with a file's name comes."""
    number, marker = item
    if marker and not Path(marker).exists():
        Path(marker).touch()
        os.kill(os.getpid(), 9)
    return factor * number


def die(factor: int, item: int) -> int:
    os._exit(9)
