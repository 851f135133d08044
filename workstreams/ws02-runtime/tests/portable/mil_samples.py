"""Short programs as `coremlc` prints them, in both dialects, and the folders that hold them."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np

OLD = """program(1.0)
[buildInfo = dict<tensor<string, []>, tensor<string, []>>({{"coremlc-component-MIL", "3405.2.1"}, {"coremlc-version", "3404.23.1"}})]
{
    func main<ios17>(tensor<fp32, [1, 4]> audio, tensor<fp32, [1, 2]> state) {
            tensor<string, []> to_fp16_dtype_0 = const()[name = tensor<string, []>("to_fp16_dtype_0"), val = tensor<string, []>("fp16")];
            tensor<fp16, [1, 4]> audio_to_fp16 = cast(dtype = to_fp16_dtype_0, x = audio)[name = tensor<string, []>("cast_0")];
            tensor<fp16, [2, 4]> weight = const()[name = tensor<string, []>("weight"), val = tensor<fp16, [2, 4]>(BLOBFILE(path = tensor<string, []>("@model_path/weights/weight.bin"), offset = tensor<uint64, []>(64)))];
            tensor<fp16, [2]> bias = const()[name = tensor<string, []>("bias"), val = tensor<fp16, [2]>([0x1p-1, -0x1.8p+1])];
            tensor<fp16, [1, 2]> linear_0 = linear(bias = bias, weight = weight, x = audio_to_fp16)[name = tensor<string, []>("linear_0")];
            tensor<int32, [2]> split_sizes_0 = const()[name = tensor<string, []>("split_sizes_0"), val = tensor<int32, [2]>([1, 1])];
            tensor<int32, []> axis_0 = const()[name = tensor<string, []>("axis_0"), val = tensor<int32, []>(-1)];
            tensor<fp16, [1, 1]> halves_0, tensor<fp16, [1, 1]> halves_1 = split(axis = axis_0, split_sizes = split_sizes_0, x = linear_0)[name = tensor<string, []>("halves")];
            tensor<bool, []> interleave_0 = const()[name = tensor<string, []>("interleave_0"), val = tensor<bool, []>(false)];
            tensor<fp16, [1, 2]> swapped = concat(axis = axis_0, interleave = interleave_0, values = (halves_1, halves_0))[name = tensor<string, []>("swapped")];
            tensor<string, []> to_fp32_dtype_0 = const()[name = tensor<string, []>("to_fp32_dtype_0"), val = tensor<string, []>("fp32")];
            tensor<fp32, [1, 2]> out = cast(dtype = to_fp32_dtype_0, x = swapped)[name = tensor<string, []>("cast_1")];
            tensor<fp32, [1, 2]> new_state = add(x = state, y = out)[name = tensor<string, []>("new_state")];
        } -> (out, new_state);
}"""  # noqa: E501

NEW = """program(1.3)
[buildInfo = dict<string, string>({{"coremlc-component-MIL", "3520.4.1"}, {"coremlc-version", "3520.5.1"}})]
{
    func decode<ios18>(state<tensor<fp16, [1, 3]>> total, tensor<fp16, [1, 3]> x) {
            tensor<fp16, [1, 3]> before = read_state(input = total)[name = string("before")];
            tensor<fp16, [1, 3]> after = add(x = before, y = x)[name = string("after")];
            write_state(data = after, input = total)[name = string("total_write_state")];
            tensor<fp16, [1, 3]> sum = read_state(input = total)[name = string("sum")];
        } -> (sum);
    func twice<ios18>(state<tensor<fp16, [1, 3]>> total, tensor<fp16, [1, 3]> x) {
            fp16 two = const()[name = string("two"), val = fp16(0x1p+1)];
            tensor<fp16, [1, 3]> now = read_state(input = total);
            tensor<fp16, [1, 3]> doubled = mul(x = x, y = two);
            tensor<fp16, [1, 3]> both = add(x = doubled, y = now);
        } -> (both);
}
"""
FLEXIBLE = """program(1.3)
[buildInfo = dict<string, string>({})]
{
    func main<ios17>(tensor<fp32, [1, ?]> x, tensor<fp32, [1]> y) [CoreML_InputDefaultValues = dict<string, fp32>({{"y", 0x1p+1}}), FlexibleShapeInformation = tuple<tuple<string, dict<string, tensor<int32, [?]>>>, tuple<string, dict<string, KIND>>>((("DefaultShapes", {{"x", [1, 4]}}), (SHAPES)))] {
            tensor<fp32, [1, ?]> z = add(x = x, y = y);
        } -> (z);
}"""  # noqa: E501

NESTED = """program(1.3)
[buildInfo = dict<string, string>({})]
{
    func main<ios17>(tensor<fp32, [1]> x) {
            fp32 limit = const()[val = fp32(0x1.9p+6)];
            tensor<fp32, [1]> grown = while_loop(loop_vars = (x)) cond(tensor<fp32, [1]> a) {
                tensor<bool, [1]> less_0 = less(x = a, y = limit);
                bool going = squeeze(x = less_0);
            } -> (going) body(tensor<fp32, [1]> b) {
                tensor<fp32, [1]> doubled = add(x = b, y = b);
            } -> (doubled);
        } -> (grown);
}"""

LABELS = r"""program(1.3)
[buildInfo = dict<string, string>({})]
{
    func main<ios16>(tensor<fp32, [1, 3]> x) {
            list<string, 3> names = const()[val = list<string, 3>(["a \"cat\"", "naïve\n", "\\"])];
            string classLabel, dict<string, fp32> classLabel_probs = classify(classes = names, probabilities = x);
        } -> (classLabel, classLabel_probs);
}"""


RANGES = FLEXIBLE.replace("KIND", "list<tensor<int32, [2]>, ?>").replace(
    "SHAPES", '"RangeDims", {{"x", [[1, 1], [2, 5]]}}'
)
ENUMERATED = FLEXIBLE.replace("KIND", "dict<string, tensor<int32, [?]>>").replace(
    "SHAPES", '"EnumeratedShapes", {{"543d0f94", {{"x", [1, 4]}}}, {"697b758f", {{"x", [1, 2]}}}}'
)


WEIGHT = np.arange(8, dtype=np.float32).reshape(2, 4) / 4


def weights(*arrays: Any) -> bytes:
    """A blob file of fp16 arrays; the first record lies at 64."""
    data = struct.pack("<II", len(arrays), 2).ljust(64, b"\0")
    for array in arrays:
        raw = np.asarray(array, np.float16).tobytes()
        record = struct.pack("<IIQQQ", 0xDEADBEEF, 1, len(raw), len(data) + 64, 0).ljust(64, b"\0")
        data += record + raw.ljust(-(-len(raw) // 64) * 64, b"\0")
    return data


def write_folder(
    parent: Path, text: str | bytes, blob: bytes = b"", metadata: Any = None, name: str = "model.mlmodelc"
) -> Path:
    """A compiled folder; what one of that name holds already stays where nothing else is given."""
    path = parent / name
    path.mkdir(exist_ok=True)
    (path / "model.mil").write_bytes(text if isinstance(text, bytes) else text.encode())
    if blob:
        (path / "weights").mkdir(exist_ok=True)
        (path / "weights" / "weight.bin").write_bytes(blob)
    if metadata is not None:
        (path / "metadata.json").write_text(json.dumps([metadata]))
    return path
