"""Figures and the process's peak memory."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from lilims.runtime.statistics import Statistics, peak_rss


def test_rates() -> None:
    stats = Statistics(prompt_tokens=10, generated_tokens=5, prefill_seconds=2.0, decode_seconds=0.5)
    assert stats.prefill_tokens_per_second == 5
    assert stats.decode_tokens_per_second == 8
    assert Statistics(generated_tokens=1).decode_tokens_per_second == 0
    assert Statistics().prefill_tokens_per_second == 0


def test_peak_rss_sees_memory_that_was_touched() -> None:
    before = peak_rss()
    assert before is not None
    size = 64 << 20
    assert np.ones(size, np.uint8).sum() == size
    after = peak_rss()
    assert after is not None
    assert after >= before
    assert 5 << 20 < after < 1 << 40


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_peak_rss_grows_by_what_a_fresh_process_touches() -> None:
    import subprocess

    script = (
        "from lilims.runtime.statistics import peak_rss\n"
        "a = peak_rss(); x = bytearray(b'x') * (200 << 20); print(peak_rss() - a)"
    )
    grown = int(subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout)
    assert 190 << 20 < grown < 260 << 20
