"""Tasks of lm-evaluation-harness, run on a model: what `lilims eval --tasks` does but printing.

Knows the order of the work, and what may be wrong with a task. Must not know how a question is answered. The network is
used only by lm_eval, for the data of the tasks that were named, and only where lilims may.
"""

from __future__ import annotations

import logging
import math
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lilims.core.errors import InputError, LilimsError, MissingDependencyError, UsageError

from .sources import model_folder

__all__ = ["Figure", "TaskResults", "figures", "run_tasks"]


@dataclass(frozen=True)
class Figure:
    """One figure of a task, or of a group of tasks.

    Attributes:
        task: the task's name.
        metric: what was measured, such as acc, acc_norm, exact_match, word_perplexity.
        filter: how answers were read; `none` is as they are.
        value: the figure.
        error: its standard error; None where lm_eval has none.
        shots: examples before each question.
        questions: how many were asked.
        version: the task's.
    """

    task: str
    metric: str
    filter: str
    value: float
    error: float | None
    shots: int | None
    questions: int | None
    version: str | None


@dataclass(frozen=True)
class TaskResults:
    """What tasks found of a model.

    Attributes:
        model: its name.
        identity: the hash of what it is.
        figures: of each task, in the order that lm_eval gives them.
        lm_eval: the version of lm-evaluation-harness.
        limit: the most questions that were asked of a task; figures with a limit are no benchmark.
    """

    model: str
    identity: str
    figures: list[Figure]
    lm_eval: str
    limit: int | None


def run_tasks(
    model: str | Path,
    tasks: Sequence[str],
    *,
    limit: int | None = None,
    num_fewshot: int | None = None,
    task_path: str | Path | None = None,
    threads: int | None = None,
) -> TaskResults:
    """Runs tasks on a model in float32 arithmetic, question by question; the same figures each time.

    Args:
        model: a model folder, the package in it, or an installed model's name.
        tasks: names that lm_eval knows, such as arc_easy.
        limit: at most so many questions of each; None is all.
        num_fewshot: examples before each question; None is what the task says.
        task_path: a folder of further tasks (YAML). They may run any Python code.
        threads: of one op; None is what the machine has.

    Raises:
        MissingDependencyError: lm_eval is not installed.
        ModelNotFoundError, TokenizerError: there is no such model, or it has no tokenizer.
        UsageError: there is no such task or folder.
        InputError: a task or its data cannot be loaded, as without a network.
        ExecutionError: logits are not finite.
    """
    from importlib import metadata

    from lilims.core.manifest import identity
    from lilims.runtime import load

    from .answers import Answers

    folder = None if task_path is None else Path(task_path)
    if not tasks:
        raise UsageError("no task is named")
    if folder is not None and not folder.is_dir():
        raise UsageError("there is no such folder of tasks", where=folder)
    where = model_folder(str(model))
    allowed = _network()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of lm_eval and what it imports, which nobody here can heed
        harness = _harness()
    loaded = load(where, precision="exact", threads=threads)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = harness.evaluate_tasks(
                Answers(loaded), tasks, limit=limit, num_fewshot=num_fewshot, folder=folder
            )  # fmt: skip
    except LilimsError:
        raise
    except Exception as exc:  # a task may raise anything
        raise _failure(exc, allowed) from exc
    version = metadata.version("lm_eval")
    return TaskResults(loaded.manifest.name, identity(loaded.manifest), figures(found), version, limit)


def figures(found: dict[str, Any]) -> list[Figure]:
    """The figures in lm_eval's results: `{"results": {task: {"metric,filter": value, …}}, "n-shot": …, …}`."""
    made = []
    for task, values in found["results"].items():
        for name, value in values.items():
            metric, comma, chosen = name.partition(",")
            if (
                not comma
                or metric.endswith("_stderr")
                or isinstance(value, bool)
                or not isinstance(value, (int, float))
            ):
                continue
            error = values.get(f"{metric}_stderr,{chosen}")
            known = isinstance(error, (int, float)) and math.isfinite(error)
            asked = found.get("n-samples", {}).get(task, {}).get("effective")
            version = found.get("versions", {}).get(task)
            made.append(
                Figure(
                    task, metric, chosen, float(value), float(error) if known else None,
                    found.get("n-shot", {}).get(task), asked, None if version is None else str(version),
                )
            )  # fmt: skip
    return made


def _network() -> bool:
    """Whether data may be fetched; where not, the libraries are told so before they are imported."""
    from lilims.core.privacy import HUB_OFF, hub_on

    allowed = hub_on()
    if not allowed:
        os.environ.update({**HUB_OFF, "HF_DATASETS_OFFLINE": "1", "HF_EVALUATE_OFFLINE": "1"})
    return allowed


def _harness() -> Any:
    try:
        from . import harness
    except ImportError as exc:
        raise MissingDependencyError(
            "tasks need lm-evaluation-harness", hint="pip install 'lilims-conversion[lm-eval]'"
        ) from exc
    for name in ("lm_eval", "datasets", "evaluate", "huggingface_hub"):
        logging.getLogger(name).setLevel(logging.ERROR)
    return harness


def _failure(exc: Exception, allowed: bool) -> LilimsError:
    text = " ".join(str(exc).split()) or type(exc).__name__
    if not allowed:
        hint = "the network is switched off (LILIMS_OFFLINE): fetch the data before, or name a folder with --task-path"
    elif isinstance(exc, OSError):
        hint = "the data of a task is downloaded the first time: check the network, or name a folder with --task-path"
    else:
        hint = "check the task's file and options"
    return InputError(f"lm-eval cannot run the task: {text}", hint=hint)
