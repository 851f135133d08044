"""Every error that lilims raises on purpose.

    LilimsError                        exit code 1, one line and a hint
    ├── UsageError                     exit code 2: the command line or an argument is wrong
    ├── InputError                     a file from outside is wrong
    │   ├── CheckpointError            config.json, safetensors: missing, corrupt, misshapen
    │   ├── TokenizerError             tokenizer files: missing, corrupt, unlike the model
    │   ├── ManifestError              manifest.json: missing, invalid, from a later version
    │   ├── PackageError               .mlpackage, .mlmodelc: program, blob file or folder is damaged
    │   └── IntegrityError             bytes differ from the recorded hash
    ├── UnsupportedError               valid, but lilims cannot do it
    │   ├── UnsupportedModelError      architecture or config value
    │   └── UnsupportedOpError         ML Program operator
    ├── ContractError                  a package is not a decoder as the contract says
    ├── QuantizationError              a tensor cannot take the scheme that was asked for
    ├── ExecutionError                 an executor failed to load or to run a program
    │   ├── ContextOverflowError       more tokens than the state has rows
    │   ├── TokensGoneError            the state no longer holds what this needs
    │   └── OutOfMemoryError           the machine has not the memory for this
    ├── StorageError                   disk full, no permission, target exists
    │   └── OutputExistsError
    ├── ModelNotFoundError             no model of that name, no such folder
    └── MissingDependencyError         an optional package is not installed

This file knows how an error is worded (what, where, what next). It must not know who raises it or how it is printed.
"""

from __future__ import annotations

from os import PathLike
from typing import ClassVar

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
    "OutOfMemoryError",
    "OutputExistsError",
    "PackageError",
    "QuantizationError",
    "StorageError",
    "TokenizerError",
    "TokensGoneError",
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
        hint: what to do next, one line; where the raiser knows nothing better, what the class says.
    """

    exit_code = 1
    next_step: ClassVar[str | None] = None  # the hint of an error that brings none

    def __init__(self, message: str, *, where: str | PathLike[str] | None = None, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = _short(message)
        self.where = None if where is None else _short(str(where))
        hint = hint or self.next_step
        self.hint = None if hint is None else _short(hint)

    def __str__(self) -> str:
        return f"{self.where}: {self.message}" if self.where else self.message

    def as_dict(self) -> dict[str, str | None]:
        """The error as it stands in `--json` output."""
        return {"type": type(self).__name__, "message": self.message, "where": self.where, "hint": self.hint}


class UsageError(LilimsError):
    """The command line or an argument is wrong."""

    next_step = "--help lists what there is"

    exit_code = 2


class InputError(LilimsError):
    """A file from outside is wrong."""


class CheckpointError(InputError):
    """A checkpoint's config or tensors are missing, corrupt or misshapen."""

    next_step = "fetch the checkpoint again, all files of it"


class TokenizerError(InputError):
    """Tokenizer files are missing, corrupt or unlike the model's vocabulary."""

    next_step = "fetch the tokenizer's files again"


class ManifestError(InputError):
    """manifest.json is missing, invalid or from a later version of lilims."""

    next_step = "convert the model again, or update lilims"


class PackageError(InputError):
    """A package's folder, program or blob file is damaged."""

    next_step = "the package is damaged: copy it again, or convert it again"


class IntegrityError(InputError):
    """The bytes of a file differ from the hash that was recorded for it."""

    next_step = "copy the model again, or convert it again"


class UnsupportedError(LilimsError):
    """The input is valid, but lilims cannot do what it asks for."""

    next_step = "docs/troubleshooting.md says what lilims can do instead"


class UnsupportedModelError(UnsupportedError):
    """An architecture, or a value in its config, that lilims cannot convert."""

    next_step = "please report the model's name and its config.json"


class UnsupportedOpError(UnsupportedError):
    """An ML Program operator, or a form of it, that the portable executor cannot run."""

    next_step = "please report the package, or leave the operator out of it"


class ContractError(LilimsError):
    """A package is not a decoder as the contract says; it may still run as a plain ML Program."""

    next_step = "run it as a plain ML Program (lilims.runtime.portable), or convert its checkpoint with lilims"


class QuantizationError(LilimsError):
    """A tensor cannot take the quantisation scheme that was asked for."""

    next_step = "choose another scheme for this tensor"


class ExecutionError(LilimsError):
    """An executor failed to load or to run a program."""

    next_step = "`lilims doctor` shows what this machine can run"


class ContextOverflowError(ExecutionError):
    """More tokens than the state has rows for."""

    next_step = "shorten the prompt, or convert with a larger --context"


class TokensGoneError(ExecutionError):
    """The state no longer holds tokens that this needs: the context policy has dropped them."""

    next_step = "`Session.advance` runs the wanted tokens again; a `fork` made before going on keeps a way back"


class OutOfMemoryError(ExecutionError):
    """The machine has not the memory for a model, a context or a call."""

    next_step = "take a shorter context or a smaller model, or close other programs"


class StorageError(LilimsError):
    """The disk is full, or a path cannot be read or written."""

    next_step = "check the path, its permissions and the free space"


class OutputExistsError(StorageError):
    """The target exists and was not to be overwritten."""

    next_step = "--force replaces it, or choose another -o"


class ModelNotFoundError(LilimsError):
    """No model of that name is installed, and no such folder exists."""

    next_step = "check the path or the name"


class MissingDependencyError(LilimsError):
    """An optional package that this needs is not installed."""

    next_step = "install the package that the message names"
