"""What an installed lilims consists of, as CycloneDX: `python tools/ci/sbom.py VENV/bin/python DIST OUTPUT`.

cyclonedx-py lists the environment that the wheels of DIST were installed into. Packages that came from DIST lose the
path of this machine and gain the SHA-256 of their wheel. Fails if one of DIST is missing from the list, or the list has
a lilims package that DIST lacks. Knows CycloneDX's fields. Must not import lilims.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

__all__ = ["main", "tidy", "wheels"]

ROOT = Path(__file__).resolve().parents[2]


def wheels(dist: Path) -> dict[tuple[str, str], str]:
    """(name, version) → SHA-256 of each wheel in a folder."""
    found = {}
    for path in sorted(dist.glob("*.whl")):
        name, version = path.name.split("-")[:2]
        found[name.replace("_", "-"), version] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


def tidy(bill: dict[str, Any], built: dict[tuple[str, str], str]) -> list[str]:
    """Puts hashes in the place of paths, in the list itself; says what is missing from it or strange in it."""
    metadata = bill["metadata"]["component"]
    own = [metadata, *(one for one in bill["components"] if one["name"].startswith("lilims"))]
    for one in own:
        key = (one["name"], one["version"])
        one.pop("externalReferences", None)
        one["purl"] = f"pkg:pypi/{key[0]}@{key[1]}"
        if key in built:
            one["hashes"] = [{"alg": "SHA-256", "content": built[key]}]
    listed = {(one["name"], one["version"]) for one in own}
    missing = [f"the bill lacks {name} {version}" for name, version in sorted(built.keys() - listed)]
    strange = [f"the bill has {name} {version}, which was not built" for name, version in sorted(listed - built.keys())]
    paths = ["the bill names a path of this machine"] if "file://" in json.dumps(bill) else []
    return missing + strange + paths


def main(arguments: list[str]) -> int:
    """Writes the list; the exit code."""
    python, dist, output = (Path(one) for one in arguments)
    command = [sys.executable, "-m", "cyclonedx_py", "environment", "--output-reproducible", "--mc-type", "library"]
    command += ["--pyproject", str(ROOT / "pyproject.toml"), "-o", "-", str(python)]
    bill = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    wrong = tidy(bill, wheels(dist))
    if wrong:
        print("\n".join(wrong), file=sys.stderr)
        return 1
    output.write_text(json.dumps(bill, indent=2, ensure_ascii=False) + "\n", "utf-8")
    print(f"{output}: {len(bill['components'])} packages")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
