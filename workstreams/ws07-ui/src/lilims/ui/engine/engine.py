"""The engine: takes requests, sees to it that their models are loaded, and hands them to the scheduler.

Knows which models are in memory, and places for requests. Must not know protocols, nor how a turn is made.
"""

from __future__ import annotations

import asyncio
import gc
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from lilims.core.errors import OutOfMemoryError, UsageError
from lilims.runtime import Statistics
from lilims.runtime.generation.loop import check_room

from .cards import Card, Catalogue
from .errors import FieldRangeError, QueueFullError, StoppedError
from .job import Job
from .loaded import LoadedModel, constraint_of, load_model
from .request import EngineSettings, Request
from .scheduler import Scheduler
from .work import Work

if TYPE_CHECKING:
    from lilims.runtime.generation.prompt import Prompt

__all__ = ["Engine"]

_LOOK = 1.0  # seconds between two looks at models that may go
_TYPICAL = 5.0  # seconds that a request runs, before any has ended


class Engine:
    """Models under their names, and their generations side by side. Used from one event loop.

    Args:
        models: names and folders that are served beside the installed models; the first is the default.
        settings: how much it takes.

    Attributes:
        observers: called, in the event loop, with every job that has ended.

    Raises:
        ModelNotFoundError, ManifestError, UsageError: a named model is none.
    """

    def __init__(self, models: Iterable[str] = (), settings: EngineSettings | None = None) -> None:
        self.settings = settings or EngineSettings()
        self.observers: list[Callable[[Job], None]] = []
        self.rejected = 0
        self._catalogue = Catalogue(models)
        self._scheduler = Scheduler(self.settings.parallel, self.settings.stall)
        self._loaded: OrderedDict[str, LoadedModel] = OrderedDict()  # the one that was used least lately first
        self._loading: dict[str, asyncio.Task[LoadedModel]] = {}
        self._wanted: Counter[str] = Counter()  # requests that wait for a model, or are about to use it
        self._one_load = asyncio.Lock()
        self._freed = asyncio.Event()  # a model may have become idle
        self._dropped = False  # models went whose memory is not yet free
        self._open = 0  # requests that were taken and have not ended
        self._typical = _TYPICAL
        self._ended = 0  # requests that have run and ended
        self._keeper: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Engine:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Begins to take requests."""
        self._scheduler.start()
        self._keeper = asyncio.create_task(self._keep(), name="lilims-keeper")

    async def stop(self) -> None:
        """Ends every request with a StoppedError and unloads every model."""
        if self._keeper is not None:
            self._keeper.cancel()
            self._keeper = None
        await asyncio.to_thread(self._scheduler.stop)
        self._loaded.clear()
        gc.collect()

    @property
    def default_model(self) -> str:
        """The model of requests that name none."""
        return self._catalogue.default

    @property
    def running(self) -> int:
        """Generations that run now."""
        return self._scheduler.running

    @property
    def waiting(self) -> int:
        """Requests that were taken and do not run yet."""
        return max(0, self._open - self._scheduler.running)

    def cards(self) -> list[Card]:
        """Every model that can be asked."""
        return [
            replace(card, loaded=card.name in self._loaded, context=self._context(card))
            for card in self._catalogue.cards()
        ]

    def _context(self, card: Card) -> int | None:
        """The context that a model is loaded with: its own, or less where the server was told so."""
        most = self.settings.load.get("context")
        return min(card.context, most) if card.context and most else card.context

    def card(self, name: str) -> Card:
        """The card of one model.

        Raises:
            UnknownModelError: there is none of that name.
        """
        own, _ = self._catalogue.find(name)
        return next(card for card in self.cards() if card.name == own)

    def loaded(self) -> list[dict[str, Any]]:
        """What is in memory: name, executor, context, bytes, requests and seconds until it goes."""
        return [one.as_dict() for one in self._loaded.values()]

    async def submit(self, request: Request) -> Job:
        """Takes a request: loads its model if need be, makes token ids of it, and puts it in the queue.

        Raises:
            QueueFullError: too many wait already.
            UnknownModelError: no model of that name is served.
            ContextOverflowError: the prompt does not fit the context.
            UsageError, ConstraintError: a value is out of range.
            StoppedError: the engine does not run.
            LilimsError: the model cannot be loaded, or a chat template fails.
        """
        if self._keeper is None:
            raise StoppedError("the engine does not run")
        if self._open >= self.settings.parallel + self.settings.queue:
            self.rejected += 1
            raise QueueFullError(f"{self.waiting} requests wait already", retry_after=self._retry_after())
        self._open += 1
        taken: LoadedModel | None = None
        try:
            submitted = time.perf_counter()
            taken = await self._model(request.model)
            job = await self._job(taken, request, submitted)
            self._scheduler.add(job)
        except BaseException:
            self._open -= 1
            if taken is not None:
                self._leave(taken)
            raise
        return job

    async def load(self, name: str | None = None) -> Card:
        """Loads a model ahead.

        Raises:
            UnknownModelError, LilimsError: as `submit`.
        """
        one = await self._model(name)
        self._leave(one)
        return self.card(one.name)

    def unload(self, name: str) -> bool:
        """Takes a model out of memory, once nobody uses it; False where it is not there.

        Raises:
            UnknownModelError: there is none of that name.
        """
        own, _ = self._catalogue.find(name)
        one = self._loaded.get(own)
        if one is None:
            return False
        one.retire()
        self._sweep()
        return True

    async def _job(self, taken: LoadedModel, request: Request, submitted: float) -> Job:
        work = await asyncio.to_thread(_work, taken, request, submitted)
        job = Job(work, model=taken.name, ahead=self.settings.ahead, wake=self._scheduler.wake)

        def ended(job: Job) -> None:
            self._open -= 1
            self._leave(taken)
            if job.began is not None:  # what it waited before says how many there are, not how long each takes
                self._ended += 1
                self._typical += (time.perf_counter() - job.began - self._typical) / min(self._ended, 10)
            for observer in self.observers:
                observer(job)

        job.on_end = ended
        return job

    async def _model(self, name: str | None) -> LoadedModel:
        """The loaded model, used from now on: `_leave` ends that."""
        own, folder = self._catalogue.find(name)
        self._wanted[own] += 1
        try:
            while (one := self._loaded.get(own)) is None:
                task = self._loading.get(own)
                if task is None:
                    task = asyncio.create_task(self._load(own, folder), name=f"lilims-load-{own}")
                    self._loading[own] = task
                    task.add_done_callback(lambda _: self._loading.pop(own, None))
                await asyncio.shield(task)  # who asked first may leave: others wait for it, too
            one.users += 1
        finally:
            self._wanted[own] -= 1
        self._loaded.move_to_end(own)
        return one

    def _leave(self, one: LoadedModel) -> None:
        one.users -= 1
        one.touch()
        self._freed.set()
        if one.expired:
            self._sweep()

    async def _load(self, name: str, folder: Path | None) -> LoadedModel:
        """Loads a model, one at a time; idle ones make room where there are too many, or too little memory."""
        async with self._one_load:
            while len(self._loaded) >= self.settings.models and not self._make_room():
                self._freed.clear()
                await self._freed.wait()
            while True:
                try:
                    one = await asyncio.to_thread(load_model, name, folder, self.settings)
                    break
                except OutOfMemoryError:
                    if not self._make_room():
                        raise
            self._loaded[name] = one
            return one

    def _make_room(self) -> bool:
        """Unloads the idle model that was used least lately; False where all are in use."""
        idle = next((name for name, one in self._loaded.items() if not one.users and not self._wanted[name]), None)
        if idle is None:
            return False
        del self._loaded[idle]
        gc.collect()
        return True

    def _sweep(self) -> None:
        expired = [name for name, one in self._loaded.items() if one.expired and not self._wanted[name]]
        for name in expired:
            del self._loaded[name]
        self._dropped = self._dropped or bool(expired)

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(_LOOK)
            self._sweep()
            if self._dropped:  # a turn later: what ends now has let go of its model by then
                self._dropped = False
                gc.collect()

    def _retry_after(self) -> int:
        """Seconds until those that wait have run: a typical request's time, over those that run side by side."""
        return max(1, min(60, round(self._typical * self.waiting / max(1, self.settings.parallel))))


def _work(taken: LoadedModel, request: Request, submitted: float) -> Work:
    """The request as the scheduler takes it; everything that can be wrong with it is found here."""
    model = taken.model
    if request.adapt is not None:
        request = request.adapt(request, model)
    if (request.messages is None) == (request.prompt is None):
        raise UsageError("a request has either messages or a prompt")
    constraint = constraint_of(model, request)
    begun = time.perf_counter()
    prompt = _encoded(taken, request)
    if constraint is not None:
        prompt = replace(prompt, splitter=None)  # all of the text is what it must be
    check_room(prompt.ids, model.context)
    seconds = time.perf_counter() - begun
    sampling = {name: value for name, value in request.sampling.items() if value is not None}
    options = {
        "max_tokens": request.max_tokens,
        "stop": list(request.stop),
        "ignore_eos": request.ignore_eos,
        "constraint": constraint,
        **sampling,
    }
    if wrong := [token for token in sampling.get("logit_bias") or {} if token >= model.vocab_size]:
        raise _outside(wrong[0], model.vocab_size, "logit_bias")
    model.generate(prompt, **options).close()  # refuses what is out of range before it waits in a queue
    statistics = Statistics(prompt_tokens=len(prompt.ids), tokenize_seconds=seconds)
    exact = sampling.get("seed") is not None
    return Work(model, taken.caches, prompt, options, exact, submitted, statistics)


def _encoded(taken: LoadedModel, request: Request) -> Prompt:
    if request.messages is not None:
        return taken.model.encode(
            list(request.messages), think=request.think, tools=request.tools, template=request.template
        )
    assert request.prompt is not None
    if not isinstance(request.prompt, str):
        size = taken.model.vocab_size
        if wrong := [token for token in request.prompt if not 0 <= token < size]:
            raise _outside(wrong[0], size, "prompt")
    return taken.model.encode(request.prompt)


def _outside(token: int, size: int, param: str) -> FieldRangeError:
    return FieldRangeError(f"{param}: token {token} is outside the vocabulary of {size}", param=param)
