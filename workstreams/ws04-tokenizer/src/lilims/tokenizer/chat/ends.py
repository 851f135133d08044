"""Tokens at which a turn ends.

Knows the spellings that model families use. Must not know files.
A token of this table counts where the vocabulary has it as a special token; so ordinary text never ends a turn.
llama.cpp finds the same ones by name (`special_eog_ids` in llama-vocab.cpp).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

__all__ = ["END_OF_TURN", "end_of_turn_ids"]

END_OF_TURN: Mapping[str, str] = {
    # token: where it stands, as the template or generation_config.json of that model has it
    "<|im_end|>": "ChatML: Qwen2, Qwen2.5, Qwen3, SmolLM2, SmolLM3, StableLM 2",
    "<|endoftext|>": "GPT-2, Qwen2.5 and Phi-3 (generation_config.json), OLMo 2, StableLM Zephyr",
    "<|end_of_text|>": "Llama 3 (generation_config.json), Granite",
    "<|eot_id|>": "Llama 3, 3.1, 3.2",
    "<|eom_id|>": "Llama 3.1: the end of a message that calls a built-in tool",
    "<|end|>": "Phi-3, Phi-3.5, Phi-4-mini",
    "<|return|>": "gpt-oss (harmony)",
    "<|call|>": "gpt-oss (harmony): a tool is called",
    "<end_of_turn>": "Gemma, Gemma 2, Gemma 3",
    "<turn|>": "Gemma 4",
    "[|endofturn|]": "EXAONE 3, 3.5, 4",
    "<|endofturn|>": "HyperCLOVA X",
    "<|END_OF_TURN_TOKEN|>": "Cohere Command R, R7B, Aya",
    "<EOT>": "DeepSeek-Coder (as llama.cpp knows it)",
    "_<EOT>": "the same with SentencePiece's space (as llama.cpp knows it)",
    "<|EOT|>": "DeepSeek-Coder Instruct",
    "<｜end▁of▁sentence｜>": "DeepSeek V3, R1 and its distillations",
    "<|user|>": "GLM-4 (generation_config.json: the next turn begins)",
    "<|observation|>": "GLM-4 (generation_config.json: a tool is called)",
}
_HARMONY = ("<|return|>", "<|call|>")
_ONLY_WITH = {"<|user|>": "<|observation|>", "<|observation|>": "<|user|>"}  # Phi-3's <|user|> ends nothing


def end_of_turn_ids(special: Mapping[str, int], named: Iterable[int]) -> tuple[int, ...]:
    """The ids that `named` has (eos of the configs), then those of the table that are special tokens here, each once.

    Args:
        special: special tokens of the vocabulary by text.
    """
    found = [token for token in END_OF_TURN if token in special and _ONLY_WITH.get(token, token) in special]
    if all(token in special for token in _HARMONY):  # there <|end|> ends one message of several in a turn
        found = [token for token in found if token != "<|end|>"]
    return tuple(dict.fromkeys([*named, *(special[token] for token in found)]))
