"""The public names, and what importing them costs."""

from __future__ import annotations

import subprocess
import sys

import pytest

import lilims.tokenizer


def test_every_public_name_is_there() -> None:
    for name in lilims.tokenizer.__all__:
        assert getattr(lilims.tokenizer, name).__module__.startswith("lilims.tokenizer."), name
    assert dir(lilims.tokenizer) == sorted(lilims.tokenizer.__all__)
    with pytest.raises(AttributeError, match="nothing_like_this"):
        _ = lilims.tokenizer.nothing_like_this


def test_importing_does_not_load_the_library() -> None:
    names = "Tokenizer, StreamDecoder, ReasoningSplitter, parse_tool_calls, generation_defaults, tokenizer_files"
    found = "{'tokenizers', 'jinja2', 'numpy'} & sys.modules.keys()"
    code = f"import sys; from lilims.tokenizer import {names}; sys.exit(bool({found}))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
