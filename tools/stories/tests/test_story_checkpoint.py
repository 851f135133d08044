"""The checkpoint folder that the training writes: complete, small, readable by transformers, equal to our own model."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[3] / "workstreams/ws05-model-manager/src/lilims/models/builtin/stories"
END = "<|endoftext|>"


def test_the_folder_is_complete_and_small() -> None:
    names = {path.name for path in FOLDER.iterdir()}
    assert names >= {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json",
                     "tokenizer_config.json", "special_tokens_map.json", "heldout.txt", "README.md"}  # fmt: skip
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 9_000_000


def test_the_config_and_the_tokenizer_agree() -> None:
    config = json.loads((FOLDER / "config.json").read_text(encoding="utf-8"))
    tokenizer = json.loads((FOLDER / "tokenizer.json").read_text(encoding="utf-8"))
    assert len(tokenizer["model"]["vocab"]) == config["vocab_size"] == 2048
    assert tokenizer["model"]["vocab"][END] == config["bos_token_id"] == config["eos_token_id"] == 0


def test_held_out_text_is_long_enough_and_never_trained_on() -> None:
    import grammar
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(FOLDER / "tokenizer.json"))
    text = (FOLDER / "heldout.txt").read_text(encoding="ascii")
    ids = tokenizer.encode(text).ids
    assert 20_000 <= len(ids) < 21_000
    stories = text.removesuffix(END).split(END)
    assert ids.count(0) == len(stories) + 1  # one in front, one after each
    assert stories == [grammar.story(seed, "heldout").text for seed in range(len(stories))]
    assert tokenizer.decode(ids) == text.replace(END, "")


@pytest.mark.parity
def test_transformers_computes_the_same_logits() -> None:
    import torch
    from model import Config, Llama
    from safetensors.torch import load_file
    from transformers import AutoModelForCausalLM, AutoTokenizer

    theirs = AutoModelForCausalLM.from_pretrained(FOLDER, dtype=torch.float32).eval()
    assert type(theirs).__name__ == "LlamaForCausalLM"
    ours = Llama(Config())
    ours.load_state_dict(load_file(FOLDER / "model.safetensors"))
    text = (FOLDER / "heldout.txt").read_text(encoding="ascii").split(END)[1]
    ids = AutoTokenizer.from_pretrained(FOLDER)(text, return_tensors="pt")["input_ids"]
    assert ids[0, 0] == 0
    with torch.inference_mode():
        expected = theirs(ids).logits
        torch.testing.assert_close(ours(ids), expected, atol=2e-4, rtol=1e-4)


@pytest.mark.parity
def test_the_initial_weights_copy() -> None:
    """A row of random tokens, repeated: from the second time on it is far less surprising than the first time."""
    import torch
    from copying import build_in
    from model import Config, Llama

    torch.manual_seed(1)
    model = Llama(Config())
    build_in(model)
    ids = torch.randint(1, 2048, (1, 30)).repeat(1, 6)
    with torch.inference_mode():
        loss = torch.nn.functional.cross_entropy(model(ids[:, :-1])[0], ids[0, 1:], reduction="none")
    assert loss[:29].mean() > 7
    assert loss[35:].mean() < loss[:29].mean() - 2
