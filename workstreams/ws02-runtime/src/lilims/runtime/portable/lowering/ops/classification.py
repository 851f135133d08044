"""`classify`: the label of the highest probability, and the probability of each label.

The dictionary is ONNX's `ZipMap`, as other converters of classifiers write it. The labels are strings or integers.
Source: coremltools, `mil/ops/defs/iOS15/classify.py`.
"""

from __future__ import annotations

import numpy as np

from lilims.core.errors import PackageError

from ...program import Op
from ..scope import Scope, lowers


@lowers("classify")
def classify(scope: Scope, op: Op) -> None:
    labels = np.atleast_1d(np.asarray(scope.constant(op, "classes")))
    strings = labels.dtype.kind not in "iu"
    row = scope.emit("Reshape", scope.input(op, "probabilities"), scope.array([1, labels.size], "int64"))
    best = scope.emit("ArgMax", scope.emit("Reshape", row, scope.array([-1], "int64")), axis=0, keepdims=0)
    known = scope.array(labels.astype(np.object_)) if strings else scope.array(labels.astype(np.int64))
    label = scope.emit("Gather", known, best, axis=0)
    if len(op.outputs) != 2:
        raise PackageError("classify gives a label and probabilities", where=op.name)
    names = [str(label) if strings else int(label) for label in labels.tolist()]
    key = "classlabels_strings" if strings else "classlabels_int64s"
    scope.bind(op, label, scope.emit("ZipMap", row, domain="ai.onnx.ml", **{key: names}))
