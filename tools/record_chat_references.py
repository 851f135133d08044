"""Records what transformers renders for the default test suite of ws04: conversations through chat templates.

Run in an environment with transformers, with the test data beside the checkout:

    python tools/record_chat_references.py

It writes workstreams/ws04-tokenizer/tests/data/chat_references.json with the versions that it used: for each template
of tests/data/templates and each conversation of tests/data/conversations.json the text, its length and hash where it is
long, or null where transformers raises.
"""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT / "workstreams" / "ws04-tokenizer" / "tests" / "data"
NOW = datetime(2026, 3, 4, 5, 6, 7)
TOKENS = {"bos_token": "<BOS>", "eos_token": "<EOS>", "pad_token": "<PAD>", "unk_token": "<UNK>"}
LONG = 600  # characters


class Frozen(datetime):
    """A clock that stands still."""

    @classmethod
    def now(cls, tz: Any = None) -> Any:
        """`NOW`."""
        return NOW


def rendered(template: str, conversation: dict[str, Any]) -> str | None:
    """What transformers makes of a conversation, as `apply_chat_template` hands it on; None where it raises."""
    from jinja2 import TemplateError
    from transformers.utils import chat_template_utils

    chat_template_utils.datetime = Frozen
    given = {"add_generation_prompt": True, **TOKENS, **conversation}
    messages = [{k: v for k, v in message.items() if v is not None} for message in given.pop("messages")]
    try:
        texts, _ = chat_template_utils.render_jinja_template([messages], chat_template=template, **given)
    except (TemplateError, TypeError, ValueError):
        return None
    return str(texts[0])


def short(text: str | None) -> Any:
    """The text, or what proves it where it is long."""
    if text is None or len(text) <= LONG:
        return text
    return {"count": len(text), "sha256": hashlib.sha256(text.encode()).hexdigest()}


def main() -> None:
    """Renders every conversation with every template and writes the file."""
    import jinja2
    import transformers

    from lilims.core.files import write_json

    conversations = json.loads((DATA / "conversations.json").read_text("utf-8"))
    templates = {path.stem: path.read_text("utf-8") for path in sorted((DATA / "templates").glob("*.jinja"))}
    renderings = {
        name: {which: short(rendered(text, given)) for which, given in conversations.items()}
        for name, text in templates.items()
    }
    versions = {"transformers": transformers.__version__, "jinja2": jinja2.__version__}
    value = {"versions": versions, "now": NOW.isoformat(), "tokens": TOKENS, "renderings": renderings}
    write_json(DATA / "chat_references.json", value)


if __name__ == "__main__":
    main()
