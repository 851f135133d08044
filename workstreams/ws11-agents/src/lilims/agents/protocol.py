"""Settings that all who share a repository must agree on: specs/protocol.toml on its main branch.

    claims_prefix = "refs/claims/"     # "refs/heads/claims/" where the host takes branches only
    grace_s = 120                      # added to a claim's expiry before others may take it over: clocks differ

`LILIMS_CLAIMS_PREFIX` (the setting `claims_prefix`) overrides the prefix, for trying a host out. Knows the settings.
Must not know git.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass

from .errors import TaskSpecError

__all__ = ["Protocol", "parse_protocol"]

_PREFIX = re.compile(r"refs/(?!heads/$|tags/$|remotes/)[a-z0-9][a-z0-9-]*(/[a-z0-9][a-z0-9-]*)*/")


@dataclass(frozen=True)
class Protocol:
    """The settings in force."""

    claims_prefix: str = "refs/claims/"
    grace_s: int = 120

    def claim_ref(self, task: str) -> str:
        return self.claims_prefix + task

    def lock_ref(self, key: str) -> str:
        """The ref that guards the claims on one folder; never deleted, moved by every claim that touches it."""
        import hashlib

        return f"{self.claims_prefix}_locks/{hashlib.sha256(key.encode()).hexdigest()[:16]}"


def parse_protocol(data: bytes | None, where: str, prefix: str = "") -> Protocol:
    """Reads the file (None: there is none); `prefix` overrides.

    Raises:
        TaskSpecError: not TOML, an unknown key or a value out of range.
    """
    try:
        table = tomllib.loads((data or b"").decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise TaskSpecError(f"not valid TOML: {exc}", where=where) from exc
    if unknown := sorted(table.keys() - {"claims_prefix", "grace_s"}):
        raise TaskSpecError(f"unknown key {unknown[0]!r}", where=where, hint="known: claims_prefix, grace_s")
    found = Protocol(**{**table, **({"claims_prefix": prefix} if prefix else {})})
    if not isinstance(found.claims_prefix, str) or not _PREFIX.fullmatch(found.claims_prefix):
        place = "LILIMS_CLAIMS_PREFIX" if prefix else where
        raise TaskSpecError(
            f"claims_prefix {found.claims_prefix!r} is not a prefix of refs",
            where=place,
            hint="refs/claims/, or refs/heads/claims/ where the host takes branches only",
        )
    if type(found.grace_s) is not int or not 0 <= found.grace_s <= 86400:
        raise TaskSpecError(f"grace_s {found.grace_s!r} is not a number of seconds up to a day", where=where)
    return found
