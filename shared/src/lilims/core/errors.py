"""Every error that lilims raises on purpose.

    LilimsError                        exit code 1, one line and a hint
    ├── UsageError                     exit code 2: the command line or an argument is wrong
    ├── InputError                     a file from outside is wrong
    │   ├── CheckpointError            config.json, safetensors: missing, corrupt, misshapen
    │   ├── TokenizerError             tokenizer files: missing, corrupt, unlike the model
    │   ├── ManifestError              manifest.json: missing, invalid, from a later version
    │   ├── PackageError               .mlpackage: spec, blob file or folder is damaged
    │   └── IntegrityError             bytes differ from the recorded hash
    ├── UnsupportedError               valid, but lilims cannot do it
    │   ├── UnsupportedModelError      architecture or config value
    │   └── UnsupportedOpError         ML Program operator
    ├── ContractError                  a package is not a decoder as the contract says
    ├── QuantizationError              a tensor cannot take the scheme that was asked for
    ├── ExecutionError                 an executor failed to load or to run a program
    │   └── ContextOverflowError       more tokens than the state has rows
    ├── StorageError                   disk full, no permission, target exists
    │   └── OutputExistsError
    ├── ModelNotFoundError             no model of that name, no such folder
    └── MissingDependencyError         an optional package is not installed

This file knows how an error is worded (what, where, what next). It must not know who raises it or how it is printed.
"""

from __future__ import annotations

from os import PathLike

__all__ = [
    "CheckpointError",
    "ContextOverflowError",
    "ContractError",
    "ExecutionError",
    "InputError",
    "IntegrityError",
    "LilimsError",
    "ManifestError",
    "MissingDependencyError",
    "ModelNotFoundError",
    "OutputExistsError",
    "PackageError",
    "QuantizationError",
    "StorageError",
    "TokenizerError",
    "UnsupportedError",
    "UnsupportedModelError",
    "UnsupportedOpError",
    "UsageError",
]


_LONGEST = 600  # characters of a part; names and values from a hostile file may be megabytes


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST // 2]} … {text[-_LONGEST // 2 :]}"


class LilimsError(Exception):
    """Base of all errors that lilims raises on purpose.

    Args:
        message: what is wrong, one line.
        where: the file, tensor, key or op that it is wrong in; shown before the message.
        hint: what to do next, one line.
    """

    exit_code = 1

    def __init__(self, message: str, *, where: str | PathLike[str] | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = _short(message)
        self.where = None if where is None else _short(str(where))
        self.hint = None if hint is None else _short(hint)

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" if self.where else self.message

    def as_dict(self) -> dict[str, str | None]:
        """The error as it stands in `--json` output."""
        return {"type": type(self).__name__, "message": self.message, "where": self.where, "hint": self.hint}


class UsageError(LilimsError):
    """The command line or an argument is wrong."""

    exit_code = 2


class InputError(LilimsError):
    """A file from outside is wrong."""


class CheckpointError(InputError):
    """A checkpoint's config or tensors are missing, corrupt or misshapen."""


class TokenizerError(InputError):
    """Tokenizer files are missing, corrupt or unlike the model's vocabulary."""


class ManifestError(InputError):
    """manifest.json is missing, invalid or from a later version of lilims."""


class PackageError(InputError):
    """An .mlpackage's folder, spec or blob file is damaged."""


class IntegrityError(InputError):
    """The bytes of a file differ from the hash that was recorded for it."""


class UnsupportedError(LilimsError):
    """The input is valid, but lilims cannot do what it asks for."""


class UnsupportedModelError(UnsupportedError):
    """An architecture, or a value in its config, that lilims cannot convert."""


class UnsupportedOpError(UnsupportedError):
    """An ML Program operator, or a form of it, that the portable executor cannot run."""


class ContractError(LilimsError):
    """A package is not a decoder as the contract says; it may still run as a plain ML Program."""


class QuantizationError(LilimsError):
    """A tensor cannot take the quantisation scheme that was asked for."""


class ExecutionError(LilimsError):
    """An executor failed to load or to run a program."""


class ContextOverflowError(ExecutionError):
    """More tokens than the state has rows for."""


class StorageError(LilimsError):
    """The disk is full, or a path cannot be read or written."""


class OutputExistsError(StorageError):
    """The target exists and was not to be overwritten."""


class ModelNotFoundError(LilimsError):
    """No model of that name is installed, and no such folder exists."""


class MissingDependencyError(LilimsError):
    """An optional package that this needs is not installed."""
