"""The chat template of a model that has none.

Knows two formats. Must not know models.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from .template import ChatTemplate

__all__ = ["default_template"]

_CHATML = """\
{%- for message in messages -%}
    {{ '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\\n' }}{%- endif -%}
"""
_PLAIN = """\
{%- if with_bos -%}{{ bos_token }}{%- endif -%}
{%- for message in messages -%}
    {{ message.role | capitalize + ': ' + message.content | trim + '\\n' }}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ 'Assistant:' }}{%- endif -%}
"""


def default_template(special: Iterable[str], tokens: Mapping[str, str], *, bos: bool) -> ChatTemplate:
    """ChatML where its two tokens are special tokens; else roles in plain words, each on a line.

    Args:
        special: the special tokens of the vocabulary.
        tokens: `bos_token` among them.
        bos: begin the plain one with BOS.
    """
    if {"<|im_start|>", "<|im_end|>"} <= set(special):
        return ChatTemplate(_CHATML, tokens=tokens, where="the default chat template (ChatML)")
    source = _PLAIN.replace("with_bos", "true" if bos else "false")
    return ChatTemplate(source, tokens=tokens, where="the default chat template", stops=("\nUser:", "\nSystem:"))
