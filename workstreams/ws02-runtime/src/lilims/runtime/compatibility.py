"""Whether this version of lilims is one that a model was made for.

Knows `compatible_runtime` of a manifest, a range of versions as Python packages have them (PEP 440). Must not know what
else a model needs.
"""

from __future__ import annotations

from pathlib import Path

from lilims.core.errors import ManifestError
from lilims.core.package_manifest import AnyManifest

__all__ = ["check_version", "version_problem"]


def version_problem(compatible_runtime: str) -> str | None:
    """Why this lilims is not in the range, or None.

    Raises:
        ValueError: it is no range.
    """
    from packaging.specifiers import SpecifierSet

    from lilims.core import version

    wanted = SpecifierSet(compatible_runtime)
    return None if wanted.contains(version(), prereleases=True) else f"asks for lilims {wanted}, this is {version()}"


def check_version(folder: Path, manifest: AnyManifest) -> None:
    """Refuses a model that asks for another version of lilims.

    Raises:
        ManifestError: it does, or what it asks for is no range of versions.
    """
    where = folder / "manifest.json"
    try:
        problem = version_problem(manifest.compatible_runtime)
    except ValueError as exc:
        raise ManifestError(
            f"compatible_runtime: {manifest.compatible_runtime!r} is not a range of versions", where=where
        ) from exc
    if problem:
        raise ManifestError(
            f"the model {problem}", where=where, hint="convert the model again, or install a version in that range"
        )
