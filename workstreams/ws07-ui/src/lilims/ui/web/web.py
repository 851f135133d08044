"""The web chat as a whole: its store, its answers, its pulls, for as long as a server runs.

Knows how the parts fit together. Must not know how any of them works.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from .answers import Answers, Submit
from .pulls import Pulls
from .safety import Safety
from .sessions import Keys, Sessions
from .store import Store

if TYPE_CHECKING:
    from starlette.routing import BaseRoute

    from lilims.core.locks import Lock
    from lilims.ui.engine import Engine

__all__ = ["DATABASE", "Cards", "Web"]

DATABASE = "conversations.sqlite3"


class Cards(Protocol):
    """Who knows the models: the engine."""

    def cards(self) -> list[Any]:
        """Every model, as `lilims.ui.engine.Card`."""


class Web:
    """The web chat of one server, an asynchronous context manager: `async with web` opens the store.

    Args:
        models: the engine's cards.
        submit: begins answers.
        path: the database; default is conversations.sqlite3 in lilims' home.
        default_model: the name of the model that new conversations begin with.
        keys: who knows the server's API key.
    """

    def __init__(
        self,
        models: Cards,
        submit: Submit,
        *,
        path: Path | None = None,
        default_model: str | None = None,
        keys: Keys | None = None,
    ) -> None:
        self._models = models
        self._submit = submit
        self._path = path
        self._lock: Lock | None = None
        self.default_model = default_model
        self.store: Store
        self.safety: Safety
        self.answers: Answers
        self.pulls = Pulls()
        self.sessions = Sessions(keys)

    @classmethod
    def of(cls, engine: Engine, keys: Keys | None = None) -> Web:
        """The web chat of an engine; where `keys` has an API key, browsers have to show it."""
        from .asking import Submitter

        return cls(engine, Submitter(engine), default_model=engine.default_model, keys=keys)

    def cards(self) -> list[dict[str, Any]]:
        """The models, for the page."""
        from .shelf import cards

        return cards(self._models.cards())

    def routes(self) -> list[BaseRoute]:
        """The page and its API."""
        from .api import api_routes
        from .page import page_routes

        return [*api_routes(self), *page_routes()]

    async def __aenter__(self) -> Web:
        """Opens the store.

        Raises:
            StorageError: it cannot be opened.
        """
        from lilims.core.locks import attempt
        from lilims.core.paths import home

        path = self._path or home() / DATABASE
        self.store = Store(path)
        self._lock = attempt(path.with_name(f".{path.name}.lock"))
        if self._lock is not None:  # no other server runs, so none of its answers do
            self.store.interrupt(set())
        self.safety = Safety(self.store)
        self.answers = Answers(self.store, self.safety, self._submit)
        return self

    async def __aexit__(self, *_: object) -> None:
        """Ends answers and pulls; what there is of the answers is kept."""
        await self.answers.close()
        await self.pulls.close()
        self.store.close()
        if self._lock is not None:
            self._lock.release()
