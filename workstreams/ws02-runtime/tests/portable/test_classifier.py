"""Classifiers: a label and a dictionary, as `MLModel.predict` gives them."""

from __future__ import annotations

import gc
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lilims.runtime.portable import MLModel

LABELS = {"strings": ["cat", "dog", "a bird"], "integers": [7, 3, 10**12]}


@pytest.fixture(params=LABELS)
def classifier(ct: Any, mb: Any, tmp_path: Path, request: Any) -> tuple[Path, list[Any]]:
    labels: list[Any] = LABELS[request.param]

    @mb.program(input_specs=[mb.TensorSpec((1, 3))], opset_version=ct.target.iOS16)
    def probabilities(x: Any) -> Any:
        return mb.softmax(x=x, axis=-1, name="probabilities")

    path = tmp_path / "classifier.mlpackage"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = ct.ClassifierConfig(labels)
        ct.convert(probabilities, source="milinternal", convert_to="mlprogram", classifier_config=config,
                   minimum_deployment_target=ct.target.iOS16).save(str(path))  # fmt: skip
        gc.collect()
    return path, labels


@pytest.mark.parametrize("best", [0, 2])
def test_label_and_probabilities(classifier: tuple[Path, list[Any]], best: int) -> None:
    path, labels = classifier
    x = np.float32([[0, 1, 2]])
    x[0, best] = 5
    found = MLModel(path, precision="exact").predict({"x": x})
    label, given = found["classLabel"], found["classLabel_probs"]
    assert label == labels[best]
    assert type(label) is type(labels[0])
    assert given.keys() == set(labels)
    exponentials = np.exp(x[0] - x.max())
    np.testing.assert_allclose([given[name] for name in labels], exponentials / exponentials.sum(), atol=2e-3)
