"""lm-evaluation-harness (extra `lm-eval`): its tasks, asked of a model of ours.

Knows lm_eval, which is imported with this module. Must not know how answers are computed (answers.py) or shown.
Tasks are programs: their files may name Python functions, and their templates are not sandboxed.
"""

from __future__ import annotations

import contextlib
import io
import os
import random
from collections.abc import Callable, Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

os.environ.setdefault("DISABLE_MULTIPROC", "1")  # of bootstraps, which would fork this process
os.environ.setdefault("TQDM_DISABLE", "1")  # bars are the command's affair

import numpy as np
from lm_eval import evaluate
from lm_eval.api.model import TemplateLM
from lm_eval.tasks import TaskManager

from lilims.core.errors import UnsupportedError, UsageError
from lilims.core.events import emit

from .answers import Answers

__all__ = ["Adapter", "evaluate_tasks"]

_LENGTHS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens")  # the first that is there
_USUAL = 256  # tokens, where a task does not say
_SEED = 1234  # lm_eval's own


class Adapter(TemplateLM):  # type: ignore[misc]  # lm_eval has no types
    """`Answers` as lm_eval wants them: one request at a time, greedy, in the order of the requests."""

    def __init__(self, answers: Answers) -> None:
        super().__init__()
        self._answers = answers

    @property
    def eot_token_id(self) -> int:
        return self._answers.end_id

    @property
    def prefix_token_id(self) -> int:
        return self._answers.begin_id

    @property
    def max_length(self) -> int:
        return self._answers.context

    @property
    def max_gen_toks(self) -> int:
        return _USUAL

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **_: Any) -> list[int]:
        return self._answers.encode(string, special=add_special_tokens is not False)

    def loglikelihood(self, requests: list[Any], disable_tqdm: bool = True) -> list[tuple[float, bool]]:
        found: list[tuple[float, bool]] = super().loglikelihood(requests, disable_tqdm=True)
        return found

    def _loglikelihood_tokens(self, requests: list[Any], **_: Any) -> list[tuple[float, bool]]:
        def ask(request: Any) -> tuple[float, bool]:
            words, context, continuation = request
            found = self._answers.continuation(context, continuation)
            self.cache_hook.add_partial("loglikelihood", words, (found.logprob, found.greedy))
            return found.logprob, found.greedy

        return list(_told(ask, requests))

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = True) -> list[float]:
        return list(_told(lambda request: self._answers.text(self._answers.encode(request.args[0])), requests))

    def generate_until(self, requests: list[Any], disable_tqdm: bool = True) -> list[str]:
        def ask(request: Any) -> str:
            context, options = request.args
            until, length = _asked(options)
            return self._answers.written(self._answers.encode(context), until=until, max_tokens=length)

        return list(_told(ask, requests))


def _told(ask: Callable[[Any], Any], requests: Sequence[Any]) -> Iterator[Any]:
    """An answer to each request. Tells `evaluate.request` after each."""
    for done, request in enumerate(requests, 1):
        yield ask(request)
        emit("evaluate.request", done=done, total=len(requests))


def _asked(options: dict[str, Any]) -> tuple[list[str], int]:
    """Stop strings and the most tokens of a request to generate."""
    if options.get("do_sample", True) and float(options.get("temperature") or 0) > 0:
        raise UnsupportedError(
            "the task wants text that is drawn at random", hint="lilims answers tasks greedily, so that figures repeat"
        )
    until = options.get("until") or []
    length = next((int(options[name]) for name in _LENGTHS if options.get(name) is not None), _USUAL)
    return [until] if isinstance(until, str) else list(until), length


def evaluate_tasks(
    answers: Answers, names: Sequence[str], *, limit: int | None, num_fewshot: int | None, folder: Path | None
) -> dict[str, Any]:
    """What lm_eval finds: its own results, unchanged.

    Raises:
        UsageError: there is no task of a name.
        Exception: whatever lm_eval, a task or the loading of its data raises.
    """
    with contextlib.redirect_stdout(io.StringIO()):  # stdout is the command's
        manager = _manager(names, folder)
        _check_names(names, manager.all_tasks)
        random.seed(0)  # as lm_eval.simple_evaluate, which also runs git and other programs to describe the machine
        np.random.seed(_SEED)
        loaded = manager.load(list(names))
        for task in loaded["tasks"].values():
            _set_shots(task, num_fewshot)
        found: dict[str, Any] = evaluate(Adapter(answers), loaded, limit=limit, log_samples=False)
    return found


def _set_shots(task: Any, wanted: int | None) -> None:
    """Examples before a question; where the task itself says that there are none, it keeps to that, as in lm_eval."""
    own = task.get_config("num_fewshot")
    if wanted is not None and own != 0 or own is None:
        task.set_config(key="num_fewshot", value=wanted or 0)
    task.set_fewshot_seed(seed=_SEED)


def _manager(names: Sequence[str], folder: Path | None) -> Any:
    """Finds tasks: in the folder, and where that has not all of them (or groups, of any tasks), in lm_eval's index too.

    That index is read from thousands of files, which takes many seconds.
    """
    if folder is None:
        return TaskManager()
    own = TaskManager(include_path=str(folder), include_defaults=False)
    return own if set(names) <= set(own.all_subtasks) else TaskManager(include_path=str(folder))


def _check_names(names: Sequence[str], known: Sequence[str]) -> None:
    unknown = next((name for name in names if name not in set(known)), None)
    if unknown is not None:
        near = ", ".join(get_close_matches(unknown, known, 3))
        hint = f"perhaps {near}" if near else "`lm-eval ls tasks` lists what there is"
        raise UsageError(f"there is no task {unknown!r}", hint=hint)
