"""coremltools without its noise.

Off macOS `import coremltools` warns about every native library that is not there, and its passes draw progress bars.
None of that is for the user of a converter that needs none of it.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator

__all__ = ["quiet_coremltools"]


@contextlib.contextmanager
def quiet_coremltools() -> Iterator[None]:
    """Silences coremltools' warnings, log lines and progress bars inside the block; errors still raise."""
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(previous)
