"""A small compiled model, for the readers of its text and of its metadata.

Knows how such a folder looks. Must not know how it is read.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path

__all__ = ["write_compiled"]

_TEXT = """program(1.0)
[buildInfo = dict<tensor<string, []>, tensor<string, []>>({{"coremlc-version", "3500.32.1"}})]
{
    func main<ios18>(state<tensor<fp16, [2]>> total, tensor<fp32, [1, ?]> x) [SHAPES] {
            tensor<fp16, [2]> w = const()[name = tensor<string, []>("w"), val = tensor<fp16, [2]>(BLOBFILE(
                path = tensor<string, []>("@model_path/weights/weight.bin"), offset = tensor<uint64, []>(64)))];
            tensor<fp32, [2, 2]> k = const()[val = tensor<fp32, [2, 2]>([[0x1.8p+0, -0x1p-24], [inf, 1e-5]])];
            int4 code = const()[val = int4(-8)];
            list<string, 2> labels = const()[val = list<string, 2>(["a, \\"b\\"", "\\x41\\n"])];
            tensor<fp16, [2]> before = read_state(input = total)[name = string("before")];
            write_state(data = w, input = total);
            bool going = const()[val = bool(true)];
            tensor<fp32, [1, ?]> y = cond(pred = going) yes() {
                tensor<fp32, [1, ?]> a = add(x = x, y = fp32(0x1p+0));
            } -> (a) no() {
                tensor<fp32, [1, ?]> b = concat(axis = int32(1), interleave = bool(false), values = (x, x));
            } -> (b);
        } -> (y, before);
}
"""
_SHAPES = """FlexibleShapeInformation = tuple<tuple<string, dict<string, tensor<int32, [?]>>>,
 tuple<string, dict<string, list<tensor<int32, [2]>, ?>>>>((("DefaultShapes", {{"x", [1, 4]}}),
 ("RangeDims", {{"x", [[1, 1], [1, 9]]}}))), CoreML_InputDefaultValues = dict<string, fp32>({{"x", 0x1p+1}})"""
_FEATURES = {
    "inputSchema": [
        {"name": "x", "type": "MultiArray", "dataType": "Float32", "isOptional": "1", "shape": "[1, 4]",
         "shapeRange": "[[1, 1], [1, 9]]", "shortDescription": "audio"},
    ],
    "outputSchema": [{"name": "y", "type": "MultiArray", "dataType": "Float32", "shape": "[1, 4]"}],
}  # fmt: skip
_METADATA = {
    "modelType": {"name": "MLModelType_mlProgram"}, "specificationVersion": 9, "author": "a",
    "userDefinedMetadata": {"k": "v"}, "defaultFunctionName": "main",
    "functions": [{"name": "main", **_FEATURES}], **_FEATURES,
}  # fmt: skip


def write_compiled(folder: Path) -> Path:
    """Writes the folder, and gives it back."""
    (folder / "weights").mkdir(parents=True)
    (folder / "model.mil").write_text(_TEXT.replace("SHAPES", _SHAPES), encoding="utf-8")
    (folder / "metadata.json").write_text(json.dumps([_METADATA], indent=2), encoding="utf-8")
    record = struct.pack("<IIQQQ", 0xDEADBEEF, 1, 4, 128, 0).ljust(64, b"\0")
    header = struct.pack("<II", 1, 2).ljust(64, b"\0")
    (folder / "weights" / "weight.bin").write_bytes(header + record + b"\0\x3c\0\xbc")
    return folder
