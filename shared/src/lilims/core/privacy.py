"""Nothing leaves the machine: switches off what libraries would send or look up by themselves.

Knows the switches. Must not import the libraries: a switch counts only if it is set before they are.
"""

from __future__ import annotations

import os

__all__ = ["HUB_OFF", "TELEMETRY_OFF", "hub_off", "hub_on", "telemetry_off"]

TELEMETRY_OFF = {
    # From 1.29 on the official builds keep a device id and a store of events in the user's cache folder and send them;
    # with this set, nothing is made or sent (Privacy.md in the package).
    "ORT_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",  # consoledonottrack.com; huggingface_hub honours it too
}
HUB_OFF = {"HF_HUB_OFFLINE": "1"}  # huggingface_hub, and transformers and tokenizers through it
_TRUE = {"1", "on", "yes", "true"}  # as huggingface_hub reads it
_before: dict[str, str | None] = {}  # what the user had set where hub_off wrote


def telemetry_off() -> None:
    """Switches libraries' telemetry off, for this process and its children. Call it before the first import of one."""
    os.environ.update(TELEMETRY_OFF)


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
