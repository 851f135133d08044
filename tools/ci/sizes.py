"""Sizes of what is shipped, as JSON: `python tools/ci/sizes.py FILE_OR_FOLDER …`.

Prints an object of the kind `sizes`: name → bytes; wheels without their version, folders with all that is in them.
Knows files. Must not import lilims.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

__all__ = ["main", "size"]


def size(path: Path) -> int:
    """Bytes of a file, or of all files below a folder."""
    return sum(p.stat().st_size for p in path.rglob("*") if p.is_file()) if path.is_dir() else path.stat().st_size


def name(path: Path) -> str:
    """What a size goes by: the same from one version to the next."""
    return f"{path.name.split('-')[0]} (wheel)" if path.suffix == ".whl" else path.name


def main(arguments: list[str]) -> int:
    paths = sorted(Path(one) for one in arguments)
    sizes = {name(path): size(path) for path in paths}
    print(json.dumps({"kind": "sizes", "schema_version": 1, "sizes": sizes}, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
