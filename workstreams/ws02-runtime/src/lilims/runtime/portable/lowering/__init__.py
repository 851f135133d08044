"""From MIL ops to ONNX nodes: `scope.py` holds what a lowering may use, `ops/` one small function per op."""
