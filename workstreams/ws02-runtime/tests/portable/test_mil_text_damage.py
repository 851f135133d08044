"""Text of compiled models that is damaged, cut, hostile: an error that says where, in little time and memory."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lilims.core.errors import LilimsError, PackageError, UnsupportedError
from lilims.runtime.portable import MLModel
from lilims.runtime.portable.mil_text import parse_program
from lilims.runtime.portable.package import Package
from lilims.runtime.portable.program import Constant
from lilims.runtime.portable.reader import read_program

from .mil_samples import ENUMERATED, LABELS, NESTED, NEW, OLD, RANGES, WEIGHT, weights, write_folder


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., Path]:
    """Writes a compiled folder."""
    return partial(write_folder, tmp_path)


# -- bad text ----------------------------------------------------------------------------------------------------------

BAD = {
    "empty": (OLD, "", r"line 1, column 1: 'program' is missing"),
    "cut": ("-> (out, new_state);\n}", "", r"line 18, column 11: '->' is missing"),
    "another version": ("program(1.0)", "program(2.0)", "MIL text of version '2.0'"),
    "another character": ("linear_0 =", "linear_0 ¤", r"line 9, column 43: '¤' is no token"),
    "string without end": ('"fp32")', '"fp32)', r"line 15, column 70: a string is not closed|expected"),
    "unknown type": ("tensor<fp16, [1, 4]> audio_to", "tensor<fp17, [1, 4]> audio_to",
                     "line 6, column 13: 'fp17' is no element"),
    "open type": ("tensor<fp16, [1, 4]> audio_to", "tensor<fp16, [1, 4> audio_to",
                  "line 6, column 19: a tensor's type is not"),
    "size": ("tensor<fp16, [1, 4]> audio_to", "tensor<fp16, [1, -4]> audio_to", "'-4' is no size"),
    "huge size": ("tensor<fp16, [1, 4]> audio_to", f"tensor<fp16, [1, {'9' * 5000}]> audio_to", "is no size"),
    "ranks": ("tensor<fp16, [1, 4]> audio_to", f"tensor<fp16, [{'1, ' * 40}4]> audio_to", "41 dimensions"),
    "too few": ("[0x1p-1, -0x1.8p+1]", "[0x1p-1]",
                r"line 8, column \d+: a literal has 1 elements along axis 0, its type says 2"),
    "too deep": ("[0x1p-1, -0x1.8p+1]", "[[0x1p-1, -0x1.8p+1]]", "a list of numbers without lists in it is expected"),
    "no number": ("[0x1p-1, -0x1.8p+1]", "[0x1p-1, two]", "a list holds something that is no fp16"),
    "huge number": ("[1, 1]", f"[1, {'1' * 9999}]", "a list holds something that is no int32"),
    "range": ("[1, 1]", "[1, 2147483648]", "a literal does not fit its type int32"),
    "huge float": ("[0x1p-1, -0x1.8p+1]", "[0x1p-1, 0x1p+99999]", "a list holds something that is no fp16"),
    "no bool": ("tensor<bool, []>(false)", "tensor<bool, []>(0)", "'0' is no bool"),
    "offset": ("tensor<uint64, []>(64)", "tensor<uint64, []>(-64)", "BLOBFILE's 'offset' is none"),
    "offset is no number": ("tensor<uint64, []>(64)", 'tensor<string, []>("64")', "BLOBFILE's 'offset' is none"),
    "no offset": (", offset = tensor<uint64, []>(64)", "", "BLOBFILE needs a path and an offset"),
    "input twice": ("bias = bias, weight", "bias = bias, bias", "the input 'bias' stands twice"),
    "no name": ("axis = axis_0, split", "axis = , split", r"'\(' is expected here, not ','"),
    "after the end": ("new_state);\n}", "new_state);\n} func", "the end of the program is expected here, not 'func'"),
    "escape": ('"fp32"', r'"fp\q32"', r"line 15, column 129: a string has the unknown escape \\q"),
    "half a character": ('"fp32"', r'"\ud83d"', r"a string has the unknown escape \\ud83d"),
    "git lfs": (OLD, "version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "a pointer of Git LFS"),
    "output from nowhere": ("-> (out, new_state)", "-> (out, other)", "the output 'other' is made nowhere"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_text_says_where(folder: Any, name: str) -> None:
    old, new, message = BAD[name]
    assert old in OLD
    path = folder(OLD.replace(old, new), weights(WEIGHT))
    with pytest.raises((PackageError, UnsupportedError), match=message) as caught:
        Package(path)
    assert "\n" not in str(caught.value)


def test_weights_that_are_a_pointer(folder: Any) -> None:
    path = folder(OLD, b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n")
    with pytest.raises(PackageError, match=r"weight\.bin: a pointer of Git LFS") as caught:
        MLModel(path)
    assert caught.value.hint == "fetch it: git lfs pull"


def test_text_that_is_no_text(folder: Any) -> None:
    with pytest.raises(PackageError, match=r"model\.mil: not text: invalid start byte at byte 3"):
        Package(folder(b"pro\xff"))


@pytest.mark.parametrize(
    "metadata",
    [
        {"inputSchema": [{"name": "other"}]},
        {"inputSchema": [{}]},
        {"inputSchema": 5},
        {"inputSchema": [{"name": "audio", "type": "Image"}]},
        {"inputSchema": [{"name": "audio", "shape": "[" * 100_000}]},
        {"inputSchema": [{"name": "audio", "shape": "[1e400]"}]},
        {"inputSchema": [{"name": "audio", "shapeRange": "[[1]]"}]},
        {"functions": [7]},
        {"userDefinedMetadata": [1]},
    ],
    ids=["other input", "no name", "no list", "no size", "deep", "infinite", "no range", "no function", "list"],
)
def test_metadata_that_contradicts(folder: Any, metadata: Any) -> None:
    with pytest.raises(PackageError, match=r"metadata\.json: the features' description is damaged"):
        Package(folder(OLD, weights(WEIGHT), metadata))


DEEP = {
    "types": "list<" * 50_000 + "tensor<fp16, [1]>" + ", 1>" * 50_000 + " x",
    "tuples": "tuple<" * 50_000,
    "states": "state<" * 50_000,
}


@pytest.mark.parametrize("kind", DEEP)
def test_deep_types(kind: str) -> None:
    with pytest.raises(PackageError, match="types are nested too deep"):
        parse_program(f"program(1.0) {{ func main<ios17>({DEEP[kind]}", where="test")


def test_deep_bodies_and_arguments() -> None:
    head = "program(1.0) { func main<ios17>() { "
    with pytest.raises(PackageError, match="bodies are nested too deep"):
        parse_program(head + "bool x = cond() b() { " * 50_000, where="test")
    with pytest.raises(PackageError, match="arguments are nested too deep"):
        parse_program(head + "bool x = cond(y = " + "(" * 50_000, where="test")


@pytest.mark.parametrize(
    "part", ["tensor<", "tensor<a,[", "tensor ", '"\\', '"', "0x", "1e", "-", "[", "a = (", " " * 50], ids=repr
)
def test_time_is_linear_in_hostile_text(part: str) -> None:
    """What a pattern that goes back would need minutes or years for."""
    text = "program(1.0) { func main<ios17>(" + part * (2_000_000 // len(part))
    with pytest.raises(PackageError):
        parse_program(text, where="test")


SIGNS = '[](){}<>,;="\\?-x0 \0é'
SIZES = ("1", "2", "3", "4", "64")
WORDS = ("fp16", "fp32", "int32", "string", "bool", "uint64", "add", "mul")


def mutated(text: str, rng: random.Random) -> str:
    """A text with one to five deletions, copies, other signs, other numbers, other words or deep nesting."""
    for _ in range(rng.choice([1, 1, 2, 5])):
        at, other = rng.randrange(len(text)), rng.randrange(len(text))
        part = text[at : at + rng.choice([1, 2, 8, 60, 400])]
        kind = rng.randrange(6)
        if kind == 0:
            text = text[:at] + text[at + len(part) :]
        elif kind == 1:
            text = text[:other] + part + text[other:]
        elif kind == 2:
            text = text[:at] + rng.choice(SIGNS) + text[at + 1 :]
        elif kind == 3:
            text = text.replace(rng.choice(SIZES), str(rng.choice([0, 7, -1, 2**31, 2**62])), 2)
        elif kind == 4:
            text = text.replace(*rng.sample(WORDS, 2))
        else:
            text = text[:at] + rng.choice("[({<") * 3000 + text[at:]
        text = text or "x"
    return text


def test_damaged_text_ends_in_an_error_or_in_a_model(folder: Any) -> None:
    """Deletions, swaps, nesting, huge sizes, offsets that leave the file."""
    path = folder(OLD, weights(WEIGHT))
    refused = 0
    for seed in range(400):
        rng = random.Random(seed)
        text = mutated(rng.choice([OLD, NEW, RANGES, ENUMERATED, NESTED, LABELS]), rng)
        (path / "model.mil").write_text(text, encoding="utf-8")
        tracemalloc.start()
        try:
            program = read_program(Package(path))
            for function in program.functions.values():
                for op in function.ops:
                    for argument in (a for given in op.inputs.values() for a in given if isinstance(a, Constant)):
                        argument.load()
        except LilimsError:
            refused += 1
        except Exception as exc:
            raise AssertionError(f"seed {seed}") from exc
        finally:
            most = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert most < 32 << 20, f"seed {seed}"
    assert 200 < refused < 400
