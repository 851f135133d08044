"""Records ids of google/sentencepiece and transformers for the default test suite of ws04.

Run in an environment with sentencepiece and transformers, with the test data beside the checkout:

    python tools/record_tokenizer_references.py

It writes workstreams/ws04-tokenizer/tests/data/references.json with the versions that it used.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
TARGET = ROOT / "workstreams" / "ws04-tokenizer" / "tests" / "data" / "references.json"
SENTENCEPIECE = {
    "stories260K": "models/stories260K/tokenizer.model",
    "mistral": "tokenizers/mistral/mistral_instruct_tokenizer_240323.model.v3",
    "unigram": "tokenizers/sentencepiece/test_model.model",
    "japanese": "tokenizers/sentencepiece/test_ja_model.model",
}
LONG_TEXT = "text/wiki.test.raw"
LONG_CHARACTERS = 40_000
TEXTS = [
    "",
    " ",
    "   ",
    "Once upon a time, there was a little girl named Lily.",
    "  two spaces before,  two between and two behind  ",
    "tabs\tand\nnew lines\r\n\r\nand more",
    "▁the marker itself▁ ▁",
    "naïve café, Ünïcödé and e\u0301 composed late",
    "吾輩は猫である。名前はまだ無い。ＡＢＣ ﾊﾝｶｸ ①",
    "한국어 각각 \u1112\u1161\u11ab\u1100\u1173\u11af",
    "🙂 👨\u200d👩\u200d👧\u200d👦 🏳️\u200d🌈 flags 🇪🇺",
    "שלום עולם مرحبا بالعالم ﷺ",
    "ﬁne ½ ² ㎏ … ﾞ",
    "x" * 70 + " " * 17 + "=" * 33,
    "1234567890 3.14159 1,000,000",
    "def f(x):\n    return x**2  # comment\n",
    "<s>not</s> <unk> <0x41> [INST] [/INST] <|endoftext|> <|im_start|>",
    "[REFERENCE_DOC_1] and[REFERENCE_DOC_12]![REFERENCE_DOC_",
    "\x00\x01\x7f\x85\xa0\xad\u200b\u2028\ufeff\ufffd",
    "don't we'll I'M THEY'RE",
]


def digest(ids: list[int]) -> dict[str, Any]:
    """A long list of ids as its length and the hash of its numbers."""
    return {"count": len(ids), "sha256": hashlib.sha256(" ".join(map(str, ids)).encode()).hexdigest()}


def main() -> None:
    """Encodes every text with every model and writes the file."""
    import sentencepiece
    import transformers

    from lilims.core.files import write_json
    from lilims.core.testing import test_data

    long_text = test_data(LONG_TEXT).read_text("utf-8")[:LONG_CHARACTERS]
    models: dict[str, Any] = {}
    for name, path in SENTENCEPIECE.items():
        processor = sentencepiece.SentencePieceProcessor(model_file=str(test_data(path)))
        ids = [processor.encode(text) for text in TEXTS]
        decoded = [processor.decode(one) for one in ids]
        models[name] = {"path": path, "ids": ids, "decoded": decoded, "long": digest(processor.encode(long_text))}
    folder = "tokenizers/qwen2"
    qwen = transformers.AutoTokenizer.from_pretrained(str(test_data(folder)), split_special_tokens=True)
    ids = [qwen.encode(text, add_special_tokens=False) for text in TEXTS]
    decoded = [qwen.decode(one) for one in ids]
    long_ids = qwen.encode(long_text, add_special_tokens=False)
    models["qwen2"] = {"path": folder, "ids": ids, "decoded": decoded, "long": digest(long_ids)}
    versions = {"sentencepiece": sentencepiece.__version__, "transformers": transformers.__version__}
    TARGET.parent.mkdir(exist_ok=True)
    recorded = {
        "versions": versions,
        "long_text": LONG_TEXT,
        "long_characters": LONG_CHARACTERS,
        "texts": TEXTS,
        "models": json.loads(json.dumps(models)),
    }
    write_json(TARGET, recorded)
    print(f"{TARGET}: {len(TEXTS)} texts, {len(models)} models, {versions}")


if __name__ == "__main__":
    main()
