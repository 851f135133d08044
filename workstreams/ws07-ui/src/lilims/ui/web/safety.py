"""Who may generate: the age gate, the guardian's choice, moderation.

    nobody has said their age       nothing is generated, the page asks
    16 or older                     everything; moderation if they switch it on
    under 16                        nothing, unless a guardian has chosen `moderated`

Kept in the database of conversations: the age band (no date of birth), the choices, and a PIN as scrypt leaves it. It
guards against a slip and a curious child, not against whoever may delete the file. Knows what is allowed. Must not know
how texts are judged, nor requests.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable
from typing import Any

from .errors import NotAllowedError, RequestError
from .store import Store

__all__ = ["BANDS", "CHOICES", "Safety"]

BANDS = ("under16", "16plus")
CHOICES = ("refuse", "moderated")
_PIN = range(4, 65)  # characters
_FREE_TRIES = 5
_COST = 1 << 15  # scrypt's N (RFC 7914), with r = 8: 32 MiB


class Safety:
    """The age gate of one database."""

    def __init__(self, store: Store, *, clock: Callable[[], float] = time.time) -> None:
        self._store = store
        self._clock = clock

    def state(self) -> dict[str, Any]:
        """What the page may know of it."""
        return {
            "band": self._store.fact("age_band"),
            "guardian": self._store.fact("guardian", "refuse"),
            "pin": self._store.fact("pin") is not None,
            "moderation": self.moderated,
            "allowed": self._refusal() is None,
        }

    @property
    def moderated(self) -> bool:
        """Whether questions and answers are to be moderated."""
        band, choice = self._store.fact("age_band"), self._store.fact("guardian", "refuse")
        return bool(self._store.fact("moderation", False)) or (band == "under16" and choice == "moderated")

    def check(self) -> None:
        """Refuses to generate.

        Raises:
            NotAllowedError: age_unknown or under_age.
        """
        if refusal := self._refusal():
            raise refusal

    def _refusal(self) -> NotAllowedError | None:
        band = self._store.fact("age_band")
        if band == "16plus":
            return None
        if band is None:
            return NotAllowedError(
                "please say first whether you are 16 or older",
                code="age_unknown",
                hint="the page asks on its first start",
            )
        if self._store.fact("guardian", "refuse") == "moderated":
            return None
        return NotAllowedError(
            "under 16, nothing is generated unless a guardian allows it",
            code="under_age",
            hint="a guardian can allow moderated answers in Settings, Safety",
        )

    def choose_band(self, band: str, pin: str | None = None) -> None:
        """Says the user's age band; from under 16 to older only a guardian can go.

        Raises:
            NotAllowedError: the PIN is missing, wrong, or locked.
        """
        if band not in BANDS:
            raise RequestError(f"the age band {str(band)[:40]!r} is not one of {', '.join(BANDS)}")
        if self._store.fact("age_band") == "under16" and band != "under16":
            self._verify(pin)
        self._store.keep(age_band=band)

    def set_pin(self, new: str, current: str | None = None) -> None:
        """Sets the guardian's PIN; where there is one, `current` has to be it.

        Raises:
            NotAllowedError: `current` is missing, wrong, or locked.
        """
        if not isinstance(new, str) or len(new) not in _PIN:
            raise RequestError("a PIN has 4 to 64 characters", hint="choose another")
        if self._store.fact("pin") is not None:
            self._verify(current)
        salt = secrets.token_bytes(16)
        self._store.keep(pin={"salt": salt.hex(), "hash": _hash(new, salt).hex()}, pin_failures=0, pin_locked=0)

    def choose(self, choice: str, pin: str | None) -> None:
        """The guardian's choice of what happens under 16.

        Raises:
            NotAllowedError: the PIN is missing, wrong, or locked.
        """
        if choice not in CHOICES:
            raise RequestError(f"the choice {str(choice)[:40]!r} is not one of {', '.join(CHOICES)}")
        self._verify(pin)
        self._store.keep(guardian=choice)

    def moderate(self, on: bool) -> None:
        """Switches moderation on or off; under 16 it stays on whatever stands here."""
        self._store.keep(moderation=bool(on))

    def _verify(self, pin: str | None) -> None:
        """Compares a PIN. Five may be wrong; from then on each wrong one costs twice the pause of the one before."""
        with self._store.transaction():  # one guess at a time, whatever comes at once
            kept = self._store.fact("pin")
            if kept is None:
                raise NotAllowedError(
                    "a guardian has to set a PIN first", code="pin_needed", hint="in Settings, Safety"
                )
            wait = self._store.fact("pin_locked", 0) - self._clock()
            if wait > 0:
                raise NotAllowedError(
                    f"too many wrong PINs: try again in {int(wait) + 1} seconds", code="pin_locked", hint="wait"
                )
            right = hmac.compare_digest(_hash(pin or "", bytes.fromhex(kept["salt"])), bytes.fromhex(kept["hash"]))
            failures = 0 if right else self._store.fact("pin_failures", 0) + 1
            beyond = failures - _FREE_TRIES
            pause = 30 * 2 ** min(beyond, 8) if beyond >= 0 else 0
            self._store.keep(pin_failures=failures, pin_locked=self._clock() + pause if pause else 0)
        if not right:  # outside of the block, which would take the count back
            raise NotAllowedError("the PIN is wrong", code="pin_wrong", hint="try again")


def _hash(pin: str, salt: bytes) -> bytes:
    return hashlib.scrypt(pin.encode("utf-8", "replace")[:1000], salt=salt, n=_COST, r=8, p=1, maxmem=64 << 20)
