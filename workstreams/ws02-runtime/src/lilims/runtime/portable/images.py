"""Images as features: a PIL image becomes a tensor [1, C, H, W] of 0 … 255, and back.

Knows colour spaces and Pillow's modes. Must not know programs; scales and biases of a model's input are ops of its
program. Pillow is imported where an image is made; one that is given has brought it along.
Source: coremltools, `mlmodel/format/FeatureTypes.proto` (ImageFeatureType). How a device rounds an output's values to
bytes is not stated there: here to the nearest.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from lilims.core.errors import MissingDependencyError, PackageError

__all__ = ["COLOURS", "is_image", "read_image", "write_image"]

# Colour space -> Pillow's mode, channels
COLOURS: dict[int, tuple[str, int]] = {10: ("L", 1), 20: ("RGB", 3), 30: ("RGB", 3), 40: ("F", 1)}
_BGR, _FLOAT = 30, 40


def is_image(value: Any) -> bool:
    """Whether a value is a PIL image, or something that looks like one."""
    return all(hasattr(value, name) for name in ("mode", "size", "convert"))


def read_image(image: Any, colours: int) -> NDArray[np.float32]:
    """The pixels of a PIL image as float32 [1, C, H, W], in the colour space given."""
    mode, channels = COLOURS[colours]
    pixels = np.asarray(image if image.mode == mode else image.convert(mode), np.float32)
    pixels = pixels.reshape(*pixels.shape[:2], channels).transpose(2, 0, 1)
    return np.ascontiguousarray(pixels[::-1] if colours == _BGR else pixels)[None]


def write_image(pixels: NDArray[Any], colours: int, name: str) -> Any:
    """A PIL image of a result [1, C, H, W]; values outside 0 … 255 are clipped, save in float images.

    Raises:
        MissingDependencyError: Pillow is not installed.
        PackageError: the result has another shape.
    """
    try:
        from PIL import Image
    except ImportError as exc:
        raise MissingDependencyError("an output that is an image needs Pillow", hint="pip install pillow") from exc
    mode, channels = COLOURS[colours]
    if pixels.ndim != 4 or pixels.shape[:2] != (1, channels):
        raise PackageError(f"the output {name!r} has shape {list(pixels.shape)}, which is no image")
    planes = pixels[0, ::-1] if colours == _BGR else pixels[0]
    if colours == _FLOAT:
        return Image.fromarray(np.ascontiguousarray(planes[0], np.float32))
    array = np.rint(np.clip(np.nan_to_num(planes), 0, 255)).astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(array[0] if mode == "L" else array.transpose(1, 2, 0)))
