"""Ways to damage a model folder."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lilims.core.testing import test_data

from .checkpoints import Damage

SILERO = Path(os.environ.get("LILIMS_TEST_DATA", Path(__file__).parents[3] / "shared" / "data")) / (
    "coreml/silero-vad/silero-vad-stft-v6.0.0.mlpackage"
)


def _edit(folder: Path, change: Mapping[str, Any]) -> None:
    """Replaces fields of the manifest, tables key by key; without a digest, as others would write it."""
    path = folder / "manifest.json"
    raw = json.loads(path.read_text())
    for key, value in change.items():
        raw[key] = {**raw[key], **value} if isinstance(value, dict) else value
    raw.pop("digest", None)
    path.write_text(json.dumps(raw))


def manifest(**changes: Any) -> Damage:
    """Fields of the manifest are others, on purpose."""
    return lambda folder: _edit(folder, changes)


def recorded(damage: Damage) -> Damage:
    """The damage was done before the hashes were taken: they do not show it."""

    def change(folder: Path) -> None:
        from lilims.core.manifest import describe_files

        damage(folder)
        raw = json.loads((folder / "manifest.json").read_text())
        raw["files"] = {name: record.model_dump() for name, record in describe_files(folder).items()}
        raw.pop("digest", None)
        (folder / "manifest.json").write_text(json.dumps(raw))

    return change


def flip(name: str, behind: bytes | None = None) -> Damage:
    """One bit of a file is flipped: in its middle, or in the digit that follows `behind`."""

    def damage(folder: Path) -> None:
        raw = bytearray((folder / name).read_bytes())
        place = len(raw) // 2
        if behind is not None:
            place = raw.index(behind) + len(behind)
            while not chr(raw[place]).isdigit():
                place += 1
        raw[place] ^= 1
        (folder / name).write_bytes(raw)

    return damage


def foreign(folder: Path) -> None:
    """The package is somebody else's program, and the manifest says that it is the right one."""

    def swap(folder: Path) -> None:
        shutil.rmtree(folder / "model.mlpackage")
        shutil.copytree(test_data("coreml/silero-vad") / SILERO.name, folder / "model.mlpackage")

    recorded(swap)(folder)


def empty(folder: Path) -> None:
    """The package is an empty folder."""
    shutil.rmtree(folder / "model.mlpackage")
    (folder / "model.mlpackage").mkdir()


def leads_out(folder: Path) -> None:
    """The package's table of contents points at a file that is not its own."""
    path = folder / "model.mlpackage" / "Manifest.json"
    raw = json.loads(path.read_text())
    raw["itemInfoEntries"][raw["rootModelIdentifier"]]["path"] = "../../../manifest.json"
    path.write_text(json.dumps(raw))


def histories(folder: Path) -> None:
    """Two histories of `lilims bench`, of this machine and another, and one whose line was cut off."""

    def report(processor: str) -> str:
        model = {"name": "tiny", "scheme": "int8", "executor": "portable", "compute_units": None}
        machine = {"processor": processor, "cores": 2}
        return json.dumps({"kind": "bench", "workload": {"prompt": 8}, "machine": machine, "models": [model]}) + "\n"

    for name in ("here", "there"):
        (folder / f"{name}.jsonl").write_text(report(name))
    (folder / "cut.jsonl").write_text(report("here")[:-10])
