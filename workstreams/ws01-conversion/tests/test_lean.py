"""The command imports coremltools without the frameworks that it converts from; a library leaves them to it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import MODELS

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="coremltools 9 has no Windows build")

COMMAND = "import sys; from lilims.core.cli import main; main(['convert', sys.argv[1], '--dry-run', '--json'])"
LIBRARY = "import sys; from lilims.conversion import dry_run; dry_run(sys.argv[1])"


@pytest.mark.parametrize(("code", "imported"), [(COMMAND, False), (LIBRARY, True)], ids=["command", "library"])
def test_frameworks_are_left_alone(tmp_path: Path, code: str, imported: bool) -> None:
    """A stand-in for scikit-learn tells whether it was imported."""
    (tmp_path / "sklearn").mkdir()
    (tmp_path / "sklearn" / "__init__.py").write_text(
        f"open({str(tmp_path / 'imported')!r}, 'w').close()\nraise ImportError('a stand-in')\n"
    )
    (tmp_path / "config.json").write_text(json.dumps(MODELS["llama"]["config"]))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    arguments = [sys.executable, "-W", "ignore", "-c", code, str(tmp_path / "config.json")]
    subprocess.run(arguments, check=True, env=environment, stdout=subprocess.DEVNULL)
    assert (tmp_path / "imported").exists() == imported
