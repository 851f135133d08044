"""coremltools without its noise.

Off macOS `import coremltools` warns about every native library that is not there, and its passes draw progress bars.
None of that is for the user of a converter that needs none of it.
"""

from __future__ import annotations

import contextlib
import io
import logging
import sys
import warnings
from collections.abc import Iterator

__all__ = ["go_lean", "quiet_coremltools"]

# coremltools imports these where they are installed, to convert from them: 2 s and 200 MB.
_FRAMEWORKS = ("torch", "tensorflow", "transformers", "sklearn", "xgboost", "executorch")


_lean = False


def go_lean() -> None:
    """Lets the first use of coremltools import it as if no framework were installed, which it then believes.

    So this is for a process that is one command, and not for a library. Others can still import the frameworks.
    """
    global _lean
    _lean = True


@contextlib.contextmanager
def quiet_coremltools() -> Iterator[None]:
    """Silences coremltools' warnings, log lines and progress bars inside the block; errors still raise."""
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            if _lean and "coremltools" not in sys.modules:
                _import_lean()
            yield
    finally:
        logging.disable(previous)


def _import_lean() -> None:
    hidden = [name for name in _FRAMEWORKS if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None makes an import fail
    try:
        import coremltools  # noqa: F401
    finally:
        for name in hidden:
            sys.modules.pop(name, None)
