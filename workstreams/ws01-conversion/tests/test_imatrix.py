"""Importance matrices of llama.cpp, in both forms: what is read, what it changes, what is refused."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lilims.conversion import convert
from lilims.conversion.policy.imatrix import read_imatrix
from lilims.conversion.policy.plan import make_plan, read_wishes
from lilims.conversion.prepare import prepare
from lilims.core.errors import InputError, LilimsError
from lilims.core.events import Event, listening

Entries = dict[str, np.ndarray]


def legacy(entries: Entries, calls: int = 4, tail: bytes = b"") -> bytes:
    """As llama.cpp's tools/imatrix wrote it before August 2025."""
    data = struct.pack("<i", len(entries))
    for name, values in entries.items():
        data += struct.pack("<i", len(name)) + name.encode() + struct.pack("<ii", calls, values.size)
        data += (values * calls).astype("<f4").tobytes()
    return data + tail


def gguf(entries: Entries, counts: dict[str, np.ndarray], path: Path) -> None:
    """The same in GGUF form, written by the package gguf."""
    writer = pytest.importorskip("gguf").GGUFWriter(path, "imatrix")
    writer.add_type("imatrix")
    writer.add_array("imatrix.datasets", ["text.txt"])
    writer.add_uint32("imatrix.chunk_count", 1)
    for name, values in entries.items():
        writer.add_tensor(f"{name}.in_sum2", values.astype(np.float32))
        writer.add_tensor(f"{name}.counts", counts[name].astype(np.float32).reshape(-1, 1))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def plan_of(source: Path, path: Path, **options: Any) -> Any:
    given = prepare(source)
    return make_plan(read_wishes(imatrix=path, **options), given.spec, given.names)


@pytest.fixture
def entries(checkpoint_of: Callable[[str], Path]) -> Entries:
    """Plausible entries for every matrix of the tiny llama (hidden 64, MLP 112, attention 96 wide)."""
    spec = prepare(checkpoint_of("llama")).spec
    names = {"q": "attn_q", "k": "attn_k", "v": "attn_v", "o": "attn_output"}
    names |= {"gate": "ffn_gate", "up": "ffn_up", "down": "ffn_down"}
    rng = np.random.default_rng(0)
    found = {}
    for role, shape in spec.roles():
        if role.startswith("layers.") and len(shape) == 2:
            _, layer, _, part, _ = role.split(".")
            found[f"blk.{layer}.{names[part]}.weight"] = rng.exponential(1, shape[1])
    found["output.weight"] = rng.exponential(1, 64)
    return found


def test_the_legacy_form(tmp_path: Path) -> None:
    values = {"blk.0.attn_q.weight": np.array([1.0, 2.5]), "output.weight": np.array([3.0])}
    for name, tail in (("short", b""), ("long", struct.pack("<ii", 7, 4) + b"text")):
        (tmp_path / name).write_bytes(legacy(values, tail=tail))
        found = read_imatrix(tmp_path / name)
        assert {key: value.tolist() for key, value in found.entries.items()} == {
            "blk.0.attn_q.weight": [[1.0, 2.5]],
            "output.weight": [[3.0]],
        }
        assert found.sha256 == hashlib.sha256((tmp_path / name).read_bytes()).hexdigest()


def test_the_gguf_form(tmp_path: Path) -> None:
    """Sums over counts, expert by expert; an expert that was never called weighs its channels alike."""
    sums = {"blk.0.ffn_up.weight": np.array([[8.0, 2.0]]), "blk.1.ffn_up_exps.weight": np.array([[4.0, 8.0], [0, 0]])}
    counts = {"blk.0.ffn_up.weight": np.array([4]), "blk.1.ffn_up_exps.weight": np.array([2, 0])}
    gguf(sums, counts, tmp_path / "i.gguf")
    found = read_imatrix(tmp_path / "i.gguf").entries
    assert {name: values.tolist() for name, values in found.items()} == {
        "blk.0.ffn_up.weight": [[2.0, 0.5]],
        "blk.1.ffn_up_exps.weight": [[2.0, 4.0], [1.0, 1.0]],
    }


def test_weights_by_role(checkpoint_of: Callable[[str], Path], entries: Entries, tmp_path: Path) -> None:
    (tmp_path / "i.dat").write_bytes(legacy(entries))
    plan = plan_of(checkpoint_of("llama"), tmp_path / "i.dat")
    roles = {role for role, scheme in plan.schemes.items() if scheme.kind == "int"}
    tied = prepare(checkpoint_of("llama")).spec.tied
    assert set(plan.importance) == roles - (set() if tied else {"embedding"})  # whose rows are only looked up
    down = entries["blk.1.ffn_down.weight"]
    np.testing.assert_allclose(plan.importance["layers.1.mlp.down.weight"], down / down.mean(), rtol=1e-5)
    assert plan.importance_of("layers.1.mlp.down.weight", 128)[112:].tolist() == [0] * 16
    assert str(plan.scheme_of("layers.1.mlp.down.weight")) == "int4-g32-search"


def test_experts_and_fused_matrices_find_theirs(checkpoint_of: Callable[[str], Path], tmp_path: Path) -> None:
    spec = prepare(checkpoint_of("mixtral")).spec
    hidden, experts = spec.hidden_size, spec.layers[0].mlp.count  # type: ignore[union-attr]
    values = np.arange(1.0, experts * hidden + 1)
    (tmp_path / "i.dat").write_bytes(
        legacy({"blk.0.ffn_up_exps.weight": values, "blk.1.attn_qkv.weight": values[:hidden]})
    )
    found = plan_of(checkpoint_of("mixtral"), tmp_path / "i.dat").importance
    last = values[-hidden:]
    np.testing.assert_allclose(found[f"layers.0.mlp.experts.{experts - 1}.up.weight"], last / last.mean(), rtol=1e-5)
    assert {"layers.1.attention.q.weight", "layers.1.attention.v.weight"} <= set(found)


def test_what_it_changes(checkpoint_of: Callable[[str], Path], entries: Entries, tmp_path: Path) -> None:
    """Codes, and what the manifest and the events say; a part that is not covered is told."""
    del entries["blk.0.attn_q.weight"]
    (tmp_path / "i.dat").write_bytes(legacy(entries))
    heard: list[Event] = []
    with listening(heard.append):
        found = convert(checkpoint_of("llama"), tmp_path / "with", name="m", imatrix=tmp_path / "i.dat").manifest
    without = convert(checkpoint_of("llama"), tmp_path / "without", name="m", quantize="int4-search").manifest
    weights = "model.mlpackage/Data/com.apple.CoreML/weights/weight.bin"
    assert found.files[weights].sha256 != without.files[weights].sha256
    assert found.quantization.imatrix == hashlib.sha256((tmp_path / "i.dat").read_bytes()).hexdigest()
    assert found.quantization.scheme == "int4-search"
    (told,) = [e.fields for e in heard if e.name == "convert.imatrix"]
    assert told["covered"] < told["matrices"]


GOOD = {"blk.0.attn_q.weight": np.ones(64)}
WRONG: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "has 0 bytes"),
    "short": (legacy(GOOD)[:-1], "ends in the middle of an entry"),
    "negative-count": (struct.pack("<i", -1), "is no importance matrix: -1 at byte 0"),
    "huge-name": (struct.pack("<ii", 1, 1 << 30), "is no importance matrix: 1073741824 at byte 4"),
    "huge-entry": (struct.pack("<ii", 1, 1) + b"a" + struct.pack("<ii", 1, 1 << 27), "ends in the middle of an entry"),
    "text": (b"an importance matrix, honestly", "is no importance matrix"),
    "nan": (legacy({"blk.0.attn_q.weight": np.array([np.nan] * 64)}), "no mean of squares"),
    "signalling-nan": (legacy(GOOD)[:-4] + b"\x01\x00\x80\x7f", "no mean of squares"),
    "infinite": (legacy(GOOD)[:-4] + b"\x00\x00\x80\x7f", "no mean of squares"),
    "below-zero": (legacy({"blk.0.attn_q.weight": np.array([-1.0] * 64)}), "no mean of squares"),
    "other-model": (legacy({"blk.0.attn_q.weight": np.ones(65)}), "'blk.0.attn_q.weight' has 65 values"),
    "nothing": (legacy({"blk.9.attn_q.weight": np.ones(64)}), "covers no tensor of this model"),
    "damaged-gguf": (b"GGUF" + b"\xff" * 40, ""),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_file_is_one_line(checkpoint_of: Callable[[str], Path], tmp_path: Path, name: str) -> None:
    data, message = WRONG[name]
    (tmp_path / "i.dat").write_bytes(data)
    with pytest.raises(LilimsError, match=rf"i\.dat: .*{message}"):
        plan_of(checkpoint_of("llama"), tmp_path / "i.dat")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        read_imatrix(tmp_path / "none")


@pytest.fixture(scope="module")
def forms(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A small good file of each form."""
    path = tmp_path_factory.mktemp("good") / "i.gguf"
    sums = {"blk.0.attn_q.weight": np.ones((1, 8)), "output.weight": np.ones((2, 3))}
    gguf(sums, {"blk.0.attn_q.weight": np.array([4]), "output.weight": np.array([2, 0])}, path)
    return {
        "legacy": legacy({"blk.0.attn_q.weight": np.ones(8), "output.weight": np.ones(3)}),
        "gguf": path.read_bytes(),
    }


@pytest.mark.parametrize("form", ["legacy", "gguf"])
@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_damage_is_refused_or_read_never_a_crash(
    forms: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory, form: str, data: st.DataObject
) -> None:
    raw = bytearray(forms[form])
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged.dat"
    path.write_bytes(raw[: data.draw(st.integers(0, len(raw)))])
    try:
        found = read_imatrix(path)
    except LilimsError:
        return
    assert sum(values.size for values in found.entries.values()) * 4 <= len(raw)


PATTERNS = (b"\x00\x00\xc0\x7f", b"\x01\x00\x80\x7f", b"\x00\x00\x80\xff", b"\x00\x00\x80\xbf", b"\x01\x00\x00\x00")


@pytest.mark.parametrize("pattern", PATTERNS, ids=["nan", "signalling-nan", "infinite", "minus-one", "subnormal"])
@pytest.mark.parametrize("form", ["legacy", "gguf"])
def test_any_number_may_stand_where_a_float_does(
    forms: dict[str, bytes], tmp_path: Path, form: str, pattern: bytes
) -> None:
    """A NaN that signals, or a quotient beyond float32, is no warning of NumPy's but the file's line, or a value."""
    raw, path = forms[form], tmp_path / "i.dat"
    for place in range(len(raw) % 4, len(raw), 4):
        path.write_bytes(raw[:place] + pattern + raw[place + 4 :])
        try:
            values = list(read_imatrix(path).entries.values())
        except LilimsError:
            continue
        assert all(np.isfinite(each).all() and (each >= 0).all() for each in values), place
