"""The contract: a package that fits passes, and every way to differ is named."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lilims.core.errors import ContractError
from lilims.core.testing import test_data
from lilims.runtime import contract
from lilims.runtime.contract import FunctionInterface
from lilims.runtime.portable.package import Package
from lilims.runtime.portable.program import (
    Function,
    Op,
    Program,
    Ref,
    StateType,
    TensorType,
    Value,
)
from lilims.runtime.portable.reader import read_program, read_signatures

from .fakes import CHUNK, PADDED, ROWS, VOCAB, interfaces_of, manifest_of

Changeable = dict[str, FunctionInterface]
FUNCTIONS = manifest_of().model_dump()["functions"]


def test_a_package_that_fits() -> None:
    manifest = manifest_of()
    contract.check(manifest, interfaces_of(manifest), package="p")
    shape = contract.decoder_shape(manifest, package="p")
    assert (shape.context, shape.rows, dict(shape.functions)) == (40, ROWS, {"decode": 1, "prefill": 8, "score": 8})
    assert shape.padding == 7
    assert shape.rotary is not None
    assert shape.rotary.rotary_dim == 4


def feature(function: str, part: str, name: str, type_: TensorType | None) -> Callable[[Changeable], None]:
    """Changes one feature; None removes it."""

    def change(found: Changeable) -> None:
        features = dict(getattr(found[function], part))
        if type_ is None:
            del features[name]
        else:
            features[name] = type_
        found[function] = replace(found[function], **{part: features})

    return change


def without(function: str) -> Callable[[Changeable], None]:
    def change(found: Changeable) -> None:
        del found[function]

    return change


def undescribed(found: Changeable) -> None:
    names = frozenset({"input_ids", "slot", "attention_mask", "cos", "sin", "kv_cache", "logits"})
    found["prefill"] = replace(found["prefill"], described=names)


PACKAGES: dict[str, tuple[Callable[[Changeable], None], str, str]] = {
    "function": (without("prefill"), "p: prefill", "lacks this function"),
    "input-missing": (
        feature("decode", "inputs", "slot", None), "p: decode.slot", "missing; the contract wants int32 [1]",
    ),
    "input-dtype": (
        feature("decode", "inputs", "input_ids", TensorType("fp16", (1, 1))), "p: decode.input_ids",
        "is fp16 [1, 1]; the contract wants int32 [1, 1]",
    ),
    "mask-rows": (
        feature("score", "inputs", "attention_mask", TensorType("fp16", (1, 1, CHUNK, 32))), "p: score.attention_mask",
        f"is fp16 [1, 1, 8, 32]; the contract wants fp16 [1, 1, 8, {ROWS}]",
    ),
    "rotary-width": (
        feature("score", "inputs", "cos", TensorType("fp16", (1, 1, CHUNK, 8))), "p: score.cos",
        "wants fp16 [1, 1, 8, 4]",
    ),
    "flexible": (
        feature("score", "inputs", "input_ids", TensorType("int32", (1, None))), "p: score.input_ids",
        "is int32 [1, ?]",
    ),
    "last": (feature("prefill", "inputs", "last", None), "p: prefill.last", "the input is missing"),
    "unknown-input": (
        feature("score", "inputs", "last", TensorType("int32", (1,))), "p: score.last", "knows no input of this name",
    ),
    "state-missing": (feature("decode", "states", "kv_cache", None), "p: decode.kv_cache", "the state is missing"),
    "state-shape": (
        feature("decode", "states", "kv_cache", TensorType("fp16", (2, 1, ROWS, 32))), "p: decode.kv_cache",
        "[2, 1, 64, 32]",
    ),
    "second-state": (
        feature("decode", "states", "v_cache", TensorType("fp16", (4, 1, ROWS, 32))), "p: decode.v_cache", "no state",
    ),
    "no-logits": (feature("decode", "outputs", "logits", None), "p: decode", "the outputs are none"),
    "more-outputs": (
        feature("decode", "outputs", "hidden", TensorType("fp16", (1, 1, 8))), "p: decode", "logits, hidden",
    ),
    "logits-of-all-rows": (
        feature("prefill", "outputs", "logits", TensorType("fp16", (1, CHUNK, PADDED))), "p: prefill.logits",
        "is fp16 [1, 8, 320]; the contract wants fp16 [1, 1, V]",
    ),
    "logits-not-padded": (
        feature("decode", "outputs", "logits", TensorType("fp16", (1, 1, VOCAB))), "p: decode.logits", "multiple of 64",
    ),
    "logits-too-narrow": (
        feature("decode", "outputs", "logits", TensorType("fp16", (1, 1, 256))), "p: decode.logits",
        "vocabulary of 258",
    ),
    "logits-fp32": (
        feature("decode", "outputs", "logits", TensorType("fp32", (1, 1, PADDED))), "p: decode.logits", "is fp32",
    ),
    "undescribed": (undescribed, "p: prefill.last", "the package's description of the function lacks it"),
}  # fmt: skip


@pytest.mark.parametrize("case", PACKAGES)
def test_packages_that_differ(case: str) -> None:
    change, where, words = PACKAGES[case]
    manifest = manifest_of()
    found = interfaces_of(manifest)
    change(found)
    with pytest.raises(ContractError) as caught:
        contract.check(manifest, found, package="p")
    assert caught.value.where == where
    assert words in caught.value.message
    assert caught.value.hint


def function(name: str, **changes: Any) -> dict[str, Any]:
    return {**FUNCTIONS, name: {**FUNCTIONS[name], **changes}}


def with_bucket(name: str = "decode_32", **changes: Any) -> dict[str, Any]:
    base = FUNCTIONS[name.partition("_")[0]]
    return {**FUNCTIONS, name: {**base, "rows": 32, **changes}}


MANIFESTS: dict[str, tuple[dict[str, Any], str]] = {
    "state-layers": ({"state": {"shape": [2, 1, ROWS, 32]}}, "2 layers need [4, 1, R, head_dim]"),
    "state-heads": ({"state": {"shape": [4, 2, ROWS, 32]}}, "2 layers need [4, 1, R, head_dim]"),
    "rows-multiple": ({"state": {"shape": [4, 1, 60, 32]}}, "multiples of 32"),
    "width-multiple": ({"state": {"shape": [4, 1, ROWS, 4]}}, "multiples of 32"),
    "no-decode": ({"functions": {"score": FUNCTIONS["score"]}}, "no function 'decode'"),
    "decode-of-two": ({"functions": function("decode", tokens=2)}, "wants one token"),
    "prefill-of-all": ({"functions": function("prefill", logits="all")}, "wants the logits of one row"),
    "fewer-rows": ({"functions": function("score", rows=32)}, "reads 32 rows of a state of 64"),
    "enormous": ({"functions": function("score", tokens=1 << 30)}, "more than this runtime takes"),
    "bucket-rows": ({"functions": with_bucket(rows=64)}, "reads 64 rows; its name and a state of 64 want 32"),
    "bucket-tokens": ({"functions": with_bucket(tokens=2)}, "takes 2 tokens, unlike 'decode'"),
    "bucket-of-nothing": (
        {"functions": {k: v for k, v in with_bucket("prefill_32").items() if k != "prefill"}},
        "unlike",
    ),
    "embedding": (
        {"embedding": {"file": "e", "rows": 10, "columns": 8, "codes": "fp16"}},
        "the model needs 258 rows of 8",
    ),
    "eos": ({"tokens": {"eos": [VOCAB]}}, "token 258 is outside the vocabulary"),
    "padding": ({"tokens": {"padding": 1 << 20}}, "outside the vocabulary"),
}


@pytest.mark.parametrize("case", MANIFESTS)
def test_manifests_that_contradict_the_contract(case: str) -> None:
    changes, words = MANIFESTS[case]
    manifest = manifest_of(**changes)
    with pytest.raises(ContractError) as caught:
        contract.check(manifest, interfaces_of(manifest), package="p")
    assert words in caught.value.message


def test_a_bucket_reads_the_first_rows() -> None:
    manifest = manifest_of(functions=with_bucket())
    found = interfaces_of(manifest_of())
    narrow = {**found["decode"].inputs, "attention_mask": TensorType("fp16", (1, 1, 1, 32))}
    found["decode_32"] = replace(found["decode"], inputs=narrow)
    contract.check(manifest, found, package="p")
    shape = contract.decoder_shape(manifest, package="p")
    assert (dict(shape.reads), shape.variant("decode", 32), shape.variant("decode", 33)) == (
        {"decode_32": 32}, "decode_32", "decode",
    )  # fmt: skip
    with pytest.raises(ContractError, match="wants fp16 .1, 1, 1, 32."):
        contract.check(manifest, {**found, "decode_32": found["decode"]}, package="p")


def test_the_embedding_on_the_host_takes_the_place_of_ids() -> None:
    manifest = manifest_of(embedding={"file": "e", "rows": VOCAB, "columns": 8, "codes": "fp16"})
    found = interfaces_of(manifest)
    with pytest.raises(ContractError, match="the input is missing") as caught:
        contract.check(manifest, found, package="p")
    assert caught.value.where == "p: decode.hidden"
    for name, function in manifest.functions.items():
        inputs = {k: v for k, v in found[name].inputs.items() if k != "input_ids"}
        found[name] = replace(found[name], inputs={**inputs, "hidden": TensorType("fp16", (1, function.tokens, 8))})
    contract.check(manifest, found, package="p")


PARTS: dict[str, tuple[list[tuple[str, int, int, list[str]]], str]] = {
    "gap": ([("a", 0, 1, list(FUNCTIONS)), ("b", 2, 1, list(FUNCTIONS))], "begins with layer 2; layer 1 is next"),
    "short": ([("a", 0, 1, list(FUNCTIONS))], "the packages hold 1 of 2 layers"),
    "long": ([("a", 0, 3, list(FUNCTIONS))], "the packages hold 3 of 2 layers"),
    "function": ([("a", 0, 2, ["decode", "prefill"])], "the packages hold 0 of 2 layers"),
    "unknown": ([("a", 0, 2, [*FUNCTIONS, "fly"])], "lists a function 'fly' that the model has not"),
    "twice": ([("a", 0, 2, ["decode"]), ("a", 0, 2, ["prefill", "score"])], "a package is listed twice"),
}


@pytest.mark.parametrize("case", PARTS)
def test_parts_that_do_not_make_a_model(case: str, tmp_path: Path) -> None:
    listed, words = PARTS[case]
    parts = [dict(zip(("package", "first_layer", "layers", "functions"), part, strict=True)) for part in listed]
    with pytest.raises(ContractError, match=words):
        contract.check_model(tmp_path, manifest_of(package="a", parts=parts))


def test_a_part_takes_and_gives_what_its_place_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Two packages of one layer: masks are the second one's, tables the first one's."""
    parts = [{"package": p, "first_layer": i, "layers": 1, "functions": list(FUNCTIONS)} for i, p in enumerate("ab")]
    manifest = manifest_of(package="a", parts=parts)
    state = {"kv_cache": TensorType("fp16", (2, 1, ROWS, 32))}
    found: dict[str, Changeable] = {"a": {}, "b": {}}
    for name, whole in interfaces_of(manifest_of()).items():
        hidden = TensorType("fp16", (1, manifest.functions[name].tokens, 8))
        first = {k: v for k, v in whole.inputs.items() if k not in ("last", "attention_mask")}
        second = {k: v for k, v in whole.inputs.items() if k not in ("input_ids", "cos", "sin")}
        found["a"][name] = FunctionInterface(first, {"hidden_out": hidden}, state)
        found["b"][name] = FunctionInterface({**second, "hidden": hidden}, whole.outputs, state)
    monkeypatch.setattr(contract, "read_interfaces", lambda package: found[package.name])
    assert contract.check_model(tmp_path, manifest) == found
    masks = found["b"]["decode"]
    found["b"]["decode"] = replace(masks, inputs={k: v for k, v in masks.inputs.items() if k != "attention_mask"})
    with pytest.raises(ContractError, match="no package takes this input") as caught:
        contract.check_model(tmp_path, manifest)
    assert str(caught.value.where).endswith("decode.attention_mask")
    found["b"]["decode"] = replace(masks, states={"kv_cache": TensorType("fp16", (4, 1, ROWS, 32))})
    with pytest.raises(ContractError, match="wants fp16 .2, 1, 64, 32."):
        contract.check_model(tmp_path, manifest)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"context": 60}, "64 rows are too few for a context of 60 and chunks of 8"),
        ({"positions": {"kind": "rotary", "rotary": {"rotary_dim": 3}}}, "rotary_dim"),
        ({"positions": {"kind": "rotary", "rotary": {"rotary_dim": 4, "spell": 1}}}, "spell"),
        ({"positions": {"kind": "rotary", "rotary": {"rotary_dim": 4, "theta": "big"}}}, "theta"),
        ({"positions": {"kind": "learned", "learned": 20}}, "learned positions"),
    ],
    ids=["rows", "odd-width", "unknown-parameter", "not-a-number", "learned"],
)
def test_sizes_that_contradict_each_other(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ContractError, match=words):
        contract.decoder_shape(manifest_of(**changes), package="p")


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"local_window": 8}, {"local_attention_mask"}),
        ({"positions": {"kind": "learned", "learned": 64}}, {"positions"}),
        (
            {"positions": {"kind": "rotary", "rotary": {"rotary_dim": 4}, "local_rotary": {"rotary_dim": 4}}},
            {"local_cos", "local_sin"},
        ),
    ],
    ids=["local", "learned", "local-rotary"],
)
def test_inputs_that_depend_on_the_model(changes: dict[str, Any], names: set[str]) -> None:
    manifest = manifest_of(**changes)
    with pytest.raises(ContractError) as caught:
        contract.check(manifest, interfaces_of(manifest), package="p")
    assert str(caught.value.where).removeprefix("p: decode.") in names


SILERO = (
    "silero-vad-decoder-v6.0.0", "silero-vad-encoder-v6.0.0", "silero-vad-stft-v6.0.0", "silero-vad-unified-v6.0.0",
    "unified_int8",
)  # fmt: skip


@pytest.mark.parametrize("name", SILERO)
def test_signatures_tell_as_much_as_the_whole_program(name: str) -> None:
    package = test_data(f"coreml/silero-vad/{name}.mlpackage")
    opened = Package(package)
    short, whole = read_signatures(opened), read_program(opened)
    assert contract.interfaces(short) == contract.interfaces(whole)
    assert sum(len(function.ops) for function in short.functions.values()) < 10 < len(whole.functions["main"].ops)


def test_interfaces_are_read_from_the_program() -> None:
    half = TensorType("fp16", (1, 4))
    function = Function(
        name="main",
        opset="CoreML8",
        inputs=(Value("x", half), Value("cache", StateType(half))),
        ops=(
            Op("read_state", "r", {"input": (Ref("cache"),)}, (Value("old", half),)),
            Op("add", "a", {"x": (Ref("x"),), "y": (Ref("old"),)}, (Value("y", half),)),
        ),
        outputs=("y",),
    )
    found = contract.interfaces(Program({"main": function}, "main"))
    assert found == {"main": FunctionInterface({"x": half}, {"y": half}, {"cache": half})}
