"""Nothing leaves the machine: switches off what libraries would send or look up by themselves.

Knows the switches. Must not import the libraries: a switch counts only if it is set before they are.
"""

from __future__ import annotations

import os

__all__ = ["HUB_OFF", "TELEMETRY_OFF", "hub_off", "telemetry_off"]

TELEMETRY_OFF = {
    # From 1.29 on the official builds keep a device id and a store of events in the user's cache folder and send them;
    # with this set, nothing is made or sent (Privacy.md in the package).
    "ORT_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",  # consoledonottrack.com; huggingface_hub honours it too
}
HUB_OFF = {"HF_HUB_OFFLINE": "1"}  # huggingface_hub, and transformers and tokenizers through it


def telemetry_off() -> None:
    """Switches libraries' telemetry off, for this process and its children. Call it before the first import of one."""
    os.environ.update(TELEMETRY_OFF)


def hub_off() -> None:
    """Makes hub libraries read local files only, for this process and its children.

    Commands run so; one that a user asks to download from a hub has to lift it before it imports the library.
    """
    os.environ.update(HUB_OFF)
