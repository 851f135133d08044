"""tools/compare_schemes.py: the figures in docs/quantisation.md mean what they say."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

import compare_schemes
from ci.quality_gate import SUBJECTS
from lilims.conversion import perplexity
from lilims.runtime import load

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="coremltools 9 has no Windows build")


def test_rows_agree_with_perplexity_and_fp16_differs_from_itself_by_nothing(tmp_path: Path) -> None:
    subject = SUBJECTS["stories"]
    same, coarse = compare_schemes.compare(subject, ["fp16", "int4-channel"], 2, tmp_path)
    assert (same.change, same.error, same.divergence, same.agreement) == (0, 0, 0, 1)
    assert 0.05 < coarse.divergence < 2 and 0.5 < coarse.agreement < 1 and 4 < coarse.bits < 4.2
    models = [load(tmp_path / scheme, precision="exact") for scheme in ("fp16", "int4-channel")]
    ids = subject.ids(models[0])[: 2 * subject.window]
    base, found = (perplexity(model, ids, window=subject.window).value for model in models)
    assert coarse.change == pytest.approx(found / base - 1, rel=1e-4)
    assert str(coarse).startswith("| int4-channel | 4.0") and str(coarse).count("|") == 6
    assert np.isfinite(coarse.error)
