"""Joules that the machine's chip used between two moments: RAPL on Linux, powermetrics on macOS.

Knows the powercap tree and powermetrics' text. Must not know what the energy was used for: both count the whole chip,
other programs included. Where neither can be read, `open_meter` says why.

RAPL (https://docs.kernel.org/power/powercap/powercap.html): each package is a folder `intel-rapl:N` with `energy_uj`,
a counter in microjoules that starts anew behind `max_energy_range_uj`. Folders `intel-rapl:N:M` are parts of a package
(`dram` may lie outside of it, and is left out), `psys` is the whole board: only `package-N` counts. Since 2020 only
root may read it (CVE-2020-8694).
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO, Protocol

__all__ = ["Meter", "PowermetricsMeter", "RaplMeter", "open_meter", "powermetrics_joules"]

POWERCAP = Path("/sys/class/powercap")
_HEADER = re.compile(r"^\*\*\* Sampled system activity \(.*\) \(([\d.]+)ms elapsed\) \*\*\*", re.M)
_POWER = re.compile(r"^Combined Power \(CPU \+ GPU \+ ANE\): ([\d.]+) mW", re.M)
_EVERY = 200  # milliseconds of a sample


class Meter(Protocol):
    """Counts energy between `start` and `stop`."""

    @property
    def source(self) -> str:
        """What counts."""

    def start(self) -> None:
        """Begins anew."""

    def stop(self) -> float | None:
        """Joules since `start`; None where it could not count."""


class RaplMeter:
    """The packages of a powercap tree.

    Raises:
        OSError, ValueError: there is none, or it cannot be read.
    """

    source = "RAPL, the whole processor package"

    def __init__(self, tree: Path = POWERCAP) -> None:
        zones = sorted(zone for zone in tree.glob("*-rapl:*") if zone.name.count(":") == 1)
        self._zones = [zone for zone in zones if (zone / "name").read_text("ascii").startswith("package-")]
        if not self._zones:
            raise FileNotFoundError(f"no package in {tree}")
        self._ranges = [_number(zone / "max_energy_range_uj") for zone in self._zones]
        self._begun = self._read()

    def start(self) -> None:
        self._begun = self._read()

    def stop(self) -> float | None:
        spans = zip(self._begun, self._read(), self._ranges, strict=True)
        return sum((after - before) % (most + 1) for before, after, most in spans) / 1e6

    def _read(self) -> list[int]:
        return [_number(zone / "energy_uj") for zone in self._zones]


class PowermetricsMeter:
    """macOS' powermetrics beside the work, which wants root; Apple calls its power an estimate."""

    source = "powermetrics, CPU, GPU and ANE of the chip"

    def __init__(self, command: tuple[str, ...] = ("powermetrics",)) -> None:
        self._command = [*command, "--samplers", "cpu_power,gpu_power,ane_power", "-i", str(_EVERY), "-f", "text"]
        self._running: tuple[subprocess.Popen[bytes], IO[bytes]] | None = None

    def start(self) -> None:
        self.stop()
        output = tempfile.TemporaryFile()  # noqa: SIM115  # closed by `stop`
        self._running = subprocess.Popen(self._command, stdout=output, stderr=subprocess.DEVNULL), output

    def stop(self) -> float | None:
        if self._running is None:
            return None
        process, output = self._running
        self._running = None
        process.terminate()
        process.wait()
        with output:
            output.seek(0)
            return powermetrics_joules(output.read().decode("utf-8", "replace"))


def powermetrics_joules(text: str) -> float | None:
    """The sum over all samples of power × time; None if there is no whole sample."""
    headers = list(_HEADER.finditer(text))
    ends = [*(header.start() for header in headers[1:]), len(text)]
    joules = [
        float(header[1]) * float(power[1]) / 1e6
        for header, end in zip(headers, ends, strict=False)
        if (power := _POWER.search(text, header.end(), end))
    ]
    return sum(joules) if joules else None


def open_meter(tree: Path = POWERCAP) -> Meter | str:
    """What can count here, or why nothing can."""
    if sys.platform == "darwin":
        if os.geteuid():
            return "powermetrics wants root: run the command with sudo"
        return PowermetricsMeter() if shutil.which("powermetrics") else "there is no powermetrics"
    try:
        return RaplMeter(tree)
    except PermissionError:
        return f"{tree} is readable by root only"
    except (OSError, ValueError):
        return f"this machine shows no energy counters in {tree}"


def _number(path: Path) -> int:
    return int(path.read_text("ascii"))
