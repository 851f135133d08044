"""Checks built distributions: `python tools/ci/check_wheels.py DIST [ROOT]`; wants hatchling beside it.

    set         each member of the workspace and the umbrella has one wheel and one sdist, all of one version
    content     a wheel has every file of its package that git has, the licence, py.typed, and nothing else
    apart       no two wheels have a file in common
    sdist       the wheel that is built from an sdist alone has the same files and metadata

Prints one line per finding, `file: rule: message`, and exits 1 if there is any. Knows archives. Must not import lilims.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from email.parser import BytesParser
from pathlib import Path
from zipfile import ZipFile

__all__ = ["Distribution", "check", "distributions", "main"]

LICENCE = "licenses/LICENSE"


@dataclass(frozen=True)
class Distribution:
    """One project that is to be built: its folder, name and version, and the files of its package as git has them."""

    folder: Path
    name: str
    version: str
    shipped: frozenset[str]

    @property
    def stem(self) -> str:
        return f"{self.name.replace('-', '_')}-{self.version}"


def distributions(root: Path) -> list[Distribution]:
    """The umbrella, which is the root, and every member of the workspace."""
    settings = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))
    globs = settings["tool"]["uv"]["workspace"]["members"]
    folders = sorted({p.parent for pattern in globs for p in root.glob(f"{pattern}/pyproject.toml")})
    found = []
    for folder in [root, *folders]:
        project = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["project"]
        listing = [] if folder == root else _tracked(folder / "src")
        found.append(Distribution(folder, project["name"], project["version"], frozenset(listing)))
    return found


def _tracked(folder: Path) -> list[str]:
    """Files that git has below a folder, or would have if all were added."""
    done = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=folder,
        check=True,
        capture_output=True,
    )
    names = done.stdout.decode("utf-8").split("\0")
    return [name for name in names if name and (folder / name).is_file()]


def contents(wheel: Path) -> dict[str, bytes]:
    """Name → bytes of a wheel's files."""
    with ZipFile(wheel) as archive:
        return {info.filename: archive.read(info) for info in archive.infolist() if not info.is_dir()}


def check(dist: Path, root: Path) -> Iterator[str]:
    """One line per finding."""
    wanted = distributions(root)
    yield from check_set(dist, wanted)
    owners: dict[str, str] = {}
    for one in wanted:
        wheel = dist / f"{one.stem}-py3-none-any.whl"
        if not wheel.is_file():
            continue
        files = contents(wheel)
        yield from check_content(one, wheel.name, files)
        for name in files:
            if other := owners.get(name):
                yield f"{wheel.name}: apart: {name} is also in {other}"
            owners[name] = wheel.name
        if (sdist := dist / f"{one.stem}.tar.gz").is_file():
            yield from check_sdist(sdist, wheel.name, files)


def check_set(dist: Path, wanted: list[Distribution]) -> Iterator[str]:
    for version in sorted({one.version for one in wanted} - {wanted[0].version}):
        yield f"{dist.name}: set: some have version {version}, lilims has {wanted[0].version}"
    names = {f"{one.stem}{end}" for one in wanted for end in (".tar.gz", "-py3-none-any.whl")}
    there = {path.name for path in dist.iterdir()}
    yield from (f"{name}: set: was not built" for name in sorted(names - there))
    yield from (f"{name}: set: belongs to no member" for name in sorted(there - names))


def check_content(one: Distribution, wheel: str, files: dict[str, bytes]) -> Iterator[str]:
    info = f"{one.stem}.dist-info/"
    code = {name for name in files if not name.startswith(info)}
    yield from (f"{wheel}: content: lacks {name}" for name in sorted(one.shipped - code))
    yield from (f"{wheel}: content: has {name}, which is no file of the package" for name in sorted(code - one.shipped))
    package = f"lilims/{one.name.removeprefix('lilims-').replace('-', '_')}"
    if one.shipped and f"{package}/py.typed" not in code:
        yield f"{wheel}: content: lacks {package}/py.typed"
    yield from (f"{wheel}: content: has {name}: tests stay at home" for name in sorted(code) if "/tests/" in name)
    if b"Apache License" not in files.get(info + LICENCE, b""):
        yield f"{wheel}: content: lacks the licence, {info}{LICENCE}"
    metadata = BytesParser().parsebytes(files.get(info + "METADATA", b""))
    for key, value in (("Name", one.name), ("Version", one.version), ("License-Expression", "Apache-2.0")):
        if metadata[key] != value:
            yield f"{wheel}: content: {key} is {metadata[key]}, not {value}"


def check_sdist(sdist: Path, wheel: str, files: dict[str, bytes]) -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="lilims-sdist-") as scratch:
        with tarfile.open(sdist) as archive:
            archive.extractall(scratch, filter="data")
        folder = Path(scratch, sdist.name.removesuffix(".tar.gz"))
        built = Path(scratch, "built")
        command = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(built)]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
        if done.returncode:
            why = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
            yield f"{sdist.name}: sdist: no wheel can be built from it: {why}"
            return
        again = contents(built / wheel)
    for name in sorted(files.keys() | again.keys()):
        if files.get(name) != again.get(name):
            yield f"{sdist.name}: sdist: the wheel that is built from it has another {name}"


def main(arguments: list[str]) -> int:
    """Prints the findings; the exit code."""
    dist = Path(arguments[0])
    root = Path(arguments[1]) if len(arguments) > 1 else Path(__file__).resolve().parents[2]
    findings = list(check(dist, root))
    print("\n".join(findings) or f"{len(list(dist.iterdir()))} files in {dist.name} are as they should be")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
