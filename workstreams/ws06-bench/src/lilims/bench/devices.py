"""What is published of devices: bandwidth, arithmetic, memory.

Knows figures and where they are from. Must not know a model.

`arithmetic` is float32 of the GPU, which Apple's GPUs give for fp16 too. Of iPhones Apple publishes neither it nor
bandwidth: there arithmetic is cores × 128 lanes × 2 × clock, and bandwidth what the kind of memory gives (listed by
cpu-monkey.com: LPDDR4X-4266, 34.1 GB/s and 1.34 GHz of the A15). Of Macs the source is Apple's announcement of that day
at apple.com/newsroom. None: no figure that could be trusted was found. `memory` is the least that the chip has.
"""

from __future__ import annotations

from dataclasses import dataclass

from lilims.core.errors import UsageError

__all__ = ["DEVICES", "Device", "device_named"]


@dataclass(frozen=True)
class Device:
    """One chip.

    Attributes:
        bandwidth: bytes a second between memory and chip.
        arithmetic: operations a second, an addition and a multiplication being two; None if unknown.
        memory: bytes.
        app_share: what share of the memory an app may take, about. iOS: Apple states no figure; on an iPad of 8 GB
            it was measured to be 3/4 up to iPadOS 26.3 and 3/8 since 26.4 (developer.apple.com/forums/thread/826325),
            the lower counts. macOS: two thirds, what Metal keeps for the GPU without being asked.
        source: where bandwidth and arithmetic are from.
    """

    name: str
    bandwidth: float
    arithmetic: float | None
    memory: int
    app_share: float
    source: str

    @property
    def app_limit(self) -> int:
        """Bytes that an app may take, about."""
        return int(self.memory * self.app_share)


_GB = 10**9
_IOS, _MAC = 3 / 8, 2 / 3
_ALL = (
    Device("a14", 34.1 * _GB, None, 4 * _GB, _IOS, "64 bits of LPDDR4X-4266"),
    Device("a15", 34.1 * _GB, 1.71e12, 4 * _GB, _IOS, "64 bits of LPDDR4X-4266; 5 GPU cores at 1.338 GHz"),
    Device("a16", 51.2 * _GB, 1.79e12, 6 * _GB, _IOS, "64 bits of LPDDR5-6400; 5 GPU cores at 1.398 GHz"),
    Device("a17-pro", 51.2 * _GB, 2.15e12, 8 * _GB, _IOS, "64 bits of LPDDR5-6400; 6 GPU cores at 1.398 GHz"),
    Device("m1", 68.25 * _GB, 2.6e12, 8 * _GB, _MAC, "128 bits of LPDDR4X-4266; Apple, 2020-11-10"),
    Device("m1-pro", 200 * _GB, 5.2e12, 16 * _GB, _MAC, "Apple, 2021-10-18"),
    Device("m1-max", 400 * _GB, 10.4e12, 32 * _GB, _MAC, "Apple, 2021-10-18"),
    Device("m2", 100 * _GB, 3.6e12, 8 * _GB, _MAC, "Apple, 2022-06-06"),
    Device("m2-max", 400 * _GB, None, 32 * _GB, _MAC, "Apple, 2023-01-17"),
    Device("m3", 100 * _GB, None, 8 * _GB, _MAC, "Apple, 2023-10-30"),
    Device("m4", 120 * _GB, None, 8 * _GB, _MAC, "Apple, 2024-05-07"),
)
DEVICES = {device.name: device for device in _ALL}


def device_named(name: str) -> Device:
    """The device of that name.

    Raises:
        UsageError: it is not in the table.
    """
    if name not in DEVICES:
        raise UsageError(f"no figures of a device {name!r}", hint=f"there are {', '.join(DEVICES)}")
    return DEVICES[name]
