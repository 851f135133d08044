"""`manifest.json`: what a model folder holds and how a runtime must call it (contract `lilims.decoder/1`).

Knows the fields, their types and their rules. Must not know how a package is made or run.
The JSON Schema is `schema()`, published in `schema/manifest.schema.json` beside this file
(`python -m lilims.core.manifest` prints it).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from .errors import IntegrityError, ManifestError
from .files import read_json, sha256_file, write_json

__all__ = [
    "CONTRACT",
    "FILE_NAME",
    "NAME",
    "SCHEMA_VERSION",
    "Adapter",
    "Architecture",
    "FileRecord",
    "FunctionShape",
    "HostEmbedding",
    "Hub",
    "Manifest",
    "Part",
    "Positions",
    "Quality",
    "QualityAgainst",
    "Quantization",
    "Source",
    "StateShape",
    "TensorScheme",
    "Tokens",
    "describe_files",
    "identity",
    "read_as",
    "read_manifest",
    "schema",
    "write_manifest",
]

CONTRACT: Literal["lilims.decoder/1"] = "lilims.decoder/1"
"""The contract of decoder packages, see docs/contract.md."""
SCHEMA_VERSION = 1
"""The version of the manifest's form; a later one is refused."""
FILE_NAME = "manifest.json"
"""The manifest's name in a model folder."""
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
"""A regular expression: what a model may be called."""

PACKAGE_CONTRACT = "lilims.package/1"  # of package_manifest.py

SEMVER = r"^[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$"
SHA256 = r"^[0-9a-f]{64}$"
_REPO = r"^[0-9A-Za-z_.-]{1,96}/[0-9A-Za-z_.-]{1,96}$"  # \w would be Unicode's, and take 0.1 s to compile
_SCHEME = r"^[a-z][a-z0-9-]{0,31}$"
Positive = Annotated[int, Field(gt=0, le=1 << 40)]
Count = Annotated[int, Field(ge=0, le=1 << 50)]


M = TypeVar("M", bound="Record")


class Record(BaseModel):
    """A part of a manifest: its fields and no others, which do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, defer_build=True)


class Hub(Record):
    """Where a checkpoint was downloaded from: `org/name` on the Hugging Face hub, at a commit."""

    repo: Annotated[str, Field(pattern=_REPO)]
    commit: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]


class Adapter(Record):
    """A LoRA adapter that was merged; sha256 is over its config and tensor files, in name order."""

    name: str
    sha256: Annotated[str, Field(pattern=SHA256)]


class Source(Record):
    """The checkpoint that the package was made from.

    sha256 is over its config and tensor files, in name order; that of a GGUF model of one file is the file's own.
    """

    kind: Literal["huggingface", "gguf"]
    name: str
    sha256: Annotated[str, Field(pattern=SHA256)]
    hub: Hub | None = None
    adapters: list[Adapter] = []


class Architecture(Record):
    """Sizes of the model, as in the checkpoint's config (nothing padded)."""

    model_type: str
    layers: Positive
    hidden_size: Positive
    heads: Positive
    kv_heads: Positive
    head_dim: Positive
    vocab_size: Positive
    parameters: Positive


class Positions(Record):
    """How positions enter: `rotary` holds the parameters of the host's tables, `learned` the rows of the table."""

    kind: Literal["rotary", "learned", "none"]
    rotary: dict[str, Any] | None = None
    local_rotary: dict[str, Any] | None = None
    learned: Positive | None = None

    @model_validator(mode="after")
    def _agrees(self) -> Positions:
        given = {"rotary": self.rotary is not None, "learned": self.learned is not None}
        if any(present != (self.kind == kind) for kind, present in given.items()):
            raise ValueError(f"positions of kind {self.kind!r} need {self.kind!r} and nothing else")
        return self


class Tokens(Record):
    """Token ids that the decoding loop needs. `padding` is a real token id, used to fill a chunk."""

    bos: Count | None = None
    eos: list[Count] = []
    padding: Count = 0


class StateShape(Record):
    """The KV cache: fp16 [2 · layers, kv_heads, rows, head_dim], K of layer l at 2l, V at 2l+1."""

    name: Literal["kv_cache"] = "kv_cache"
    dtype: Literal["fp16"] = "fp16"
    shape: Annotated[list[Positive], Field(min_length=4, max_length=4)]
    layout: Literal["layer-kv/heads/rows/head_dim"] = "layer-kv/heads/rows/head_dim"


class FunctionShape(Record):
    """One function: `tokens` is S, `rows` is what its queries see of the state's R rows (all, or a bucket's first
    ones); `logits` says whether it returns one row or every row."""

    tokens: Positive
    rows: Positive
    logits: Literal["last", "all"]


class Part(Record):
    """A package of a model that is split: its layers, from `first_layer` on, and the functions that it has of them."""

    package: str
    first_layer: Count
    layers: Positive
    functions: list[str]

    @field_validator("package")
    @classmethod
    def _inside(cls, package: str) -> str:
        check_relative(package)
        return package


class HostEmbedding(Record):
    """The embedding in a file beside the package: row after row, each its values, scales and offsets.

    `codes` is the type of the values: fp16 alone, or codes with one fp16 scale (and offset) for `group_size` of them.
    """

    file: str
    rows: Positive
    columns: Positive
    codes: Literal["fp16", "int8", "int4", "uint8", "uint4"]
    group_size: Positive | None = None
    offset: bool = False

    @model_validator(mode="after")
    def _agrees(self) -> HostEmbedding:
        check_relative(self.file)
        if (self.codes == "fp16") != (self.group_size is None) or self.columns % (self.group_size or 1):
            raise ValueError(f"a group size of {self.group_size} does not fit {self.columns} columns of {self.codes}")
        if self.codes == "fp16" and self.offset:
            raise ValueError("fp16 values have no offset")
        if self.codes.endswith("int4") and self.columns % 2:
            raise ValueError(f"{self.columns} codes of 4 bits do not fill whole bytes")
        return self


class TensorScheme(Record):
    """How one weight is stored. `bits` counts everything that is stored for it over its elements.

    `source` is its type in the checkpoint. `error_steps` stands where its codes were to be kept: the most that a value
    may differ from the checkpoint's, in steps between neighbouring codes (or fp16 numbers); 0 is not at all.
    """

    scheme: str
    shape: list[Positive]
    bits: float
    source: str | None = None
    error_steps: Annotated[float, Field(ge=0)] | None = None


class Calibration(Record):
    """The text in view of which matrices were quantised, and the SHA-256 and number of the token ids taken of it."""

    text: Annotated[str, Field(max_length=255)]
    sha256: Annotated[str, Field(pattern=SHA256)]
    tokens: Positive


class Quantization(Record):
    """The scheme that was asked for, what came out (all weights over all parameters), and each tensor's.

    `scheme` is "mixed" where rules gave tensors different ones. `recipe` and `imatrix` are the SHA-256 of the files
    that schemes and scales were chosen by. `fp16_scale` is what the checkpoint's residual stream is multiplied by.
    """

    scheme: Annotated[str, Field(pattern=_SCHEME)]
    group_size: Positive | None = None
    bits_per_weight: float
    fp16_scale: Annotated[float, Field(gt=0, le=1)] = 1.0
    recipe: Annotated[str, Field(pattern=SHA256)] | None = None
    imatrix: Annotated[str, Field(pattern=SHA256)] | None = None
    calibration: Calibration | None = None
    tensors: dict[str, TensorScheme]


class FileRecord(Record):
    """A file of the model folder."""

    bytes: Count
    sha256: Annotated[str, Field(pattern=SHA256)]


class QualityAgainst(Record):
    """The distance of the model from a reference on the same tokens; divergences are KL(reference ‖ model) in nats.

    `log_ratio` is ln(perplexity / the reference's), with the standard error of the paired differences. `sha256` is the
    reference's `identity`, or of a checkpoint that transformers ran the hash over config.json and weights.
    """

    name: str
    kind: Literal["package", "transformers"]
    sha256: Annotated[str, Field(pattern=SHA256)]
    perplexity: float
    log_ratio: float
    log_ratio_error: float
    divergence: float
    divergence_error: float
    divergence_median: float
    divergence_p99: float
    divergence_max: float
    same_top: float
    logits_rms: float


class Quality(Record):
    """What `lilims eval` measured on the model, in float32 arithmetic.

    `model` is the `identity` of the model that was measured: where it differs from the manifest's own, the figures are
    of other bytes. `ids` is the SHA-256 of the token ids that count and their windows (64 bits each, little-endian),
    `text_sha256` of the text's UTF-8. `nll` is ln of the perplexity, nats a token, with its standard error.
    """

    text: str
    text_sha256: Annotated[str, Field(pattern=SHA256)]
    ids: Annotated[str, Field(pattern=SHA256)]
    model: Annotated[str, Field(pattern=SHA256)]
    windowing: Literal["llama.cpp", "strided", "all"]
    context: Positive
    stride: Positive | None = None
    windows: Positive
    tokens: Positive
    perplexity: float
    nll: float
    nll_error: float
    bits_per_byte: float | None = None
    reference: QualityAgainst | None = None
    tools: dict[str, str]


class Manifest(Record):
    """The whole manifest. See docs/contract.md for what each field promises.

    `digest` stands in files only: `write_manifest` adds it, `read_manifest` checks and drops it.
    """

    schema_version: Literal[1] = 1
    contract: Literal["lilims.decoder/1"] = CONTRACT
    name: Annotated[str, Field(pattern=NAME)]
    version: Annotated[str, Field(pattern=SEMVER)] = "1.0.0"
    licence: str | None = None
    source: Source
    architecture: Architecture
    positions: Positions
    tokens: Tokens
    context: Positive
    mask_value: float = -1e4
    window: Positive | None = None
    local_window: Positive | None = None
    state: StateShape
    functions: dict[str, FunctionShape]
    quantization: Quantization
    profile: Literal["gpu", "ane", "cpu", "balanced"] = "gpu"
    compute_units: Literal["CPU_AND_GPU", "CPU_AND_NE", "CPU_ONLY", "ALL"] = "CPU_AND_GPU"
    minimum_os: dict[str, str] = {"iOS": "18", "macOS": "15"}
    compatible_runtime: str
    tools: dict[str, str]
    package: str = "model.mlpackage"
    parts: list[Part] = []
    embedding: HostEmbedding | None = None
    layout: Literal["linear", "conv"] = "linear"
    files: dict[str, FileRecord]
    quality: Annotated[list[Quality], Field(max_length=64)] = []
    digest: Annotated[str, Field(pattern=SHA256)] | None = None

    @model_validator(mode="after")
    def _parts_agree(self) -> Manifest:
        if self.parts and self.parts[0].package != self.package:
            raise ValueError(f"package is {self.package!r}, the first of the parts {self.parts[0].package!r}")
        return self

    def packages(self) -> list[Part]:
        """Every package of the model; a model that is not split is one part with all layers and functions."""
        layers = self.architecture.layers
        return list(self.parts) or [
            Part(package=self.package, first_layer=0, layers=layers, functions=list(self.functions))
        ]

    @field_validator("files")
    @classmethod
    def _inside(cls, files: dict[str, FileRecord]) -> dict[str, FileRecord]:
        for name in files:
            check_relative(name)
        return files

    @field_validator("package")
    @classmethod
    def _package_inside(cls, package: str) -> str:
        check_relative(package)
        return package


def schema() -> dict[str, Any]:
    """The manifest's JSON Schema (draft 2020-12)."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Manifest.model_json_schema()}


def check_relative(name: str) -> None:
    path = PurePosixPath(name)
    odd = re.search(r"[\\:\x00-\x1f\ud800-\udfff]", name) or len(name.encode("utf-8", "replace")) > 255
    if path.is_absolute() or ".." in path.parts or not path.parts or odd:
        raise ValueError(f"{name!r} is not a path inside the model folder")


def read_manifest(folder: Path) -> Manifest:
    """Reads and checks the manifest of a model folder.

    Raises:
        ManifestError: absent, not JSON, from a later version, or a field is wrong (the first one is named).
        IntegrityError: it was changed after it was written. A manifest without a digest is taken as it is.
    """
    return read_as(folder, {CONTRACT: Manifest})


def read_as(folder: Path, kinds: Mapping[str, type[M]]) -> M:
    """Reads a manifest of one of some contracts, as `read_manifest` does; a manifest that names none is of the first.

    Raises:
        ManifestError, IntegrityError: as `read_manifest`, and ManifestError where it is of another contract.
    """
    path = folder / FILE_NAME
    raw = read_json(path, limit=16 << 20, error=ManifestError)
    if not isinstance(raw, dict):
        raise ManifestError("not an object", where=path, hint="convert the model again")
    found, contract = raw.get("schema_version"), raw.get("contract")
    if isinstance(found, int) and found > SCHEMA_VERSION:
        raise ManifestError(
            f"schema version {found} is later than this lilims knows ({SCHEMA_VERSION})",
            where=path,
            hint="upgrade lilims: pip install --upgrade lilims",
        )
    if isinstance(contract, str) and contract not in kinds:
        plain = contract == PACKAGE_CONTRACT
        raise ManifestError(
            f"contract {contract!r} is not {' or '.join(map(repr, kinds))}",
            where=path,
            hint="it is a package without a language model: `lilims predict` runs it" if plain else "upgrade lilims",
        )
    recorded = raw.pop("digest", None)
    if recorded is not None and recorded != digest_of(raw):
        raise IntegrityError(
            "its content differs from its own digest", where=path, hint="convert or pull the model again"
        )
    try:
        return kinds[contract if isinstance(contract, str) else next(iter(kinds))].model_validate(raw)
    except ValidationError as exc:
        first = exc.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"])
        raise ManifestError(f"{key}: {first['msg']}", where=path, hint="convert the model again") from exc


def write_manifest(folder: Path, manifest: Record) -> None:
    """Writes manifest.json into a model folder, atomically, with the digest of its content."""
    raw = manifest.model_dump(mode="json", exclude={"digest"})
    write_json(folder / FILE_NAME, {**raw, "digest": digest_of(raw)})


def digest_of(raw: dict[str, Any]) -> str:
    """SHA-256 of the content in one spelling: keys sorted, no spaces, numbers as Python's json writes them."""
    text = json.dumps(raw, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def identity(manifest: Manifest) -> str:
    """The SHA-256 of what decides a model's logits: the manifest but its name, version, licence and quality.

    Every file's hash is in it, so that models of equal identity have equal bytes.
    """
    return digest_of(manifest.model_dump(mode="json", exclude={"name", "version", "licence", "quality", "digest"}))


def describe_files(folder: Path) -> dict[str, FileRecord]:
    """Size and hash of every file below `folder` but the manifest, in name order."""
    paths = sorted(p for p in folder.rglob("*") if p.is_file() and p != folder / FILE_NAME)
    return {p.relative_to(folder).as_posix(): FileRecord(bytes=p.stat().st_size, sha256=sha256_file(p)) for p in paths}


if __name__ == "__main__":
    print(json.dumps(schema(), indent=2))
