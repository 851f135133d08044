"""The switches that keep libraries silent."""

from __future__ import annotations

import os

import pytest

from lilims.core import privacy
from lilims.core.cli import run


@pytest.fixture(autouse=True)
def against(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user's environment that asks for the opposite; put back afterwards."""
    for name in privacy.TELEMETRY_OFF | privacy.HUB_OFF:
        monkeypatch.setenv(name, "0")


def test_telemetry_off_leaves_hubs_alone() -> None:
    privacy.telemetry_off()
    assert {name: os.environ[name] for name in privacy.TELEMETRY_OFF} == privacy.TELEMETRY_OFF
    assert os.environ["HF_HUB_OFFLINE"] == "0"


def test_every_command_switches_both_off(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    wanted = privacy.TELEMETRY_OFF | privacy.HUB_OFF
    assert {name: os.environ[name] for name in wanted} == wanted
