"""Tasks of lm-evaluation-harness: the figures of its results, options, errors; live, the same answers as its HFLM."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from lilims.conversion.evaluation.tasks import Figure, figures, run_tasks
from lilims.core.errors import InputError, MissingDependencyError, UsageError
from lilims.core.settings import settings
from lilims.core.testing import test_data
from lilims.tokenizer import Tokenizer

from .conftest import STORY, Made

RESULTS = {
    "results": {
        "one": {"alias": "one", "acc,none": 0.5, "acc_stderr,none": 0.1, "acc_norm,none": 0.25,
                "acc_norm_stderr,none": "N/A", "sample_len": 4, "passed,none": True},
        "two": {"exact_match,strict": 1, "exact_match_stderr,strict": float("nan")},
    },
    "n-shot": {"one": 5}, "n-samples": {"one": {"original": 10, "effective": 4}}, "versions": {"one": 1.0},
}  # fmt: skip


def test_figures_of_lm_evals_results() -> None:
    assert figures(RESULTS) == [
        Figure("one", "acc", "none", 0.5, 0.1, 5, 4, "1.0"),
        Figure("one", "acc_norm", "none", 0.25, None, 5, 4, "1.0"),
        Figure("two", "exact_match", "strict", 1.0, None, None, None, None),
    ]


def test_without_lm_eval(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    monkeypatch.delitem(sys.modules, "lilims.conversion.evaluation.harness", raising=False)
    with pytest.raises(MissingDependencyError, match="lm-evaluation-harness") as error:
        run_tasks(made("int4"), ["arc_easy"])
    assert error.value.hint == "pip install 'lilims-conversion[lm-eval]'"


def test_a_folder_that_is_not_there(made: Made, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such folder of tasks"):
        run_tasks(made("int4"), ["x"], task_path=tmp_path / "no")
    with pytest.raises(UsageError, match="no task is named"):
        run_tasks(made("int4"), [])


# -- with lm_eval and transformers -------------------------------------------------------------------------------------

QUESTIONS = [
    ("Once upon a time, there was a little", [" girl named Lily", " stone in", " the the"], 0),
    ("She loved to play outside in the", [" dog", " park", " why"], 1),
    ("One day, her mom", [" and", " said", " red"], 1),
    ("They were very happy and", [" sad.", " played together", " of"], 1),
]
COMMON = """
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
doc_to_text: "{{{{question}}}}"
"""
TASKS = {
    "story_choice": """
task: story_choice
output_type: multiple_choice
doc_to_choice: "{{choices}}"
doc_to_target: answer
metric_list: [{metric: acc}, {metric: acc_norm}]
""",
    "story_write": """
task: story_write
output_type: generate_until
doc_to_target: "{{choices[answer] | trim}}"
generation_kwargs: {until: ["."], max_gen_toks: 16}
metric_list: [{metric: exact_match}]
""",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tasks, and their data."""
    made = tmp_path_factory.mktemp("tasks")
    lines = [{"question": question, "choices": choices, "answer": answer} for question, choices, answer in QUESTIONS]
    (made / "questions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    for name, text in TASKS.items():
        (made / f"{name}.yaml").write_text(text + COMMON.format(data=made / "questions.jsonl"))
    (made / "far.yaml").write_text("task: far\ndataset_path: nobody/nothing\noutput_type: generate_until\n")
    return made


@pytest.fixture(scope="module")
def hflm() -> Any:
    """lm_eval's own adapter of transformers, with the weights that the package has: rounded to fp16."""
    import torch
    import transformers
    from lm_eval.models.huggingface import HFLM

    source = test_data("models/stories260K")
    model = transformers.AutoModelForCausalLM.from_pretrained(source, dtype=torch.float16).float().eval()
    tokenizer = transformers.LlamaTokenizer.from_pretrained(source, add_bos_token=True)
    return HFLM(pretrained=model, tokenizer=tokenizer, batch_size=1, add_bos_token=True, device="cpu")


class ByTransformers:
    """As much of `lilims.runtime.Model` and its session as `Answers` takes, with transformers' logits."""

    def __init__(self, network: Any, tokenizer: Tokenizer) -> None:
        self.network, self.tokenizer, self.tokens = network, tokenizer, list[int]()
        self.context, self.stop_ids = network.config.max_position_embeddings, frozenset[int]()

    @property
    def position(self) -> int:
        return len(self.tokens)

    def session(self) -> ByTransformers:
        return self

    def reset(self) -> None:
        self.tokens = []

    def rewind(self, count: int) -> None:
        self.tokens = self.tokens[: self.position - count]

    def append(self, ids: Sequence[int]) -> None:
        self.tokens = [*self.tokens, *ids]

    def score(self, ids: Sequence[int]) -> Iterator[np.ndarray]:
        import torch

        self.append(ids)
        with torch.no_grad():
            yield self.network(torch.tensor([self.tokens])).logits[0, -len(ids) :].numpy()


@pytest.fixture(scope="module")
def same(hflm: Any) -> Any:
    """Our adapter on the very network that `hflm` has."""
    from lilims.conversion.evaluation.answers import Answers
    from lilims.conversion.evaluation.harness import Adapter

    tokenizer = Tokenizer.load(test_data("models/stories260K"))
    return Adapter(Answers(ByTransformers(hflm.model, tokenizer)))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def package(made: Made) -> Any:
    """Our adapter on the package in fp16, whose state is fp16 too."""
    from lilims.conversion.evaluation.answers import Answers
    from lilims.conversion.evaluation.harness import Adapter
    from lilims.runtime import load

    return Adapter(Answers(load(made("fp16"), precision="exact", threads=1)))


def asked(*arguments: Any) -> Any:
    return SimpleNamespace(args=arguments, arguments=arguments)


PAIRS = [(question, choice) for question, choices, _ in QUESTIONS for choice in choices]
PAIRS += [("", "Once upon a time"), ("Lily ", "was happy"), (STORY * 8, " The end.")]


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("whose", "within"), [("same", 1e-4), ("package", 2e-3)])
def test_continuations_are_as_likely_as_lm_eval_says(
    whose: str, within: float, hflm: Any, request: pytest.FixtureRequest
) -> None:
    requests = [asked(*pair) for pair in PAIRS]
    wanted = hflm.loglikelihood(requests, disable_tqdm=True)
    for pair, one, other in zip(PAIRS, request.getfixturevalue(whose).loglikelihood(requests), wanted, strict=True):
        assert one[0] == pytest.approx(other[0], rel=within, abs=within), pair
        assert one[1] == other[1], pair


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("whose", "within"), [("same", 1e-6), ("package", 2e-4)])
@pytest.mark.parametrize("times", [1, 12], ids=["one window", "several windows"])
def test_texts_are_as_likely_as_lm_eval_says(
    whose: str, within: float, times: int, hflm: Any, request: pytest.FixtureRequest
) -> None:
    requests = [asked(STORY * times)]
    (found,) = request.getfixturevalue(whose).loglikelihood_rolling(requests)
    assert found == pytest.approx(hflm.loglikelihood_rolling(requests, disable_tqdm=True)[0], rel=within)


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore")
def test_texts_that_are_written_are_those_of_transformers(package: Any, hflm: Any) -> None:
    options = {"until": [".", "!"], "max_gen_toks": 24, "do_sample": False}
    requests = [asked(question, options) for question, *_ in QUESTIONS]
    wanted = hflm.generate_until(requests, disable_tqdm=True)
    assert package.generate_until(requests) == wanted
    assert all(wanted)


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore")
def test_tasks_of_a_folder(made: Made, folder: Path, hflm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from lilims.conversion.evaluation import harness

    monkeypatch.setenv("LILIMS_OFFLINE", "1")
    settings.cache_clear()
    found = run_tasks(made("fp16"), list(TASKS), task_path=folder, threads=1)
    assert [(one.task, one.metric, one.questions) for one in found.figures] == [
        ("story_choice", "acc", 4), ("story_choice", "acc_norm", 4), ("story_write", "exact_match", 4),
    ]  # fmt: skip
    assert found.figures[0].value >= 0.75
    monkeypatch.setattr(harness, "Adapter", lambda answers: hflm)
    theirs = harness.evaluate_tasks(None, list(TASKS), limit=None, num_fewshot=None, folder=folder)  # type: ignore[arg-type]
    assert [one.value for one in figures(theirs)] == [one.value for one in found.figures]
    with pytest.raises(InputError, match="lm-eval cannot run the task") as failure:
        run_tasks(made("fp16"), ["far"], task_path=folder)
    assert "LILIMS_OFFLINE" in str(failure.value.hint)
    settings.cache_clear()


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({}, ([], 256)),
        ({"until": "x", "max_new_tokens": 3}, (["x"], 3)),
        ({"do_sample": False, "temperature": 1}, ([], 256)),
    ],
)
def test_options_of_a_request(options: dict[str, Any], wanted: Any) -> None:
    from lilims.conversion.evaluation.harness import _asked
    from lilims.core.errors import UnsupportedError

    assert _asked(options) == wanted
    with pytest.raises(UnsupportedError, match="drawn at random"):
        _asked({**options, "do_sample": True, "temperature": 0.7})


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore")
def test_a_task_that_there_is_not() -> None:
    from lilims.conversion.evaluation.harness import _check_names

    _check_names(["b"], ["a", "b"])
    with pytest.raises(UsageError, match="there is no task 'story_choise'") as error:
        _check_names(["other", "story_choise"], ["other", "story_choice"])
    assert error.value.hint == "perhaps story_choice"
