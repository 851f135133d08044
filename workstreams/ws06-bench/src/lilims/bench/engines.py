"""lilims and its peers behind one interface: a model with a cache of keys and values, whose tokens are ids.

Knows each library's calls and its defaults for speed. Must not know what is measured. Libraries are imported when an
engine is opened; peers are no dependencies.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

from lilims.core.errors import ExecutionError, MissingDependencyError, UsageError

__all__ = ["ENGINES", "LIBRARIES", "Engine", "open_engine"]


class Engine(Protocol):
    """A model with a cache of keys and values."""

    def append(self, ids: Sequence[int]) -> int:
        """Runs tokens behind those that it has; the likeliest next id."""
        ...

    def rewind(self, length: int) -> None:
        """Keeps the first `length` tokens."""
        ...


class Lilims:
    """A model folder, in the executor that runs here."""

    def __init__(
        self, path: Path, context: int, threads: int | None, precision: Literal["fast", "exact"] = "fast"
    ) -> None:
        from lilims.runtime import load

        model = load(path, threads=threads, precision=precision)
        model.prepare()
        self._session = model.session()

    def append(self, ids: Sequence[int]) -> int:
        return int(self._session.append(ids).argmax())

    def rewind(self, length: int) -> None:
        self._session.rewind(self._session.position - length)


class LlamaCpp:
    """A GGUF file in llama.cpp, with its defaults for speed."""

    def __init__(self, path: Path, context: int, threads: int | None) -> None:
        from llama_cpp import Llama

        options = {"n_threads": threads, "n_threads_batch": threads, "n_batch": 512, "n_ubatch": 512}
        self._model = Llama(str(path), n_ctx=context, verbose=False, **options)

    def append(self, ids: Sequence[int]) -> int:
        import llama_cpp
        import numpy as np

        self._model.eval(list(ids))
        logits = llama_cpp.llama_get_logits_ith(self._model.ctx, -1)
        return int(np.ctypeslib.as_array(logits, shape=(self._model.n_vocab(),)).argmax())

    def rewind(self, length: int) -> None:
        self._model._ctx.kv_cache_seq_rm(-1, length, -1)
        self._model.n_tokens = length


class Transformers:
    """A checkpoint in transformers, float32."""

    def __init__(self, path: Path, context: int, threads: int | None) -> None:
        import torch
        from transformers import AutoModelForCausalLM, DynamicCache

        if threads is not None:
            torch.set_num_threads(threads)
        self._torch = torch
        self._model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
        self._cache = DynamicCache(config=self._model.config)

    def append(self, ids: Sequence[int]) -> int:
        with self._torch.inference_mode():
            found = self._model(self._torch.tensor([list(ids)]), past_key_values=self._cache, logits_to_keep=1)
        return int(found.logits[0, -1].argmax())

    def rewind(self, length: int) -> None:
        surplus = self._cache.get_seq_length() - length
        if surplus:
            self._cache.crop(-surplus)  # a positive number, the length, is refused since transformers 5


class MLX:
    """A model folder of mlx-lm, on Apple silicon. It runs on the GPU: threads say nothing."""

    def __init__(self, path: Path, context: int, threads: int | None) -> None:
        import mlx.core
        from mlx_lm import load
        from mlx_lm.models.cache import make_prompt_cache

        self._array, self._model, self._length = mlx.core.array, load(str(path))[0], 0
        self._cache = make_prompt_cache(self._model)

    def append(self, ids: Sequence[int]) -> int:
        self._length += len(ids)
        return int(self._model(self._array([list(ids)]), cache=self._cache)[0, -1].argmax().item())

    def rewind(self, length: int) -> None:
        from mlx_lm.models.cache import trim_prompt_cache

        trim_prompt_cache(self._cache, self._length - length)
        self._length = length


class GenAI:
    """What its model builder made of a checkpoint, in ONNX Runtime GenAI."""

    def __init__(self, path: Path, context: int, threads: int | None) -> None:
        import onnxruntime_genai

        config = onnxruntime_genai.Config(str(path))
        if threads is not None:
            config.overlay(json.dumps({"model": {"decoder": {"session_options": {"intra_op_num_threads": threads}}}}))
        model = onnxruntime_genai.Model(config)
        options = onnxruntime_genai.GeneratorParams(model)
        options.set_search_options(max_length=context, batch_size=1)
        self._generator = onnxruntime_genai.Generator(model, options)

    def append(self, ids: Sequence[int]) -> int:
        import numpy as np

        self._generator.append_tokens(np.array([list(ids)], np.int32))
        return int(self._generator.get_logits()[0, -1].argmax())

    def rewind(self, length: int) -> None:
        self._generator.rewind_to(length)


def _exact(path: Path, context: int, threads: int | None) -> Engine:
    return Lilims(path, context, threads, "exact")


ENGINES: dict[str, Callable[[Path, int, int | None], Engine]] = {
    "lilims": Lilims,
    "lilims-exact": _exact,
    "lilims-kernels": Lilims,
    "lilims-plain": Lilims,
    "llama.cpp": LlamaCpp,
    "transformers": Transformers,
    "mlx-lm": MLX,
    "onnxruntime-genai": GenAI,
}
"""Name → what opens a model (path, context, threads). lilims-kernels has its optional library on, lilims-plain off."""

LIBRARIES = {
    "llama.cpp": ("llama_cpp", "llama-cpp-python"),
    "transformers": ("transformers", "transformers torch"),
    "mlx-lm": ("mlx_lm", "mlx-lm"),
    "onnxruntime-genai": ("onnxruntime_genai", "onnxruntime-genai"),
}
"""Peer → the module that it wants, and what to install."""


def open_engine(name: str, path: Path, context: int, threads: int | None) -> Engine:
    """The engine of that name with the model at `path`.

    Raises:
        UsageError: there is no such engine.
        MissingDependencyError: its library is not installed.
        ExecutionError: the library cannot open the model; LilimsErrors of lilims itself.
    """
    from lilims.core.errors import LilimsError

    if name not in ENGINES:
        raise UsageError(f"there is no engine {name!r}", hint=f"there are {', '.join(ENGINES)}")
    try:
        return ENGINES[name](path, context, threads)
    except LilimsError:
        raise
    except ImportError as exc:
        package = LIBRARIES.get(name, (name, name))[1]
        raise MissingDependencyError(f"{name} is not installed: {exc}", hint=f"pip install {package}") from exc
    except Exception as exc:  # libraries raise what they like
        raise ExecutionError(f"{name} does not open it: {_words(exc)}", where=path) from exc


def _words(error: Any) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
