"""The public names, the errors' drawing, and what importing costs."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

import lilims.agents
from lilims.agents import errors


def test_every_public_name_is_there() -> None:
    for name in lilims.agents.__all__:
        assert getattr(lilims.agents, name).__module__.startswith("lilims.agents."), name
    assert dir(lilims.agents) == sorted(lilims.agents.__all__)
    with pytest.raises(AttributeError, match="nothing_like_this"):
        _ = lilims.agents.nothing_like_this


@pytest.mark.parametrize("module", ["lilims.agents", "lilims.agents.commands.tasks", "lilims.agents.commands.finish"])
def test_importing_loads_nothing_heavy(module: str) -> None:
    code = f"import sys, {module}; sys.exit(any(m in sys.modules for m in ('pydantic', 'yaml', 'rich', 'numpy')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_drawn_errors_are_the_classes() -> None:
    drawn = set(re.findall(r"[├└]── (\w+Error)", errors.__doc__ or "")) - {"InputError"}
    assert drawn == set(errors.__all__)
    assert {
        name: getattr(errors, name).exit_code for name in errors.__all__ if getattr(errors, name).exit_code != 1
    } == {"RemoteError": 3}
