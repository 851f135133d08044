"""Calibrated quantisation: rounding in view of what really enters each matrix.

`calibrate` is the whole; the files below it each hold one idea (text, opened, moments, chain, shelf).
"""

from __future__ import annotations

from .calibrate import Calibration, calibrate
from .text import SELF, TOKENS, Windows, calibration_windows, held_out

__all__ = ["SELF", "TOKENS", "Calibration", "Windows", "calibrate", "calibration_windows", "held_out"]
