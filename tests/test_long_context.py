"""Context policies on real packages and the portable executor: exact where that can be said, good where it cannot.

The policies' plans are proved in ws03 against a naive reference; tools/long_context.py measures ten contexts of 512.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import long_context
import long_context_table
from ci.quality_gate import SUBJECTS
from lilims.core.errors import UnsupportedError
from lilims.runtime import Model, load

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="coremltools 9 has no Windows build")

ONE_LAYER: dict[str, Any] = {
    "model_type": "llama", "vocab_size": 96, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 1,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 24, "rms_norm_eps": 1e-6,
    "rope_theta": 500.0, "hidden_act": "silu", "tie_word_embeddings": False, "eos_token_id": 2,
}  # fmt: skip
TEXT = [(31 * i * i + 7 * i + 3) % 96 for i in range(240)]


def made(folder: Path, config: dict[str, Any]) -> Model:
    from lilims.conversion import GraphOptions, convert
    from lilims.conversion.random_checkpoint import write_random_checkpoint

    write_random_checkpoint(config, folder / "checkpoint", seed=4)
    convert(folder / "checkpoint", folder / "model", quantize="fp16", graph=GraphOptions(prefill_chunk=8))
    return load(folder / "model", executor="portable", precision="exact", threads=1)


@pytest.fixture(scope="module")
def one_layer(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return made(tmp_path_factory.mktemp("one-layer"), ONE_LAYER)


def test_rolling_is_the_window_computed_anew(one_layer: Model) -> None:
    """Keys and values of a single layer depend on their own token alone, so dropped tokens leave nothing behind."""
    size, rolling = one_layer.context, one_layer.session("rolling")
    rows = np.concatenate(list(rolling.score(TEXT[:200])))
    rows = np.concatenate([rows, *([rolling.append([token])] for token in TEXT[200:])])
    for end in (*range(1, 60), *range(61, 240, 7), *range(201, 241)):
        window = TEXT[max(0, end - size) : end]
        np.testing.assert_allclose(
            rows[end - 1], one_layer.session().append(window), rtol=0, atol=4e-3, err_msg=f"token {end - 1}"
        )
    assert np.abs(rows).max() > 0.5


def test_shift_is_what_is_kept_computed_anew(one_layer: Model) -> None:
    size, shift = one_layer.context, one_layer.session("shift")
    held: list[int] = []
    for token in TEXT[:120]:
        if len(held) == size:
            held = held[:4] + held[-((size - 4) // 2) :]
        held.append(token)
        np.testing.assert_allclose(shift.append([token]), one_layer.session().append(held), rtol=0, atol=4e-3)


def test_sinks_do_not_depend_on_where_chunks_end(one_layer: Model) -> None:
    """The sinks are moved at the same tokens, whether they come one by one or in chunks of any length."""
    step, chunks = one_layer.session("sinks"), one_layer.session("sinks")
    by_step = np.stack([step.append([token]) for token in TEXT])
    by_chunk = np.concatenate(list(chunks.score(TEXT)))
    np.testing.assert_allclose(by_step, by_chunk, rtol=0, atol=4e-3)


def test_learned_positions_shift_only(tmp_path: Path) -> None:
    config = {
        "model_type": "gpt2", "vocab_size": 96, "n_embd": 32, "n_layer": 1, "n_head": 2, "n_positions": 24,
        "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5, "eos_token_id": 2,
    }  # fmt: skip
    model = made(tmp_path, config)
    with pytest.raises(UnsupportedError, match="needs rotary positions"):
        model.session("rolling")
    session, held = model.session("shift"), list[int]()
    for token in TEXT[:60]:
        if len(held) == model.context:
            held = held[:4] + held[-((model.context - 4) // 2) :]
        held.append(token)
        np.testing.assert_allclose(session.append([token]), model.session().append(held), rtol=0, atol=4e-3)


@pytest.fixture(scope="module")
def stories(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """The built-in model with an eighth of its context."""
    from lilims.conversion import convert

    folder = tmp_path_factory.mktemp("stories") / "model"
    convert(SUBJECTS["stories"].checkpoint, folder, quantize="fp16", context=64)
    return load(folder, executor="portable", precision="exact", threads=1)


@pytest.mark.parametrize("policy", ["rolling", "sinks", "shift"])
def test_ten_contexts_stay_as_likely_as_one(policy: str, stories: Model) -> None:
    ids = SUBJECTS["stories"].ids(stories)[: 10 * stories.context]
    nats = float(long_context.window_loss(stories, ids, stories.context).mean())
    row = long_context.measure(stories, "stories", ids, policy, nats)
    assert row.tokens == 640
    if policy == "sinks":
        assert row.ratio < 1.2
    assert row.generated_in_window < 3 * row.text_in_window  # not text that has fallen apart


def test_rows_are_recorded_unrounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A row takes the place of the same model's, policy's and length's; the others stay."""
    results = tmp_path / "long_context.json"
    results.write_text("[]")
    monkeypatch.setattr(long_context_table, "RESULTS", results)
    row = long_context_table.Row("stories", "sinks", 64, 640, 12.2096, 12.6937, 1 / 3, "numpy 2")
    long_context_table.record([row, replace(row, policy="shift"), replace(row, tokens=1280)])
    long_context_table.record([replace(row, text=12.8123)])
    assert [(one.policy, one.tokens, one.text) for one in long_context_table.read()] == [
        ("sinks", 640, 12.8123), ("shift", 640, 12.2096), ("sinks", 1280, 12.2096),
    ]  # fmt: skip
    assert long_context_table.read()[0].generated_in_window == 1 / 3
    shown = long_context_table.table()
    assert "| stories | sinks | 640 | 12.81 | 12.69 | +0.9% | 0.33 |\n" in shown
    assert shown.endswith("\nMeasured with numpy 2.\n")


def test_what_the_tool_adds_up(stories: Model) -> None:
    """Losses of a stream against their definition."""
    ids = SUBJECTS["stories"].ids(stories)[:50]
    wide = stories.logits(ids).astype(np.float64)
    shares = np.exp(wide) / np.exp(wide).sum(axis=1, keepdims=True)
    want = [-np.log(shares[i, ids[i + 1]]) for i in range(49)]
    np.testing.assert_allclose(long_context.window_loss(stories, ids, 64), want, atol=1e-4)
    np.testing.assert_allclose(long_context.stream_loss(stories.session("rolling"), ids), want, atol=1e-2)
