"""The public names, and what importing them costs."""

from __future__ import annotations

import subprocess
import sys

import pytest

import lilims.context


def test_every_public_name_is_there() -> None:
    for name in lilims.context.__all__:
        value = getattr(lilims.context, name)
        assert (type(value) if name.isupper() else value).__module__.startswith("lilims.context."), name
    assert dir(lilims.context) == sorted(lilims.context.__all__)
    with pytest.raises(AttributeError, match="nothing_like_this"):
        _ = lilims.context.nothing_like_this


def test_importing_the_package_loads_no_numpy() -> None:
    code = "import sys, lilims.context; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
