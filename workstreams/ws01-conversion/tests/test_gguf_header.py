"""The header's reader: against gguf's own, and against files that are damaged or lie."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGUFReader, GGUFValueType, GGUFWriter
from hypothesis import given, settings
from hypothesis import strategies as st

from lilims.conversion.gguf import is_gguf
from lilims.conversion.gguf.header import read_header
from lilims.conversion.prepare import prepare
from lilims.conversion.sources.checkpoint import open_checkpoint
from lilims.core.errors import CheckpointError, LilimsError, TokenizerError, UnsupportedModelError

from .gguf_files import packer, write_gguf, write_vocabulary


def string(text: str) -> bytes:
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw


def file_of(
    *, version: int = 3, tensors: int = 0, keys: int = 0, body: bytes = b"", magic: bytes = b"GGUF", form: str = "<"
) -> bytes:
    return magic + struct.pack(f"{form}IQQ", version, tensors, keys) + body


def tensor(name: str, shape: tuple[int, ...], kind: int, offset: int) -> bytes:
    return string(name) + struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)


@pytest.fixture
def small(checkpoint_of: Callable[[str], Path], tmp_path: Path) -> Path:
    """A model with keys of every type."""

    def extra(writer: GGUFWriter) -> None:
        for kind in ("uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64"):
            getattr(writer, f"add_{kind}")(f"test.{kind}", 7)
        writer.add_float64("test.float64", 0.1)
        writer.add_bool("test.bool", True)
        writer.add_array("test.flags", [True, False, True])
        writer.add_array("test.numbers", [1, -2, 3])
        writer.add_array("test.floats", [0.5, -0.25])
        writer.add_string("test.text", "grüße ▁")
        write_vocabulary(writer, [f"t{i}" for i in range(90)], [1] * 90, bos=1, eos=2)

    write_gguf(checkpoint_of("llama"), tmp_path / "small.gguf", packer("Q8_0"), extra=extra)
    return tmp_path / "small.gguf"


def test_it_reads_what_gguf_reads(small: Path) -> None:
    header, theirs = read_header(small), GGUFReader(small)
    fields = {key: field.contents() for key, field in theirs.fields.items() if not key.startswith("GGUF.")}
    ours = {k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in header.metadata.items()}
    assert ours == fields
    found = {name: (e.type, e.shape[::-1], e.offset, e.bytes) for name, e in header.tensors.items()}
    assert found == {
        t.name: (t.tensor_type.name, tuple(t.shape.tolist()), t.data_offset, t.n_bytes) for t in theirs.tensors
    }


def test_it_honours_alignment_and_version_2(tmp_path: Path) -> None:
    writer = GGUFWriter(tmp_path / "a.gguf", "llama")
    writer.add_custom_alignment(128)
    for name in "ab":
        writer.add_tensor(name, np.arange(5, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    raw = bytearray((tmp_path / "a.gguf").read_bytes())
    raw[4] = 2
    (tmp_path / "a.gguf").write_bytes(raw)
    entries = read_header(tmp_path / "a.gguf").tensors
    assert [entry.offset % 128 for entry in entries.values()] == [0, 0]
    assert entries["b"].offset == entries["a"].offset + 128


def test_a_gguf_file_is_known_by_its_name_or_its_letters(tmp_path: Path) -> None:
    (tmp_path / "blob").write_bytes(b"GGUF....")
    (tmp_path / "other").write_bytes(b"PK")
    assert is_gguf(tmp_path / "blob") and is_gguf(tmp_path / "x.gguf")
    assert not is_gguf(tmp_path / "other") and not is_gguf(tmp_path) and not is_gguf(tmp_path / "absent")


ONE = string("k") + struct.pack("<I", GGUFValueType.UINT32) + struct.pack("<I", 1)
HUGE = (1 << 60) - 1
DAMAGED: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "has 0 bytes"),
    "short": (b"GGUF", "has 4 bytes"),
    "magic": (file_of(magic=b"GGML"), "does not start with the letters GGUF"),
    "version 1": (file_of(version=1), "GGUF version 1"),
    "big-endian": (file_of(form=">"), "big-endian"),
    "tensors": (file_of(tensors=HUGE), "claims to hold 1152921504606846975 tensors"),
    "keys": (file_of(keys=HUGE), "claims to hold 1152921504606846975 keys"),
    "key length": (file_of(keys=1, body=struct.pack("<Q", HUGE) + b"0" * 32), "bytes of a key"),
    "key cut": (file_of(keys=1, body=string("general.name")[:-2] + b"\0" * 1), "bytes of a key"),
    "key not text": (file_of(keys=1, body=struct.pack("<Q", 2) + b"\xff\xfe" + b"\0" * 16), "not UTF-8"),
    "key twice": (file_of(keys=2, body=ONE + ONE), "'k' stands twice"),
    "value cut": (file_of(keys=1, body=ONE[:-2] + b""), "claims|ends where"),
    "value type": (file_of(keys=1, body=string("k") + struct.pack("<II", 77, 1)), "unknown type 77"),
    "array of arrays": (file_of(keys=1, body=string("k") + struct.pack("<IIQ", 9, 9, 1)), "unknown type 9"),
    "array length": (file_of(keys=1, body=string("k") + struct.pack("<IIQ", 9, 4, HUGE)), "numbers in 'k'"),
    "array of nothing": (file_of(keys=1, body=string("k") + struct.pack("<IIQ", 9, 8, 1 << 30)), "strings in 'k'"),
    "alignment": (
        file_of(keys=1, body=string("general.alignment") + struct.pack("<II", 4, 48)),
        "general.alignment is 48",
    ),
    "rank": (file_of(tensors=1, body=string("t") + struct.pack("<I", 9) + b"\0" * 64), "9 dimensions"),
    "type": (file_of(tensors=1, body=tensor("t", (32,), 99, 0)), "unknown type 99"),
    "no elements": (file_of(tensors=1, body=tensor("t", (0, 4), 0, 0)), r"the shape \[4, 0\]"),
    "elements": (file_of(tensors=1, body=tensor("t", (1 << 39, 1 << 39), 0, 0)), "the shape"),
    "half a block": (file_of(tensors=1, body=tensor("t", (40,), 2, 0)), "whole blocks of Q4_0"),
    "beyond the file": (file_of(tensors=1, body=tensor("t", (64,), 0, 0) + b"\0" * 32), "behind the file's end"),
    "offset": (file_of(tensors=1, body=tensor("t", (8,), 0, HUGE & ~31) + b"\0" * 64), "behind the file's end"),
    "not aligned": (file_of(tensors=1, body=tensor("t", (8,), 0, 4) + b"\0" * 64), "not aligned"),
    "overlap": (file_of(tensors=2, body=tensor("t", (8,), 0, 0) + tensor("u", (8,), 0, 0) + b"\0" * 64), "overlaps"),
    "tensor twice": (
        file_of(tensors=2, body=tensor("t", (8,), 0, 0) + tensor("t", (8,), 0, 32) + b"\0" * 96),
        "'t' stands twice",
    ),
}


@pytest.mark.parametrize(("raw", "message"), DAMAGED.values(), ids=list(DAMAGED))
def test_damage_is_told_in_one_line(tmp_path: Path, raw: bytes, message: str) -> None:
    path = tmp_path / "bad.gguf"
    path.write_bytes(raw)
    with pytest.raises((CheckpointError, UnsupportedModelError), match=message) as caught:
        read_header(path)
    assert caught.value.where == str(path) and "\n" not in str(caught.value) and caught.value.hint


def test_an_absent_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no such file"):
        open_checkpoint(tmp_path / "absent.gguf")


@pytest.mark.parametrize("share", [0.01, 0.3, 0.7, 0.999])
def test_a_file_cut_short(small: Path, share: float) -> None:
    raw = small.read_bytes()
    small.write_bytes(raw[: int(len(raw) * share)])
    with pytest.raises(CheckpointError):
        open_checkpoint(small)


def test_a_vocabulary_is_no_model(tmp_path: Path) -> None:
    writer = GGUFWriter(tmp_path / "v.gguf", "llama")
    for key in ("block_count", "embedding_length", "head_count"):
        getattr(writer, f"add_{key}")(4)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(CheckpointError, match=r"token_embd.weight' is missing"):
        open_checkpoint(tmp_path / "v.gguf")


DAMAGES = st.lists(
    st.tuples(
        st.floats(0, 1),
        st.sampled_from(["byte", "huge", "cut", "insert", "end"]),
        st.sampled_from([HUGE, 1 << 32, (1 << 64) - 1, 1 << 22, 3]),
        st.binary(min_size=1, max_size=30),
    ),
    min_size=1,
    max_size=4,
)


def damaged(raw: bytes, damages: list[tuple[float, str, int, bytes]]) -> bytes:
    """Bytes replaced, inserted, cut out, numbers made huge; half of it in the first kilobyte."""
    for place, kind, number, some in damages:
        at = int(2 * place * min(1024, len(raw))) if place < 0.5 else int((2 * place - 1) * len(raw))
        before, after = raw[:at], raw[at:]
        raw = (
            before
            + {
                "byte": some[:1] + after[1:],
                "huge": struct.pack("<Q", number) + after[8:],
                "cut": after[len(some) :],
                "insert": some + after,
                "end": b"",
            }[kind]
        )
    return raw


@settings(max_examples=150, deadline=None)
@given(damages=DAMAGES)
def test_no_damage_to_the_header_crashes_or_hangs(
    damages: list[tuple[float, str, int, bytes]], tmp_path_factory: pytest.TempPathFactory, fuzzed: bytes
) -> None:
    """Read, or refused in one line."""
    path = tmp_path_factory.getbasetemp() / "fuzzed.gguf"
    path.write_bytes(damaged(fuzzed, damages))
    message = ""
    try:
        checkpoint = prepare(path).checkpoint
        for name in checkpoint.names:
            checkpoint.tensor(name)
            if len(checkpoint.shape(name)) == 2 and checkpoint.keep is not None:
                checkpoint.keep(name)
    except LilimsError as exc:
        message = str(exc)
    assert "\n" not in message


@pytest.fixture(scope="module")
def fuzzed(checkpoint_of: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A model of one layer."""
    from lilims.conversion.random_checkpoint import write_random_checkpoint

    from .conftest import MODELS
    from .gguf_files import model_config

    def extra(writer: Any) -> None:
        tokens = ["<s>", "</s>", "<|im_end|>", *(chr(0x100 + i) for i in range(37))]
        write_vocabulary(writer, tokens, [3, 3, 3, *[1] * 37], bos=0, eos=1)
        writer.add_chat_template("{{ messages }}")

    folder = tmp_path_factory.mktemp("fuzzed")
    config = model_config("llama", MODELS, num_hidden_layers=1, vocab_size=40, hidden_size=32, intermediate_size=32)
    write_random_checkpoint(config, folder / "checkpoint", seed=1)
    write_gguf(folder / "checkpoint", folder / "model.gguf", packer("Q4_0"), extra=extra)
    prepare(folder / "model.gguf")
    return (folder / "model.gguf").read_bytes()


WRONG = {"numbers": [3, 5], "texts": ["a", "b"], "text": "seven", "number": 3, "nothing": 0, "negative": -7.5}


@pytest.mark.parametrize("kind", WRONG)
def test_keys_of_another_type_are_refused_or_do_no_harm(
    checkpoint_of: Callable[[str], Path], tmp_path: Path, kind: str
) -> None:
    """Every key in turn."""
    value = WRONG[kind]
    path = tmp_path / "model.gguf"

    def vocabulary(writer: Any) -> None:
        write_vocabulary(writer, [f"t{i}" for i in range(90)], [1] * 90, bos=1, eos=2)
        writer.add_uint32("split.count", 0)
        writer.add_uint32("split.tensors.count", 21)

    write_gguf(checkpoint_of("mistral"), path, packer("F16"), extra=vocabulary)
    prepare(path)
    keys = list(read_header(path).metadata)
    assert len(keys) > 20
    refused = 0
    for key in keys:

        def change(writer: Any, key: str = key) -> None:
            vocabulary(writer)
            writer.kv_data[0].pop(key, None)
            if isinstance(value, list):
                writer.add_array(key, value)
            else:
                types = {str: GGUFValueType.STRING, int: GGUFValueType.UINT32, float: GGUFValueType.FLOAT32}
                writer.add_key_value(key, value, types[type(value)])

        path.unlink()
        write_gguf(checkpoint_of("mistral"), path, packer("F16"), extra=change)
        try:
            prepare(path)
        except LilimsError:
            refused += 1
    assert 5 < refused < len(keys)


def test_a_tokenizer_that_cannot_be_read_names_the_model(checkpoint_of: Callable[[str], Path], tmp_path: Path) -> None:
    """Not the file that was made of it on the way."""

    def extra(writer: Any) -> None:
        writer.add_tokenizer_model("llama")
        writer.add_token_list(["<unk>", "a" * 9000])
        writer.add_token_types([2, 1])

    write_gguf(checkpoint_of("mistral"), tmp_path / "model.gguf", packer("F16"), extra=extra)
    with pytest.raises(TokenizerError, match="piece 1 is damaged") as caught:
        prepare(tmp_path / "model.gguf")
    assert caught.value.where == str(tmp_path / "model.gguf")


def test_more_tokens_than_rows(checkpoint_of: Callable[[str], Path], tmp_path: Path) -> None:
    def extra(writer: Any) -> None:
        write_vocabulary(writer, [f"t{i}" for i in range(91)], [1] * 91)

    write_gguf(checkpoint_of("mistral"), tmp_path / "model.gguf", packer("F16"), extra=extra)
    with pytest.raises(TokenizerError, match="91 tokens for an embedding of 90 rows"):
        prepare(tmp_path / "model.gguf")


def test_adapters_are_for_floats(small: Path) -> None:
    with pytest.raises(UnsupportedModelError, match="adapters are merged into floats"):
        open_checkpoint(small).adapt(None, ())  # type: ignore[arg-type]
