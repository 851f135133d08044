"""Damages files: bits, pieces, numbers, and the parts of JSON and protobuf messages with everything around them intact.

Knows formats' outer shape only. Must not know the readers. Every choice comes from the `Random` that is passed in, so a
case is its seed.
"""

from __future__ import annotations

import io
import json
import re
import struct
import warnings
import zipfile
from collections.abc import Callable
from random import Random
from typing import Any

__all__ = ["FORMATS", "mutate"]

Mutation = Callable[[bytes, Random], bytes]
_NUMBERS = (0, 1, 2, 7, 8, 127, 128, 255, 256, 65535, 65536, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32, 1 << 40,
            (1 << 63) - 1, 1 << 63, (1 << 64) - 1)  # fmt: skip
_TEXTS = (
    "-1",
    "0",
    "1",
    "4096",
    "16777216",
    "4294967296",
    "9" * 25,
    "9" * 400,
    "1e999",
    "-1e-999",
    "NaN",
    "0.5",
    "null",
    "true",
)
_VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 1, 255, 4096, 1 << 24, 1 << 31, 1 << 40, 1 << 70, 10**400, 0.5, -1e300, "", "a", "\0", "../x",
    "x" * 300, [], {}, [[]], [0] * 40, {"a": 1}, [[[[[[[[1]]]]]]]],
)  # fmt: skip
_DEPTH = 12


def mutate(data: bytes, kind: str, rng: Random, other: bytes = b"") -> bytes:
    """`data` with one to four damages of its format; `other` is a file that pieces are taken from."""
    ways, most = FORMATS[kind], 4 * len(data) + (1 << 16)
    for _ in range(rng.choice((1, 1, 1, 2, 3, 4))):
        way = rng.choice(ways)
        changed = _splice(data, rng, other or data) if way is _splice_own else way(data, rng)
        data = changed if len(changed) <= most else data
    return data


# -- bytes -------------------------------------------------------------------------------------------------------------


def _span(data: bytes, rng: Random) -> tuple[int, int]:
    start = rng.randrange(len(data) + 1)
    return start, min(len(data), start + rng.choice((1, 2, 4, 8, 16, 64, 256, 4096)))


def _flip(data: bytes, rng: Random) -> bytes:
    raw = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8)) if raw else 0):
        raw[rng.randrange(len(raw))] ^= 1 << rng.randrange(8)
    return bytes(raw)


def _truncate(data: bytes, rng: Random) -> bytes:
    return data[: rng.randrange(len(data) + 1)]


def _delete(data: bytes, rng: Random) -> bytes:
    start, end = _span(data, rng)
    return data[:start] + data[end:]


def _repeat(data: bytes, rng: Random) -> bytes:
    start, end = _span(data, rng)
    return data[:end] + data[start:end] * rng.choice((1, 2, 16)) + data[end:]


def _splice(data: bytes, rng: Random, other: bytes) -> bytes:
    start, end = _span(data, rng)
    from_, to = _span(other, rng)
    return data[:start] + other[from_:to] + data[rng.choice((start, end)) :]


def _splice_own(data: bytes, rng: Random) -> bytes:
    return _splice(data, rng, data)


def _noise(data: bytes, rng: Random) -> bytes:
    start, end = _span(data, rng)
    return data[:start] + rng.randbytes(min(end - start, 64)) + data[end:]


def _number(data: bytes, rng: Random) -> bytes:
    """A little-endian number in the place of four or eight bytes, aligned or not."""
    layout = rng.choice(("<I", "<Q"))
    size = struct.calcsize(layout)
    value = rng.choice((*_NUMBERS, len(data), max(0, len(data) - 8))) & ((1 << 8 * size) - 1)
    place = rng.randrange(len(data) + 1)
    if rng.random() < 0.5:
        place -= place % size
    return data[:place] + struct.pack(layout, value) + data[place + size :]


# -- text and JSON -----------------------------------------------------------------------------------------------------


def _number_text(data: bytes, rng: Random) -> bytes:
    found = [m.span() for m in re.finditer(rb"-?\d+(?:\.\d+)?(?:[eE]-?\d+)?", data)]
    if not found:
        return data
    start, end = rng.choice(found)
    return data[:start] + rng.choice(_TEXTS).encode() + data[end:]


def _nest(data: bytes, rng: Random) -> bytes:
    place, depth = rng.randrange(len(data) + 1), rng.choice((10, 1000, 100_000))
    return data[:place] + rng.choice((b"[", b'{"a":')) * depth + data[place:]


def _lines(data: bytes, rng: Random) -> bytes:
    lines = data.split(b"\n")
    first, second = rng.randrange(len(lines)), rng.randrange(len(lines))
    lines[first] = rng.choice(
        (lines[second], b"", b" ", lines[first] + b" " + lines[second], b"\xff", lines[first] * 3)
    )
    return b"\n".join(lines)


def _json(data: bytes, rng: Random) -> bytes:
    """One value of a JSON document is replaced, removed, doubled or taken from elsewhere in it."""
    try:
        root = json.loads(data)
    except (ValueError, RecursionError):
        return _flip(data, rng)
    places = list(_places(root, 0))
    if not places:
        return json.dumps(rng.choice(_VALUES)).encode()
    holder, key = rng.choice(places)
    action = rng.randrange(5)
    if action == 0:
        del holder[key]
    elif action == 1:
        other, name = rng.choice(places)
        holder[key] = json.loads(json.dumps(other[name]))
    elif action == 2 and isinstance(holder, dict):
        holder[rng.choice(("", "x" * 300, "a", "..", "type", key + key, "\ud800"))] = holder[key]
    elif action == 3 and isinstance(holder, list):
        holder.extend(holder[: rng.choice((1, 10, 1000))])
    else:
        holder[key] = rng.choice(_VALUES)
    return json.dumps(root).encode()


def _places(value: Any, depth: int) -> Any:
    """Every place in a document: (container, key)."""
    if depth > 40 or not isinstance(value, (dict, list)):
        return
    for key in list(value) if isinstance(value, dict) else range(len(value)):
        yield value, key
        yield from _places(value[key], depth + 1)


def _duplicate_key(data: bytes, rng: Random) -> bytes:
    found = list(re.finditer(rb'"[^"\\]*"\s*:\s*(?:"[^"\\]*"|[-\d.]+|true|false|null)', data))
    if not found:
        return data
    pair = rng.choice(found)
    return data[: pair.end()] + b"," + pair[0] + data[pair.end() :]


def _safetensors(data: bytes, rng: Random) -> bytes:
    """The header is damaged as JSON, its length is put right."""
    length = int.from_bytes(data[:8], "little")
    way = rng.choice((_json, _json, _json, _number_text, _duplicate_key, _nest, _flip))
    header = way(data[8 : 8 + length], rng)
    return struct.pack("<Q", len(header)) + header + data[8 + length :]


def _torch(data: bytes, rng: Random) -> bytes:
    """A member of the archive that torch.save() writes is damaged, mostly the pickle; checksums are put right."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as old:
            members = {name: old.read(name) for name in old.namelist()}
    except Exception:  # what was damaged before
        return _flip(data, rng)
    if not members:
        return data
    pickled = next((name for name in members if name.endswith("data.pkl")), min(members))
    chosen = pickled if rng.random() < 0.7 else rng.choice(sorted(members))
    action = rng.randrange(8)
    if action == 0:
        del members[chosen]
    elif action == 1:
        members[rng.choice((chosen + "x", "../" + chosen, "b/data.pkl", "archive/code/a.py"))] = members[chosen]
    elif action == 2:
        members[pickled] = _hostile(members[pickled], rng)
    else:
        members[chosen] = rng.choice((_flip, _flip, _delete, _repeat, _noise, _number, _truncate))(members[chosen], rng)
    out = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(out, "w") as new:
        warnings.simplefilter("ignore")  # of two members of one name
        for name, raw in members.items():
            new.writestr(name, raw)
    return out.getvalue()


def _hostile(data: bytes, rng: Random) -> bytes:
    """A pickle with another number in the place of one, or that calls something that it should not."""
    found = list(re.finditer(rb"K(.)|M(..)|J(....)", data, re.DOTALL))
    if rng.random() < 0.7 and found:
        place = rng.choice(found)
        number = rng.choice((b"K\0", b"K\xff", b"M\xff\xff", b"J\xff\xff\xff\x7f", b"J\xff\xff\xff\xff",
                             b"\x8a\x08" + (1 << 40).to_bytes(8, "little"), b"G\x7f\xf0\0\0\0\0\0\0"))  # fmt: skip
        return data[: place.start()] + number + data[place.end() :]
    called = rng.choice((b"builtins\nbytearray", b"torch\nFloatTensor", b"torch.storage\nUntypedStorage", b"os\nsystem",
                         b"torch._utils\n_rebuild_sparse_tensor", b"collections\nCounter"))  # fmt: skip
    return b"\x80\x02c" + called + b"\nJ\xff\xff\xff\x7f\x85R."


# -- protobuf ----------------------------------------------------------------------------------------------------------

Field = tuple[int, int, Any]  # number, wire type, value: an int, bytes or a list of fields


def _protobuf(data: bytes, rng: Random) -> bytes:
    """One field, at any depth, is changed, removed, doubled or taken from elsewhere; all lengths are put right."""
    root = _fields(data, 0)
    if not root:
        return _flip(data, rng)
    message = root
    while True:
        at = rng.randrange(len(message))
        number, wire, value = message[at]
        if isinstance(value, list) and value and rng.random() < 0.9:
            message = value
            continue
        break
    action = rng.randrange(7)
    if action == 0:
        del message[at]
    elif action == 1:
        message.insert(at, message[at])
    elif action == 2:
        message[at] = (rng.choice((number + 1, max(1, number - 1), rng.randrange(1, 600))), wire, value)
    elif action == 3:
        message[at] = message[rng.randrange(len(message))]
    elif action == 4:
        message.extend([message[at]] * (rng.choice((2, 50, 2000)) if not isinstance(value, list) else 2))
    elif isinstance(value, int):
        message[at] = (number, wire, rng.choice(_NUMBERS) if rng.random() < 0.7 else value ^ 1 << rng.randrange(63))
    elif isinstance(value, bytes):
        changed = rng.choice((_flip, _truncate, _delete, _repeat, _noise))(value, rng)
        message[at] = (number, wire, changed if wire == 2 else (changed + value)[: len(value)])
    else:
        message[at] = (number, wire, [])
    return _encode(root)


def _fields(data: bytes, depth: int) -> list[Field] | None:
    """The fields of a message, None where the bytes are none. Whether bytes nest is a guess."""
    fields: list[Field] = []
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if at < 0 or not 0 < number < 5000:
            return None
        value: Any
        if wire == 0:
            value, at = _varint(data, at)
            if at < 0:
                return None
        elif wire in (1, 5, 2):
            size = 8 if wire == 1 else 4
            if wire == 2:
                size, at = _varint(data, at)
            if at < 0 or at + size > len(data):
                return None
            value = data[at : at + size]
            at += size
            if wire == 2 and value and depth < _DEPTH and not value[:1].isalpha():
                value = _fields(value, depth + 1) or value
        else:
            return None
        fields.append((number, wire, value))
    return fields


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for index, byte in enumerate(data[at : at + 10]):
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return value, at + index + 1
    return 0, -1


def _encode(fields: list[Field]) -> bytes:
    out = bytearray()
    for number, wire, value in fields:
        out += _encode_varint(number << 3 | wire)
        if wire == 0:
            out += _encode_varint(value & (1 << 64) - 1)
        else:
            raw = _encode(value) if isinstance(value, list) else value
            out += (_encode_varint(len(raw)) if wire == 2 else b"") + raw
    return bytes(out)


def _encode_varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


_BYTES: tuple[Mutation, ...] = (_flip, _truncate, _delete, _repeat, _splice_own, _noise, _number)
FORMATS: dict[str, tuple[Mutation, ...]] = {
    "bytes": _BYTES,
    "blob": (*_BYTES, _number, _number, _number),
    "json": (*_BYTES, _number_text, _number_text, _duplicate_key, _nest, *[_json] * 12),
    "lines": (*_BYTES, *[_lines] * 8),
    "safetensors": (*_BYTES, *[_safetensors] * 12),
    "protobuf": (*_BYTES, *[_protobuf] * 14),
    "torch": (*_BYTES, *[_torch] * 14),
}
