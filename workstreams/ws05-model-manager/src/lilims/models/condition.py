"""Whether an installed model can run here, and if not, why.

Knows what a manifest asks for and what is cheap to see: nothing is hashed. Must not know how results are shown.
"""

from __future__ import annotations

import sys
from typing import Any

from lilims.core.errors import InputError
from lilims.core.integrity import verify_files
from lilims.core.package_manifest import AnyManifest, Manifest

from .store import Installed

__all__ = ["about", "problem"]


def problem(model: Installed) -> str | None:
    """Why a model cannot run here (damaged manifest, missing files, other version of lilims or macOS), or None."""
    manifest = model.manifest
    if manifest is None:
        return model.damage
    try:
        verify_files(model.folder, manifest, verify="sizes")
    except InputError as error:
        return str(error)
    return _of_lilims(manifest) or _of_macos(manifest)


def _of_lilims(manifest: AnyManifest) -> str | None:
    from lilims.runtime.compatibility import version_problem

    try:
        return version_problem(manifest.compatible_runtime)
    except ValueError:
        return f"compatible_runtime {manifest.compatible_runtime!r} is not a range of versions"


def _of_macos(manifest: AnyManifest) -> str | None:
    """Core ML alone asks for a version of macOS; the portable executor runs the package on any."""
    from lilims.core.settings import settings

    if sys.platform != "darwin" or settings().executor != "coreml" or not isinstance(manifest, Manifest):
        return None
    import platform

    wanted, here = manifest.minimum_os.get("macOS", "0"), platform.mac_ver()[0]
    numbers = lambda text: [int(part) if part.isdigit() else 0 for part in text.split(".")]  # noqa: E731
    return f"Core ML runs it from macOS {wanted} on, this is {here}" if numbers(here) < numbers(wanted) else None


def about(model: Installed) -> dict[str, Any]:
    """What `lilims ls --json` says of a model."""
    manifest = model.manifest
    decoder = manifest if isinstance(manifest, Manifest) else None
    return {
        "name": model.name,
        "version": model.version,
        "folder": str(model.folder),
        "bytes": model.bytes,
        "contract": manifest and manifest.contract,
        "scheme": decoder and decoder.quantization.scheme,
        "parameters": _parameters(manifest),
        "context": decoder and decoder.context,
        "last_used": model.last_used,
        "pinned": model.pinned,
        "built_in": model.built_in,
        "problem": problem(model),
    }


def _parameters(manifest: AnyManifest | None) -> int | None:
    if manifest is None:
        return None
    return manifest.architecture.parameters if isinstance(manifest, Manifest) else manifest.parameters
