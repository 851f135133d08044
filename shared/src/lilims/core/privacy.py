"""Nothing leaves the machine: switches off what libraries would send or look up by themselves.

Knows the switches. Must not import the libraries: a switch counts only if it is set before they are.
"""

from __future__ import annotations

import os

__all__ = ["HUB_OFF", "TELEMETRY_OFF", "do_not_track", "hub_off", "hub_on", "telemetry_off"]

TELEMETRY_OFF = {
    # From 1.29 on the official builds keep a device id and a store of events in the user's cache folder and send them;
    # with this set, nothing is made or sent (Privacy.md in the package).
    "ORT_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",  # consoledonottrack.com; huggingface_hub honours it too
}
"""Environment variables that switch off what libraries would report."""
HUB_OFF = {"HF_HUB_OFFLINE": "1"}  # huggingface_hub, and transformers and tokenizers through it
"""Environment variables that keep libraries from asking the hub."""
_FALSE = {"", "0", "false", "no", "off"}
_TRUE = {"1", "on", "yes", "true"}  # as huggingface_hub reads it
_before: dict[str, str | None] = {}  # what the user had set where hub_off wrote
_ours: set[str] = set()  # of TELEMETRY_OFF: what the user had not set


def telemetry_off() -> None:
    """Switches libraries' telemetry off, for this process and its children. Call it before the first import of one."""
    _ours.update(name for name in TELEMETRY_OFF if not _is_set(name))
    os.environ.update(TELEMETRY_OFF)


def do_not_track() -> bool:
    """Whether the user asks by `DO_NOT_TRACK` that nothing is recorded; what `telemetry_off` set does not count.

    A child of a command inherits what was set and takes it for the user's wish: it records nothing.
    """
    return "DO_NOT_TRACK" not in _ours and _is_set("DO_NOT_TRACK")


def _is_set(name: str) -> bool:
    return os.environ.get(name, "").strip().lower() not in _FALSE


def hub_off() -> None:
    """Makes hub libraries read local files only, for this process and its children.

    Commands run so; one that a user asks to download from a hub lifts it with `hub_on` before it imports the library.
    """
    _before.update({name: os.environ.get(name) for name in HUB_OFF if name not in _before})
    os.environ.update(HUB_OFF)


def hub_on() -> bool:
    """Lifts `hub_off`; returns whether the user allows the network at all (`HF_HUB_OFFLINE`, `LILIMS_OFFLINE`)."""
    from .settings import settings

    for name, value in _before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    _before.clear()
    return not settings().offline and os.environ.get("HF_HUB_OFFLINE", "").lower() not in _TRUE
