"""Random programs and what they mean in NumPy."""

from . import arrange, elementwise, products  # noqa: F401  (fill KNOWN)
from .maker import KNOWN, Program, make_program
from .package import write_program

__all__ = ["KNOWN", "Program", "make_program", "write_program"]
