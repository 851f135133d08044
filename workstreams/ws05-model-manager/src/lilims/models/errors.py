"""Errors of the model manager, below those of lilims.core.errors.

    ModelInUseError      (StorageError)   a process uses the model
    ModelTooLargeError   (StorageError)   over the limit of one model, or of all together
    DownloadError        (LilimsError)    a server cannot be reached, refuses, or breaks off too often
    AddressError         (UsageError)     an address that is not to be asked: not https, or inside a private network
    ArchiveError         (InputError)     an archive that is damaged, or would write where it must not

This file knows what is raised. It must not know when.
"""

from __future__ import annotations

from lilims.core.errors import InputError, LilimsError, StorageError, UsageError

__all__ = ["AddressError", "ArchiveError", "DownloadError", "ModelInUseError", "ModelTooLargeError"]


class ModelInUseError(StorageError):
    """A process uses the model."""

    next_step = "end what runs it, then try again"


class ModelTooLargeError(StorageError):
    """A model is over the limit of one model, or over what is left for all of them."""


class DownloadError(LilimsError):
    """A server cannot be reached, refuses, or breaks off too often. What has arrived is kept."""

    next_step = "try again: what has arrived is kept"


class AddressError(UsageError):
    """An address that is not to be asked."""


class ArchiveError(InputError):
    """An archive is damaged, or would write where it must not."""

    next_step = "fetch the archive again, or ask who made it"
