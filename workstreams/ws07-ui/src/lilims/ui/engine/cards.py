"""Which models are served, under which names, and what is known of each before it is loaded.

Knows installed models, the built-in one and folders that were named at the start. A client's name is looked up in a
table: it is never taken for a path. Must not know how models are loaded or run.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lilims.core.errors import InputError, UsageError

from .errors import UnknownModelError

if TYPE_CHECKING:
    from lilims.core.manifest import Manifest
    from lilims.models import Installed

__all__ = ["Card", "Catalogue"]

_FRESH = 2.0  # seconds that a look at the models folder counts


@dataclass(frozen=True)
class Card:
    """A model that can be asked.

    Attributes:
        name: what clients call it.
        aliases: what they may call it, too.
        version: of the manifest; "" of the built-in model before it was first used.
        bytes: of its files; 0 before it was first used.
        context: most tokens of prompt and answer; None before it was first used.
        parameters, scheme, bits_per_weight: of its weights.
        quality: what `lilims eval` measured on these bytes: text, perplexity, and against the reference divergence
            (nats) and same_top (share of tokens).
        chats: whether it has a chat template; None where that was not looked at.
        created: seconds since 1970.
        built_in: it ships with lilims.
        loaded: it is in memory.
        problem: why it cannot run here.
    """

    name: str
    aliases: tuple[str, ...] = ()
    version: str = ""
    bytes: int = 0
    context: int | None = None
    parameters: int | None = None
    scheme: str | None = None
    bits_per_weight: float | None = None
    quality: tuple[dict[str, Any], ...] = ()
    chats: bool | None = None
    created: int = 0
    built_in: bool = False
    loaded: bool = False
    problem: str | None = None


@dataclass(frozen=True)
class _Served:
    """A card and where the model lies; None is the built-in one, which is made when it is first used."""

    card: Card
    folder: Path | None


class Catalogue:
    """The served models.

    Args:
        named: names and folders that were named at the start; the first one is the default.

    Raises:
        ModelNotFoundError: one of them is none.
        UsageError: two folders have the same name.
    """

    def __init__(self, named: Iterable[str] = ()) -> None:
        self._named = [_named(one) for one in dict.fromkeys(named)]
        names = [one.card.name for one in self._named]
        if twice := next((name for name in names if names.count(name) > 1), None):
            raise UsageError(f"two of the models are called {twice!r}", hint="serve one of them, or rename a folder")
        self._seen: dict[Path, tuple[int, Card]] = {}
        self._looked = float("-inf")
        self._served: list[_Served] = []

    @property
    def default(self) -> str:
        """The model of requests that name none."""
        from lilims.models import BUILTIN

        return self._named[0].card.name if self._named else BUILTIN

    def cards(self) -> list[Card]:
        """Every model: those that were named at the start, the built-in one, the installed ones by name."""
        return [one.card for one in self._look()]

    def find(self, name: str | None) -> tuple[str, Path | None]:
        """The one name and the folder of a model; no folder is the built-in one's.

        Raises:
            UnknownModelError: there is none of that name.
        """
        wanted = self.default if name is None else name
        for one in self._look():
            if wanted == one.card.name or wanted in one.card.aliases:
                return one.card.name, one.folder
        known = ", ".join(one.card.name for one in self._served[:20])
        raise UnknownModelError(f"the model {wanted!r} does not exist", hint=f"there are: {known}")

    def _look(self) -> list[_Served]:
        if time.monotonic() - self._looked > _FRESH:
            found = [*self._named, *self._installed()]
            best: dict[str, _Served] = {}
            for one in found:  # what stands first, but for the built-in model: a folder says more, or is meant
                if one.card.name not in best or best[one.card.name].folder is None:
                    best[one.card.name] = one
            self._served = list(best.values())
            self._looked = time.monotonic()
        return self._served

    def _installed(self) -> list[_Served]:
        from lilims.models import BUILTIN, all_models
        from lilims.models.names import INSTALLED

        there = all_models()
        built_in = next((one for one in there if one.built_in), None)
        card = self._card(built_in) if built_in else None
        card = replace(card or Card(BUILTIN), name=BUILTIN, aliases=(INSTALLED,), built_in=True)
        found = [_Served(card, None)]
        newest = {one.name: one for one in there}  # they are sorted: the highest version of a name counts
        for one in there:
            if one.built_in or (known := self._card(one)) is None:
                continue
            if newest[one.name] is one:
                found.append(_Served(replace(known, name=one.name, aliases=(one.reference,)), one.folder))
            else:
                found.append(_Served(replace(known, name=one.reference), one.folder))
        return found

    def _card(self, model: Installed) -> Card | None:
        """What the manifest says; None where it is no decoder's."""
        from lilims.core.manifest import Manifest
        from lilims.models.condition import problem

        try:
            changed = (model.folder / "manifest.json").stat().st_mtime_ns
        except OSError:  # removed meanwhile
            return None
        if (seen := self._seen.get(model.folder)) and seen[0] == changed:
            return seen[1]
        manifest = model.manifest
        if isinstance(manifest, Manifest):
            card = replace(_card(manifest, model.folder), bytes=model.bytes, problem=problem(model))
        elif manifest is None:
            card = Card(model.name, version=model.version, problem=model.damage)
        else:
            return None
        self._seen[model.folder] = (changed, card)
        return card


def _named(model: str) -> _Served:
    """A model that was named at the start: a name as `lilims ls` shows it, or a folder."""
    from lilims.core.locate import is_package
    from lilims.core.manifest import read_manifest
    from lilims.models import BUILTIN, resolve
    from lilims.models.names import INSTALLED
    from lilims.models.store import disk_bytes

    if model in (BUILTIN, INSTALLED):
        return _Served(Card(BUILTIN, (INSTALLED,), built_in=True), None)
    folder = resolve(model).absolute()
    folder = folder.parent if is_package(folder) else folder
    card = _card(read_manifest(folder), folder)
    named = model if "/" not in model and "\\" not in model and folder.name.partition("@")[0] == model else card.name
    return _Served(replace(card, name=named, bytes=disk_bytes([folder])), folder)


def _card(manifest: Manifest, folder: Path) -> Card:
    own = [one for one in manifest.quality if one.model == _identity(manifest)]
    return Card(
        manifest.name,
        version=manifest.version,
        context=manifest.context,
        parameters=manifest.architecture.parameters,
        scheme=manifest.quantization.scheme,
        bits_per_weight=manifest.quantization.bits_per_weight,
        quality=tuple(_quality(one) for one in own),
        chats=_chats(folder),
        created=int((folder / "manifest.json").stat().st_mtime),
    )


def _identity(manifest: Manifest) -> str:
    from lilims.core.manifest import identity

    return identity(manifest)


def _quality(one: Any) -> dict[str, Any]:
    against = one.reference
    figures = {"text": one.text, "tokens": one.tokens, "perplexity": one.perplexity}
    if against is not None:
        figures |= {"reference": against.name, "divergence": against.divergence, "same_top": against.same_top}
    return figures


def _chats(folder: Path) -> bool | None:
    from lilims.tokenizer.chat.sources import find_templates
    from lilims.tokenizer.config import read_config

    try:
        return bool(find_templates(folder, read_config(folder).flags))
    except InputError:
        return None
