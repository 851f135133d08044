"""Puts the story tools, which are programs and not a package, on the import path."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
