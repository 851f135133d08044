"""A model, a text and a reference: stories260K's packages, measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from lilims.conversion import evaluate, perplexity
from lilims.conversion.evaluation.measure import Evaluation, evaluate_ids
from lilims.conversion.evaluation.sources import CheckpointSpec, PackageSpec, find
from lilims.conversion.evaluation.texts import Text, read_text, spelled_bytes
from lilims.core.errors import InputError, LilimsError, TokenizerError, UsageError
from lilims.core.testing import test_data
from lilims.runtime import Model, load

from ..conftest import MODELS
from .conftest import STORY, TEXT, Made


def log_probabilities(model: Model, ids: Sequence[int]) -> np.ndarray:
    wide = model.logits(ids).astype(np.float64)
    wide -= wide.max(axis=1, keepdims=True)
    return np.asarray(wide - np.log(np.exp(wide).sum(axis=1, keepdims=True)))


def test_figures_are_llama_cpps_windows_of_the_logits(made: Made, compared: Evaluation) -> None:
    """By loops over what the two models say, BOS at each window's head, second halves alone."""
    model, reference = (load(made(scheme), precision="exact") for scheme in ("int4", "fp16"))
    ids = model.tokenizer.encode(TEXT.content)
    assert ids[0] == model.tokenizer.bos_id
    nll, base, divergence = [], [], []
    for start in range(0, len(ids) - 63, 64):
        window = [ids[0], *ids[start + 1 : start + 64]]
        logs, wanted = log_probabilities(model, window), log_probabilities(reference, window)
        for j in range(32, 63):
            nll.append(-logs[j, window[j + 1]])
            base.append(-wanted[j, window[j + 1]])
            divergence.append((np.exp(wanted[j]) * (wanted[j] - logs[j])).sum())
    found = compared.summary
    assert found.tokens == len(nll) == 31 * (len(ids) // 64)
    assert found.perplexity == pytest.approx(math.exp(np.mean(nll)), rel=1e-5)
    assert found.comparison is not None
    assert found.comparison.perplexity == pytest.approx(math.exp(np.mean(base)), rel=1e-5)
    assert found.comparison.divergence.value == pytest.approx(np.mean(divergence), rel=1e-4)
    assert found.comparison.log_ratio.value == pytest.approx(np.mean(nll) - np.mean(base), rel=1e-4)
    assert found.comparison.divergence.value > 0.01


def test_processes_and_the_shelf_change_no_bit(made: Made, compared: Evaluation) -> None:
    for jobs in (1, 2):
        again = evaluate(made("int4"), TEXT, reference=made("fp16"), context=64, jobs=jobs)
        assert again.summary == compared.summary
    without = evaluate(made("int4"), TEXT, reference=made("fp16"), context=64, jobs=1, cache_bytes=0)
    assert without.summary == compared.summary


def test_strided(made: Made) -> None:
    """Every token but the first counts once, each behind as much of the text as its window holds."""
    found = evaluate(made("int4"), TEXT, context=64, stride=48, jobs=1)
    model = load(made("int4"), precision="exact")
    ids = model.tokenizer.encode(TEXT.content)
    assert found.summary.tokens == len(ids) - 1
    nll, done = 0.0, 1
    for start in range(0, len(ids), 48):
        window = ids[start : start + 64]
        logs = log_probabilities(model, window)
        nll -= sum(logs[p - start - 1, ids[p]] for p in range(done, start + len(window)))
        done = start + len(window)
        if done == len(ids):
            break
    assert found.summary.nll.value == pytest.approx(nll / (len(ids) - 1), rel=1e-5)


def test_bytes_are_those_of_the_text(made: Made) -> None:
    """All tokens together spell the whole text, characters of several tokens too; what counts spells its part."""
    tokenizer = load(made("int4")).tokenizer
    ids = tokenizer.encode(TEXT.content)
    spelled = spelled_bytes(tokenizer, ids)
    assert spelled[0] == 0  # BOS
    assert sum(spelled) == len(TEXT.content.encode())
    found = evaluate(made("int4"), TEXT, context=64, windows=2, jobs=1).summary
    wanted = sum(
        len(tokenizer.decode(ids[:end]).encode()) * sign for end, sign in ((64, 1), (33, -1), (128, 1), (97, -1))
    )
    assert found.bytes == pytest.approx(wanted, abs=3)  # a character on a border
    assert found.bits_per_byte == pytest.approx(found.nll.value * found.tokens / math.log(2) / (found.bytes or 0))


def test_one_figure_without_files(made: Made) -> None:
    model = load(made("int4"), precision="exact")
    ids = model.tokenizer.encode(TEXT.content)
    found = perplexity(model, ids, window=64)
    same = evaluate_ids(PackageSpec(made("int4")), ids, context=64, kind="all", jobs=1).summary
    assert (found.value, found.tokens) == (pytest.approx(same.perplexity, rel=1e-6), same.tokens)
    assert found.error == pytest.approx(same.nll.error, rel=1e-5)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"context": 9999}, UsageError, "a window of 9999 tokens does not fit the context of 512"),
        ({"context": 512}, UsageError, "the text has .* tokens, a window 512"),
        ({"stride": 65, "context": 64}, UsageError, "a stride of 65 tokens"),
        ({"reference": "nowhere"}, LilimsError, "no reference: no model 'nowhere'"),
        ({"reference": "./nowhere"}, LilimsError, "no reference: no such folder"),
    ],
)
def test_mistakes(made: Made, options: dict[str, object], error: type[LilimsError], message: str) -> None:
    with pytest.raises(error, match=message):
        evaluate(made("int4"), Text("short", STORY * 3), **{"jobs": 1, **options})  # type: ignore[arg-type]


def test_another_models_tokenizer(made: Made, checkpoint_of: Callable[[str], Path]) -> None:
    stories = test_data("models/stories260K")

    class Shifted(PackageSpec):
        def tokenizer(self):  # type: ignore[no-untyped-def]
            class Odd:
                def encode(self, text: str, parse_special: bool) -> list[int]:
                    ids = load(made("int4")).tokenizer.encode(text)
                    return [*ids[:7], ids[7] + 1, *ids[8:]]

            return Odd()

    with pytest.raises(TokenizerError, match="read the text differently from token 7 on"):
        evaluate(made("int4"), TEXT, reference=Shifted(made("fp16")), jobs=1)
    with pytest.raises(UsageError, match="the reference's vocabulary is 100, the model's 512"):
        evaluate_ids(PackageSpec(made("int4")), [1] * 64, reference=CheckpointSpec(checkpoint_of("llama")), context=32)
    assert find(str(stories)) == CheckpointSpec(stories)


def test_a_model_without_a_tokenizer(converted: Callable[..., Path]) -> None:
    with pytest.raises(TokenizerError, match="the model has no tokenizer"):
        evaluate(converted("llama"), TEXT)


# -- texts -------------------------------------------------------------------------------------------------------------


def test_texts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "builtin").write_bytes(b"a\r\nb")
    assert read_text("./builtin") == Text("builtin", "a\r\nb")
    (tmp_path / "latin").write_bytes(b"ab\xe9")
    with pytest.raises(InputError, match="latin: not UTF-8 .byte 2."):
        read_text("./latin")
    with pytest.raises(InputError, match="no text 'wikitext3': neither a file nor one of builtin, wikitext2"):
        read_text("wikitext3")
    with pytest.raises(InputError, match="nowhere.txt: cannot be read"):
        read_text("nowhere.txt")


def test_the_builtin_text_is_an_entry_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Entry:
        def load(self) -> object:
            return lambda: tmp_path / "held.txt"

    (tmp_path / "held.txt").write_text("held<|endoftext|>")
    monkeypatch.setattr("importlib.metadata.entry_points", lambda **which: [Entry()])
    assert read_text("builtin") == Text("builtin", "held<|endoftext|>", special=True)
    monkeypatch.setattr("importlib.metadata.entry_points", lambda **which: [])
    with pytest.raises(InputError, match="not part of this installation"):
        read_text("builtin")


# -- transformers ------------------------------------------------------------------------------------------------------


@pytest.mark.parity
@pytest.mark.parametrize("name", MODELS)
def test_transformers_and_the_fp16_package_agree(
    name: str, checkpoint_of: Callable[[str], Path], converted: Callable[..., Path], record_tool: object
) -> None:
    """Perplexities of both references within 0.1 %, on every architecture's tiny model, and next to no divergence.

    The text is what the model itself draws: to random weights random tokens are so unlikely (perplexities of 10^8) that
    what fp16 rounds off the weights would show.
    """
    folder, config = checkpoint_of(name), MODELS[name]["config"]
    if config["model_type"] in record_tool.AS_LLAMA:  # type: ignore[attr-defined]
        folder = record_tool.as_llama(folder, record_tool.AS_LLAMA[config["model_type"]])  # type: ignore[attr-defined]
    model, ids = load(converted(name), precision="exact"), []
    for first in range(6):
        drawn = model.generate([first], max_tokens=63, temperature=1.0, top_k=0, top_p=1.0, seed=first, ignore_eos=True)
        ids += [first, *(token.id for token in drawn)]
    package = PackageSpec(converted(name))
    found = evaluate_ids(package, ids, reference=CheckpointSpec(folder), context=64, jobs=1, cache_bytes=0).summary
    assert found.comparison is not None
    assert found.tokens == 6 * 31
    assert abs(found.comparison.change) < 1e-3
    assert found.comparison.divergence.value < 1e-4
