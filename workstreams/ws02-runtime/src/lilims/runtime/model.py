"""A model that is loaded: text, messages or ids in, tokens and text out. `load` makes it from a model folder.

Knows how manifest, tokenizer, sessions and loop fit together. Must not know how any of them works.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
from numpy.typing import NDArray

from lilims.context import ContextPolicy, DecoderShape
from lilims.core.errors import UnsupportedError, UsageError
from lilims.core.manifest import Manifest, identity

from . import contract
from .embedding import EmbeddingFile
from .executor import Executor, Precision, Traceable
from .generation.events import Token
from .generation.loop import Drafter, Request, check_room, generate
from .generation.output import Output
from .generation.profile import Profile, profile_of
from .generation.prompt import Message, Prompt, Texts
from .generation.stops import StopStrings
from .generation.stream import Generation
from .sampling import Constraint, Sampler, SamplingParameters
from .sampling.parameters import SamplingOptions
from .session import Session
from .statistics import Statistics, peak_rss

if TYPE_CHECKING:
    from lilims.tokenizer import Tokenizer

__all__ = ["Model"]


class Model:
    """A decoder that is ready to generate. Made by `load`; sessions on it do not share a state.

    Attributes:
        folder: the model folder.
        manifest: what it holds.
        shape: what the planner knows of its functions.
        precision: what it was loaded with.
        stats: figures of the generation that was started last; they grow while it runs.
    """

    def __init__(
        self,
        folder: Path,
        manifest: Manifest,
        executor: Executor,
        tokenizer: Tokenizer | None = None,
        *,
        shape: DecoderShape | None = None,
        defaults: Mapping[str, Any] | None = None,
        precision: Precision = "fast",
    ) -> None:
        self.folder = folder
        self.manifest = manifest
        self.precision: Precision = precision
        self.stats = Statistics()
        self.shape = shape or contract.decoder_shape(manifest, package=folder / manifest.package)
        self._executor = executor
        self._defaults = _defaults(defaults or {})
        self._prepared = False
        self._embedding = EmbeddingFile(folder, manifest.embedding) if manifest.embedding else None
        self._texts = Texts(folder, manifest, tokenizer)

    @property
    def context(self) -> int:
        """The most tokens that a state holds."""
        return self.shape.context

    @property
    def vocab_size(self) -> int:
        """Ids are below this number; the width of all logits."""
        return self.manifest.architecture.vocab_size

    @property
    def executor(self) -> str:
        """Who runs the package: coreml or portable."""
        return self._executor.name

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer.

        Raises:
            TokenizerError: the model folder holds none.
        """
        return self._texts.tokenizer

    @property
    def chats(self) -> bool:
        """Whether the model has a chat template of its own."""
        return self._texts.chats

    @property
    def stop_ids(self) -> frozenset[int]:
        """Every id that ends a text: eos ids of manifest, tokenizer and generation_config.json, and ends of turns."""
        return self._texts.stop_ids

    def session(self, policy: ContextPolicy | str = "error") -> Session:
        """A new, empty KV state.

        Args:
            policy: what happens when it is full: "error", "rolling", "sinks", "shift", or a `ContextPolicy`.
        """
        chosen = ContextPolicy.named(policy) if isinstance(policy, str) else policy
        shape = replace(self.shape, padded=self._executor.pads)
        return Session(self._executor, shape, self.vocab_size, self._embedding, policy=chosen)

    def encode(
        self,
        prompt: str | Sequence[int] | Sequence[Message],
        *,
        think: bool | None = None,
        tools: Sequence[Mapping[str, Any]] | None = None,
        template: Mapping[str, Any] | None = None,
    ) -> Prompt:
        """What a generation begins with, for who wants its ids before `generate` takes it. It serves one generation.

        Args:
            prompt, think, tools: as `generate` takes them.
            template: further variables of the chat template.

        Raises:
            UsageError: the prompt is empty, or an id is outside the vocabulary.
            TokenizerError: the prompt is text and the model has no tokenizer, or a chat template fails.
        """
        return self._texts.prompt(prompt, think=think, tools=tools, template=template)

    def generate(
        self,
        prompt: str | Sequence[int] | Sequence[Message] | Prompt,
        *,
        session: Session | None = None,
        max_tokens: int | None = None,
        stop: str | Sequence[str] = (),
        ignore_eos: bool = False,
        think: bool | None = None,
        constraint: Constraint | None = None,
        drafter: Drafter | None = None,
        tools: Sequence[Mapping[str, Any]] | None = None,
        **sampling: Unpack[SamplingOptions],
    ) -> Generation:
        """Continues a text or answers messages. Arguments are checked at once; work starts with the first token.

        Args:
            prompt: text that is continued (the tokenizer adds its BOS); or messages, `{"role": …, "content": …}`, which
                the model's chat template renders; or token ids as they are; or what `encode` made of one of them. It is
                the whole text, not what is new.
            session: whose state is used and kept; of what it holds, the longest common beginning is not run again. None
                takes a new one.
            max_tokens: most tokens to generate; None goes on until the text ends or the context is full.
            stop: strings that end the text before them.
            ignore_eos: go on behind an eos id of the manifest, the tokenizer, or an end of a turn.
            think: of reasoning models, in chats: True and False ask the chat template for it; None leaves it alone.
            constraint: what the text must be, of `lilims.runtime.constrained`: `json_schema`, `regex`, `grammar`.
            drafter: speculative decoding, of `lilims.runtime.speculative`. Greedy text stays the same.
            tools: functions that the chat template shows to the model.
            sampling: fields of `SamplingParameters`; where they are left out, the model's generation_config.json says
                them, and otherwise decoding is greedy.

        Raises:
            UsageError: an argument is out of range, the prompt is empty, or an id is outside the vocabulary.
            ContextOverflowError: the prompt does not fit the context. A generation that fills it ends with "length".
            TokenizerError: the prompt is text and the model has no tokenizer, or a chat template fails.
            ExecutionError: while generating: the executor failed, or the logits are not finite.
        """
        sampler = Sampler(self.sampling(**sampling), constraint)
        strings = [stop] if isinstance(stop, str) else list(stop)
        StopStrings(strings)  # refused before anything is encoded
        if max_tokens is not None and max_tokens < 1:
            raise UsageError(f"max_tokens must be at least 1, not {max_tokens}", hint="leave it out for no bound")
        begun = time.perf_counter()
        text = prompt if isinstance(prompt, Prompt) else self.encode(prompt, think=think, tools=tools)
        if session is None or session.room is not None:
            check_room(text.ids, self.context)
        encoding = time.perf_counter() - begun
        self.prepare()  # once for all generations: not part of the time to the first token, as encoding is
        started = time.perf_counter() - encoding
        request = Request(
            prompt=text.ids,
            sampler=sampler,
            output=Output(text.decoder, StopStrings([*strings, *text.stops]), text.splitter),
            stop_ids=frozenset() if ignore_eos else self._texts.stop_ids,
            max_tokens=max_tokens,
            drafter=drafter,
            about=lambda: self._about(chat=text.is_chat),
        )
        return self._start(session, request, text, encoding, started)

    def _start(
        self, session: Session | None, request: Request, text: Prompt, encoding: float, started: float
    ) -> Generation:
        seed = request.sampler.seed if request.sampler.parameters.temperature else None
        statistics = Statistics(prompt_tokens=len(text.ids), tokenize_seconds=encoding, seed=seed)
        self.stats = statistics

        def start(interrupted: Callable[[], bool]) -> Iterator[Token]:
            return generate(
                session or self.session(), request, statistics=statistics, started=started, interrupted=interrupted
            )

        return Generation(start, statistics)

    def _about(self, *, chat: bool) -> dict[str, str]:
        """What events say of a generation: no name, no path, no text."""
        return {
            "operation": "chat" if chat else "text_completion",
            "model": self._identity,
            "executor": self.executor,
            "precision": self.precision,
        }

    @cached_property
    def _identity(self) -> str:
        return identity(self.manifest)

    def sampling(self, **options: Unpack[SamplingOptions]) -> SamplingParameters:
        """How tokens are chosen where nothing but `options` is asked for: the rest is generation_config.json's.

        Raises:
            UsageError: a value is outside its range.
        """
        asked = {name: value for name, value in options.items() if value is not None}
        return SamplingParameters(**{**self._defaults, **asked})

    def profile(self) -> Profile:
        """Where the time of the generation that was started last went, so far."""
        files = self.manifest.files.items()
        weights = sum(entry.bytes for name, entry in files if name.endswith("weight.bin"))
        state = int(np.prod(self.manifest.state.shape)) * 2  # fp16
        return profile_of(self.stats, weight_bytes=weights, state_bytes=state, peak_rss=peak_rss())

    @contextmanager
    def trace(self, path: str | PathLike[str]) -> Iterator[None]:
        """Times every operator inside the block and writes a trace for chrome://tracing or Perfetto to `path`.

        Functions are loaded anew, so the times in it are those of ONNX Runtime's operators, not of a warm model.

        Raises:
            UnsupportedError: the executor cannot: Core ML has Instruments for it, and an isolated one has no way.
            StorageError: the file cannot be written.
        """
        executor = self._executor
        if not isinstance(executor, Traceable):
            raise UnsupportedError(
                f"the executor {executor.name} takes no trace here", hint="take executor='portable', not isolated"
            )
        executor.start_trace(Path(path))
        self._prepared = False
        try:
            yield
        finally:
            executor.stop_trace()
            self._prepared = False

    def logits(self, ids: Sequence[int]) -> NDArray[np.float32]:
        """Logits of every position of a sequence on an empty state, float32 [n, vocab], through `score`.

        Raises:
            ContextOverflowError: more ids than the context holds.
            UsageError: an id is outside the vocabulary.
        """
        check_room(ids, self.context)
        parts = list(self.session().score(ids))
        return np.concatenate(parts) if parts else np.zeros((0, self.vocab_size), np.float32)

    def step_logits(self, ids: Sequence[int], *, prefill: int = 0) -> NDArray[np.float32]:
        """The same logits by the way that generation takes: `prefill` ids at once, then one `decode` step for each.

        Returns:
            float32 [n, vocab], or [n - prefill + 1, vocab] from the last prefilled id on. For tests and verification.
        """
        session = self.session()
        rows = [session.append(ids[:prefill])] if prefill else []
        rows += [session.append([token]) for token in ids[prefill:]]
        return np.stack(rows) if rows else np.zeros((0, self.vocab_size), np.float32)

    def prepare(self) -> None:
        """Loads the functions that generating takes, and warms them up where that helps; the first generation does it.

        `load` leaves this out: evaluation needs `score` alone, and each loaded function takes memory.

        Raises:
            UnsupportedOpError, ExecutionError: a function cannot run here.
        """
        if self._prepared:
            return
        for kind in ("prefill", "decode"):
            if kind in self.shape.functions:  # larger buckets are loaded when a text reaches them
                self._executor.function(self.shape.variant(kind, 1))
        if self._executor.warms_up:
            self._warm_up()
        self._prepared = True

    def _warm_up(self) -> None:
        """Runs decode and prefill once on a state that is thrown away, as a first run may take minutes."""
        scratch = self.session()
        scratch.append([self.manifest.tokens.padding] * min(2, self.context))
        if scratch.position < self.context:
            scratch.append([self.manifest.tokens.padding])


def _defaults(config: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of `SamplingParameters` that a generation_config.json asks for, as transformers reads it.

    Without `do_sample` it decodes greedily and looks at none but the penalty; with it, temperature is 1 if not said.
    """
    rest = {name: value for name, value in config.items() if name != "do_sample"}
    if config.get("do_sample"):
        return {"temperature": 1.0, **rest}
    return {name: value for name, value in rest.items() if name == "repetition_penalty"}
