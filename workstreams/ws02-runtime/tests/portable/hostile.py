"""Packages that are damaged, or made to harm whoever opens them, each with one fault.

Knows the format. Must not know how they are opened (hostile_child.py) or what is expected (test_hostile.py).
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lilims.runtime.portable.spec import new_message

FP32, INT32, STRING = 11, 23, 2
DESCRIBED = {FP32: 65568, INT32: 131104}


def type_of(code: int, *shape: int) -> Any:
    """A tensor's type; -1 is an unknown dimension."""
    made = new_message("ValueType")
    made.tensorType.dataType, made.tensorType.rank = code, len(shape)
    for size in shape:
        dimension = made.tensorType.dimensions.add()
        if size < 0:
            dimension.unknown.variadic = False
        else:
            dimension.constant.size = size
    return made


def ints(*values: int) -> Any:
    """A literal vector of int32."""
    made = new_message("Value", type=type_of(INT32, len(values)))
    made.immediateValue.tensor.ints.values.extend(values)
    return made


def scalar(value: float | int | str | bool) -> Any:
    code = 1 if isinstance(value, bool) else {int: INT32, float: FP32, str: STRING}[type(value)]
    made = new_message("Value", type=type_of(code))
    field = {1: "bools", INT32: "ints", FP32: "floats", STRING: "strings"}[code]
    getattr(made.immediateValue.tensor, field).values.append(value)
    return made


@dataclass
class Hostile:
    """A package in the making: a function of x, fp32 [2]. `weights` are the bytes of its blob file."""

    spec: Any = field(default_factory=lambda: new_message("Model", specificationVersion=9))
    weights: bytes | None = None
    raw: bytes | None = None  # in place of the specification

    def __post_init__(self) -> None:
        self.function = self.spec.mlProgram.functions["main"]
        self.function.opset = "CoreML8"
        self.block = self.function.block_specializations["CoreML8"]
        self.input("x", 2)

    def input(self, name: str, *shape: int, described: Any = None) -> Any:
        self.function.inputs.add(name=name, type=type_of(FP32, *shape))
        feature = self.spec.description.input.add(name=name)
        feature.type.multiArrayType.shape.extend(shape if described is None else described)
        feature.type.multiArrayType.dataType = DESCRIBED[FP32]
        return feature

    def op(self, kind: str, name: str, *shape: int, block: Any = None, code: int = FP32, **inputs: Any) -> Any:
        op = (self.block if block is None else block).operations.add(type=kind)
        for key, given in inputs.items():
            for value in given if isinstance(given, list) else [given]:
                op.inputs[key].arguments.add(**({"name": value} if isinstance(value, str) else {"value": value}))
        op.outputs.add(name=name, type=type_of(code, *shape))
        return op

    def blob(self, offset: int, *shape: int, file: str = "@model_path/weights/weight.bin") -> Hostile:
        op = self.block.operations.add(type="const")
        op.attributes["val"].type.CopyFrom(type_of(FP32, *shape))
        op.attributes["val"].blobFileValue.fileName, op.attributes["val"].blobFileValue.offset = file, offset
        op.outputs.add(name="y", type=type_of(FP32, *shape))
        return self.gives("y")

    def gives(self, name: str, *shape: int) -> Hostile:
        self.block.outputs.append(name)
        feature = self.spec.description.output.add(name=name)
        feature.type.multiArrayType.dataType = DESCRIBED[FP32]
        return self

    def write(self, folder: Path) -> Path:
        data = folder / "Data"
        (data / "weights").mkdir(parents=True)
        (data / "model.mlmodel").write_bytes(self.spec.SerializeToString() if self.raw is None else self.raw)
        if self.weights is not None:
            (data / "weights/weight.bin").write_bytes(self.weights)
        manifest = {"rootModelIdentifier": "id", "itemInfoEntries": {"id": {"path": "model.mlmodel"}}}
        (folder / "Manifest.json").write_text(json.dumps(manifest))
        return folder


CASES: dict[str, Callable[[], Hostile]] = {}


def case(make: Callable[[], Hostile]) -> Callable[[], Hostile]:
    CASES[make.__name__.replace("_", "-")] = make
    return make


def simple(kind: str, *shape: int, code: int = FP32, **inputs: Any) -> Hostile:
    """A function of one op."""
    made = Hostile()
    made.op(kind, "y", *shape, code=code, **inputs)
    return made.gives("y")


# -- the specification -------------------------------------------------------------------------------------------------


@case
def cut_off() -> Hostile:
    made = simple("identity", 2, x="x")
    made.raw = made.spec.SerializeToString()[:-9]
    return made


@case
def types_in_types() -> Hostile:
    """Two thousand list types within each other; the fields are Model.mlProgram … ValueType.listType.type."""

    def wrap(number: int, content: bytes) -> bytes:
        size, length = len(content), b""
        while size > 127:
            length += bytes([size & 127 | 128])
            size >>= 7
        return bytes([number << 3 | 2]) + length + bytes([size]) + content

    inner = b""
    for _ in range(2000):
        inner = wrap(2, wrap(1, inner))
    made = simple("identity", 2, x="x")
    made.raw = (
        made.spec.SerializeToString() + bytes([0xB2, 0x1F]) + wrap(2, wrap(2, wrap(2, wrap(1, wrap(2, inner)))))[1:]
    )
    return made


@case
def blocks_in_blocks() -> Hostile:
    made = Hostile()
    block = made.block
    for depth in range(15):
        block = made.op("cond", f"c{depth}", 2, block=block, pred=scalar(True)).blocks.add()
    return made.gives("c0")


@case
def cycle() -> Hostile:
    made = Hostile()
    made.op("add", "a", 2, x="b", y="x")
    made.op("add", "b", 2, x="a", y="x")
    return made.gives("b")


@case
def an_op_of_itself() -> Hostile:
    return simple("add", 2, x="y", y="y")


@case
def unknown_value() -> Hostile:
    return simple("add", 2, x="x", y="nowhere")


@case
def inputs_of_one_name() -> Hostile:
    made = simple("identity", 2, x="x")
    made.input("x", 3)
    return made


@case
def a_value_of_an_inputs_name() -> Hostile:
    made = Hostile()
    made.op("relu", "x", 2, x="x")
    return made.gives("x")


@case
def no_output() -> Hostile:
    return Hostile()


@case
def rank_of_a_thousand() -> Hostile:
    return simple("identity", *[1] * 1000, x="x")


@case
def input_of_2_to_the_63() -> Hostile:
    made = simple("identity", 2, x="x")
    made.input("z", 1 << 63, 1 << 63, described=(-1, -1))
    return made


@case
def unknown_dimension_of_a_literal() -> Hostile:
    value = ints(1, 2)
    value.type.CopyFrom(type_of(INT32, -1))
    made = Hostile()
    made.block.operations.add(type="const").attributes["val"].CopyFrom(value)
    made.block.operations[0].outputs.add(name="y", type=type_of(INT32, -1))
    return made.gives("y")


@case
def optional_input_of_absurd_shape() -> Hostile:
    made = simple("identity", 2, x="x")
    feature = made.input("z", -1, -1, described=(1 << 40, 1 << 40))
    feature.type.isOptional = True
    return made


@case
def optional_input_of_negative_shape() -> Hostile:
    made = simple("identity", 2, x="x")
    made.input("z", -1, described=(-5,)).type.isOptional = True
    return made


@case
def ranges_upside_down() -> Hostile:
    made = simple("identity", 2, x="x")
    feature = made.input("z", -1)
    feature.type.multiArrayType.shapeRange.sizeRanges.add(lowerBound=9, upperBound=2)
    return made


@case
def name_of_thirty_megabytes() -> Hostile:
    made = Hostile()
    op = made.op("made_up", "y" * (30 << 20), 2, x="x")
    op.attributes["name"].CopyFrom(scalar("n" * (1 << 20)))
    return made.gives("y" * (30 << 20))


@case
def list_of_many() -> Hostile:
    """Twenty thousand literals in a list where an axis is expected."""
    value = new_message("Value")
    value.type.listType.type.CopyFrom(type_of(INT32))
    value.immediateValue.list.values.extend([scalar(7)] * 20_000)
    return simple("transpose", 2, x="x", perm=value)


@case
def thousands_of_functions() -> Hostile:
    """Five thousand, all without a block for their opset."""
    made = simple("identity", 2, x="x")
    for number in range(5000):
        made.spec.mlProgram.functions[f"f{number}"].CopyFrom(made.function)
        made.spec.mlProgram.functions[f"f{number}"].opset = "CoreML9"
        made.spec.mlProgram.functions[f"f{number}"].block_specializations["CoreML7"].outputs.append("x")
    return made


# -- the blob file -----------------------------------------------------------------------------------------------------


def blob_file(*, sentinel: int = 0xDEADBEEF, code: int = 2, size: int = 8, data: int = 128, bytes_: int = 192) -> bytes:
    """A blob file with a record at 64, whose fields are at fault."""
    content = struct.pack("<II", 1, 2).ljust(64, b"\0") + struct.pack("<IIQQQ", sentinel, code, size, data, 0)
    return content.ljust(bytes_, b"\0")[:bytes_]


BLOBS: dict[str, dict[str, Any]] = {
    "blob-without-sentinel": {"sentinel": 0xBEEFDEAD},
    "blob-of-another-type": {"code": 3},
    "blob-of-unknown-type": {"code": 99},
    "blob-of-another-size": {"size": 12},
    "blob-behind-the-file": {"data": 1 << 40},
    "blob-around-the-end": {"data": 188},
    "blob-whose-sum-overflows": {"data": (1 << 64) - 4},
    "blob-file-cut-off": {"bytes_": 130},
    "blob-file-cut-in-the-record": {"bytes_": 80},
    "blob-file-empty": {"bytes_": 0},
}
for name, fault in BLOBS.items():
    CASES[name] = lambda fault=fault: Hostile(weights=blob_file(**fault)).blob(64, 2)  # type: ignore[misc]
OFFSETS = {"negative": (1 << 64) - 64, "behind": 1 << 50, "astride": 140}
for name, offset in OFFSETS.items():
    CASES[f"offset-{name}"] = lambda offset=offset: Hostile(weights=blob_file()).blob(offset, 2)  # type: ignore[misc]
CASES["blob-of-absurd-shape"] = lambda: Hostile(weights=blob_file()).blob(64, 1 << 40, 1 << 40)
CASES["no-blob-file"] = lambda: Hostile().blob(64, 2)


@case
def two_blobs_in_one_place() -> Hostile:
    """Harmless: what is read is what lies there."""
    made = Hostile(weights=blob_file()).blob(64, 2)
    made.op("add", "z", 2, x="y", y="y")
    return made


# -- what is computed --------------------------------------------------------------------------------------------------

BIG = 1 << 15  # squared, fp32: 4 GB
WINDOW: dict[str, Any] = {"kernel_sizes": ints(2, 2), "pad_type": scalar("valid")}
COMPUTED: dict[str, tuple[str, tuple[int, ...], dict[str, Any]]] = {
    "fill": ("fill", (BIG, BIG), {"shape": ints(BIG, BIG), "value": scalar(1.0)}),
    "fill-overflow": ("fill", (1, 1, 1), {"shape": ints(*[(1 << 31) - 1] * 3), "value": scalar(1.0)}),
    "fill-negative": ("fill", (2,), {"shape": ints(-2), "value": scalar(1.0)}),
    "tile": ("tile", (2 * BIG * BIG // 2,), {"x": "x", "reps": ints(BIG * BIG // 2)}),
    "pad": ("pad", (BIG * BIG,), {"x": "x", "pad": ints(0, BIG * BIG - 2), "mode": scalar("constant")}),
    "range": ("range_1d", (BIG * BIG,), {"start": scalar(0.0), "end": scalar(1e9), "step": scalar(1.0)}),
    "range-without-step": ("range_1d", (4,), {"start": scalar(0.0), "end": scalar(9.0), "step": scalar(0.0)}),
    "one-hot": ("one_hot", (2, BIG * BIG), {"indices": ints(0, 1), "one_hot_vector_size": scalar(BIG * BIG)}),
    "reshape": ("reshape", (BIG, BIG, BIG), {"x": "x", "shape": ints(BIG, BIG, BIG)}),
    "gather": ("gather", (1,), {"x": "x", "indices": ints((1 << 31) - 1), "axis": scalar(0)}),
    "split": ("split", (2,), {"x": "x", "num_splits": scalar(0), "axis": scalar(9)}),
    "windows": ("sliding_windows", (1,), {"x": "x", "axis": scalar(0), "size": scalar(1 << 30), "stride": scalar(1)}),
    "batch-norm": ("batch_norm", (2,), {"x": "x", "mean": "vast", "variance": "vast"}),
    "slice-update": ("slice_update", (2,), {"x": "x", "update": "vast", "begin": ints(0), "end": ints(2)}),
    "pool-without-stride": ("max_pool", (1,), {"x": "image", "strides": ints(0, 0), **WINDOW}),
    "conv-without-groups": ("conv", (1,), {"x": "image", "weight": "image", "groups": scalar(0)}),
    "conv-transpose-without-groups": ("conv_transpose", (1,), {"x": "image", "weight": "image", "groups": scalar(0)}),
    "local-norm": ("local_response_norm", (1, 1, 4, 4), {"x": "image", "size": scalar(1 << 30)}),
    "division": ("real_div", (2,), {"x": "x", "y": scalar(0.0)}),
    "resize": ("resize_bilinear", (1,), {
        "x": "image", "target_size_height": scalar(BIG), "target_size_width": scalar(2 * BIG)}),
}  # fmt: skip


def computed(kind: str, shape: tuple[int, ...], inputs: dict[str, Any]) -> Hostile:
    made = Hostile()
    if "image" in inputs.values():
        made.op("fill", "image", 1, 1, 4, 4, shape=ints(1, 1, 4, 4), value=scalar(1.0))
    if "vast" in inputs.values():
        made.op("fill", "vast", 1 << 33, shape=ints(2), value=scalar(1.0))
    made.op(kind, "y", *shape, **inputs)
    return made.gives("y")


for name, (kind, shape, inputs) in COMPUTED.items():
    CASES[name] = lambda kind=kind, shape=shape, inputs=inputs: computed(kind, shape, inputs)  # type: ignore[misc]


@case
def integers_by_zero() -> Hostile:
    made = Hostile()
    made.op("cast", "i", 2, code=INT32, x="x", dtype=scalar("int32"))
    made.op("sub", "zero", 2, code=INT32, x="i", y="i")
    made.op("floor_div", "y", 2, code=INT32, x="i", y="zero")
    return made.gives("y")


@case
def the_least_by_minus_one() -> Hostile:
    """-2³¹ by -1, of which a processor makes a signal."""
    made = Hostile()
    made.op("cast", "i", 2, code=INT32, x="x", dtype=scalar("int32"))
    made.op("mul", "zero", 2, code=INT32, x="i", y=ints(0, 0))
    made.op("add", "least", 2, code=INT32, x="zero", y=ints(-(1 << 31), -(1 << 31)))
    made.op("sub", "minus", 2, code=INT32, x="zero", y=ints(1, 1))
    made.op("mod", "y", 2, code=INT32, x="least", y="minus")
    return made.gives("y")


@case
def doubling() -> Hostile:
    """Forty concatenations of a value with itself: 8 TB."""
    made = Hostile()
    for step in range(40):
        given = [f"v{step - 1}" if step else "x"] * 2
        made.op("concat", f"v{step}", -1, values=given, axis=scalar(0), interleave=scalar(False))
    return made.gives("v39")


@case
def folded_doubling() -> Hostile:
    """The same of a constant: nothing of it may be computed when it is opened."""
    made = Hostile()
    made.op("fill", "f", 1 << 20, shape=ints(1 << 20), value=scalar(1.0))
    for step in range(30):
        given = [f"v{step - 1}" if step else "f"] * 2
        made.op("concat", f"v{step}", -1, values=given, axis=scalar(0), interleave=scalar(False))
    return made.gives("v29")


@case
def vast_state() -> Hostile:
    made = simple("identity", 2, x="x")
    made.function.inputs.add(name="s").type.stateType.wrappedType.CopyFrom(type_of(FP32, 1 << 40, 1 << 20))
    made.op("read_state", "r", 1 << 40, 1 << 20, input="s")
    made.op("write_state", "w", 1 << 40, 1 << 20, input="s", data="r")
    return made


def endless(kind: str, **inputs: Any) -> Hostile:
    """A loop that goes on for ever, its variable given through an op each time."""
    made = Hostile()
    loop = made.op("while_loop", "y", -1, loop_vars="x")
    condition, body = loop.blocks.add(), loop.blocks.add()
    for number, block in enumerate((condition, body)):
        block.inputs.add(name=f"l{number}", type=type_of(FP32, -1))
    made.op("const", "go", block=condition, code=1).attributes["val"].CopyFrom(scalar(True))
    condition.outputs.append("go")
    made.op(kind, "more", -1, block=body, **inputs)
    body.outputs.append("more")
    return made.gives("y")


@case
def a_loop_without_end() -> Hostile:
    return endless("add", x="l1", y="l1")


@case
def a_loop_that_grows() -> Hostile:
    return endless("concat", values=["l1", "l1"], axis=scalar(0), interleave=scalar(False))
