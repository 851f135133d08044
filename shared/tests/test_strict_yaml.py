"""YAML from strangers: what is read, and what is refused, with its line."""

from __future__ import annotations

import time

import pytest

from lilims.core.errors import InputError, ManifestError
from lilims.core.strict_yaml import parse


def test_values_and_lines() -> None:
    text = "a: 1\nb:\n  - x\n  - no\n  - '1'\nc: |\n  two\n  lines\nd: {e: true, f: null, g: -3, h: 1.5, i: 0x10}\n"
    document = parse(text.encode(), "f.yaml")
    assert document.value == {
        "a": 1, "b": ["x", "no", "1"], "c": "two\nlines\n",
        "d": {"e": True, "f": None, "g": -3, "h": "1.5", "i": "0x10"},
    }  # fmt: skip
    assert [document.line(p) for p in (("a",), ("b", 2), ("c",), ("d", "f"), ("absent",))] == [1, 5, 6, 9, 1]


BOMB = "a: &a [x,x]\n" + "\n".join(f"b{n}: &b{n} [*a,*a,*a]" for n in range(9))
HOSTILE = {
    "alias-bomb": (BOMB, "1: anchors and aliases"),
    "anchor": ("a: 1\nb: &x 2", "2: anchors and aliases"),
    "alias": ("a: *x", "1: "),
    "merge-key": ("a: &x {b: 1}\nc:\n  <<: *x", "1: anchors"),
    "python-tag": ("a: !!python/object/apply:os.system [id]", "1: the tag"),
    "own-tag": ("x: 1\na: !thing 1", "2: the tag"),
    "str-tag": ("a: !!str 1", "1: the tag"),
    "bang": ("a: ! x", "1: the tag"),
    "directive": ("%YAML 1.1\n---\na: 1", "2: directives|1: directives"),
    "tag-directive": ("%TAG ! tag:x,2000:\n---\na: 1", "directives"),
    "two-documents": ("a: 1\n---\nb: 2", "2: a second document"),
    "duplicate": ("a: 1\nb: 2\na: 3", "3: the key 'a' stands twice"),
    "duplicate-inside": ("a:\n  - {x: 1, 'x': 2}", "2: the key 'x' stands twice"),
    "key-list": ("? [a]\n: 1", "1: a key must be text"),
    "key-map": ("? {a: 1}\n: 1", "1: a key must be text"),
    "deep": ("[" * 2000 + "]" * 2000, "1: nested deeper"),
    "deep-map": ("{a: " * 200 + "1" + "}" * 200, "1: nested deeper"),
    "many": ("[" + "1," * 20000 + "]", "1: holds more than"),
    "large": ("a: " + "x" * 70000, "1: larger than"),
    "syntax": ("a: 1\nb: [", "[23]: not valid YAML"),
    "tab": ("a:\n\t- 1", "2: not valid YAML"),
    "control": ("a: 1\nb: \x07", "2: "),
    "empty": ("", "1: is empty"),
    "comment": ("# nothing\n", "1: is empty"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_documents_are_refused_with_their_line(name: str) -> None:
    text, words = HOSTILE[name]
    started = time.process_time()
    with pytest.raises(InputError, match=rf"^f\.yaml:({words}|.*{words})"):
        parse(text.encode(), "f.yaml")
    assert time.process_time() - started < 10


def test_bytes_that_are_no_text() -> None:
    with pytest.raises(InputError, match=r"f\.yaml:2: not UTF-8"):
        parse(b"a: 1\nb: \xff", "f.yaml")
    with pytest.raises(InputError, match=r"f\.yaml:1: "):
        parse("a: 1".encode("utf-16"), "f.yaml")


def test_both_parsers_of_the_library_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    import yaml

    from lilims.core import strict_yaml

    monkeypatch.setattr(strict_yaml, "_LOADER", yaml.SafeLoader)
    test_values_and_lines()
    for name in HOSTILE:
        test_hostile_documents_are_refused_with_their_line(name)


def test_errors_are_of_the_type_that_the_caller_wants() -> None:
    for text in ("a: *x", "a: 1\na: 2", "", "a: [", "a: \x07"):
        with pytest.raises(ManifestError, match=r"^f\.yaml:"):
            parse(text.encode(), "f.yaml", ManifestError)
