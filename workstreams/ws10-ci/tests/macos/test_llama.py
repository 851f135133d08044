"""The Llama in NumPy against transformers: what probes compare with is itself compared."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lilims.ci.macos import llama
from lilims.ci.macos.comparing import logit_differences
from lilims.ci.macos.probes_decoder import _CONFIG
from lilims.conversion.random_checkpoint import write_random_checkpoint


@pytest.mark.parity
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_it_computes_what_transformers_computes(tied: bool, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    config = {**_CONFIG, "tie_word_embeddings": tied, "architectures": ["LlamaForCausalLM"]}
    write_random_checkpoint(config, tmp_path)
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    ids = np.random.default_rng(5).integers(0, config["vocab_size"], 40)
    with torch.no_grad():
        for weight in model.parameters():  # not `model.half()`, which rounds the rotary frequencies too
            weight.copy_(weight.half().float())
        wanted = model(torch.tensor(ids)[None]).logits[0].numpy()
    figures = logit_differences(llama.logits(tmp_path, list(ids)), wanted)
    assert figures["rms_share"] < 1e-5 and figures["top1"] == 1


def test_a_token_does_not_see_those_behind_it(tmp_path: Path) -> None:
    write_random_checkpoint(_CONFIG, tmp_path)
    one, other = llama.logits(tmp_path, [5, 6, 7, 8]), llama.logits(tmp_path, [5, 6, 9, 8])
    assert np.array_equal(one[:2], other[:2])
    assert not np.allclose(one[2], other[2]) and not np.allclose(one[3], other[3])


def test_differences_are_what_their_names_say() -> None:
    wanted = np.array([[0.0, 1.0, 2.0], [4.0, 0.0, 0.0]])
    found = wanted.copy()
    found[1] = [0.0, 4.0, 0.0]
    figures = logit_differences(found, wanted)
    assert figures["max"] == 4 and figures["values"] == 6 and figures["top1"] == 0.5
    assert figures["rms_share"] == pytest.approx(np.sqrt(32 / 6) / wanted.std())
    p = np.exp(wanted[1]) / np.exp(wanted[1]).sum()
    q = np.exp(found[1]) / np.exp(found[1]).sum()
    assert figures["kl"] == pytest.approx((p * np.log(p / q)).sum() / 2)
    with pytest.raises(ValueError, match=r"shape \[1, 3\] where \[2, 3\]"):
        logit_differences(found[:1], wanted)
