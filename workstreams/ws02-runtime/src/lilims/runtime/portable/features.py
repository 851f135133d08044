"""What a function takes and gives, as its description says; users' values made into arrays that fit.

Knows feature descriptions and numpy. Must not know programs' insides, graphs or sessions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lilims.core.errors import PackageError, UnsupportedError, UsageError

from .images import COLOURS, is_image, read_image
from .program import Function, TensorType
from .spec import ARRAY_DTYPES

__all__ = ["FeatureDescriptions", "InputFeature", "Interface", "read_interface"]

_Array = NDArray[Any]
_MOST_FILLED = 1 << 27  # elements of an optional input


class FeatureDescriptions(Mapping[str, str]):
    """Feature names and their short descriptions, as `MLModel.input_description` gives them."""

    def __init__(self, features: Any) -> None:
        self._features = {feature.name: str(feature.shortDescription) for feature in features}

    def __getitem__(self, name: str) -> str:
        return self._features[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._features)

    def __len__(self) -> int:
        return len(self._features)

    def __repr__(self) -> str:
        return f"Features({','.join(self)})"


@dataclass(frozen=True)
class InputFeature:
    """An input: its type in the program and the shapes that its description allows.

    Attributes:
        ranges: lowest and highest size of each dimension; None stands for no upper bound.
        shapes: the allowed shapes where they are enumerated, else empty.
        default: what an absent optional input is filled with; None where the input is not optional.
        colours: an image's colour space; None where the input is no image.
    """

    name: str
    type: TensorType
    ranges: tuple[tuple[int, int | None], ...]
    shapes: tuple[tuple[int, ...], ...] = ()
    default: float | None = None
    default_shape: tuple[int, ...] = ()
    colours: int | None = None

    def convert(self, value: Any) -> _Array:
        """The value as an array for the graph: float32 (also for fp16), or int32 where it is exact.

        An image is a PIL image, or an array of its pixels as the program has them.

        Raises:
            UsageError: the value's type or shape does not fit; the message names the input.
        """
        try:
            picture = self.colours is not None and is_image(value)
            array = read_image(value, self.colours or 0) if picture else np.asarray(value)
        except (ValueError, TypeError) as exc:
            raise self._error(f"is no array: {exc}") from exc
        array = self._cast(array)
        if (array.ndim == 0 and self.type.rank <= 1) or (self.type.rank == 0 and array.shape == (1,)):
            array = array.reshape((1,) * self.type.rank)
        self._check_shape(array.shape)
        return np.ascontiguousarray(array) if array.ndim else array

    def fill(self) -> _Array:
        """The array of an absent optional input."""
        if self.default is None:
            raise self._error("is missing")
        return self._cast(np.full(self.default_shape if self.type.rank else (), self.default))

    def _cast(self, array: _Array) -> _Array:
        target = np.dtype(np.float32 if self.type.is_float else self.type.dtype)
        if array.dtype == target:
            return array
        if array.dtype.kind not in "fiub":
            raise self._error(f"has elements of {array.dtype}, {target} is needed")
        with np.errstate(all="ignore"):
            result = array.astype(target)
        between_floats = array.dtype.kind == "f" and target.kind == "f"
        if not between_floats and not np.array_equal(result, array):
            raise self._error(f"has elements of {array.dtype} that {target} cannot hold exactly")
        return result

    def _check_shape(self, shape: tuple[int, ...]) -> None:
        fits = len(shape) == len(self.ranges) and all(
            low <= size and (high is None or size <= high) for size, (low, high) in zip(shape, self.ranges, strict=True)
        )
        if not fits or (self.shapes and shape not in self.shapes):
            raise self._error(f"has shape {list(shape)}, {self._wanted()} is needed")

    def _wanted(self) -> str:
        if self.shapes:
            return " or ".join(str(list(shape)) for shape in self.shapes)
        sizes = [str(low) if low == high else f"{low}..{'' if high is None else high}" for low, high in self.ranges]
        return f"[{', '.join(sizes)}]"

    def up_to(self, graph: TensorType) -> InputFeature:
        """The same with any size from 1 on along the axes that a graph leaves open."""
        pairs = zip(self.ranges, graph.shape, strict=True)
        return replace(self, ranges=tuple((1, None) if size is None else bounds for bounds, size in pairs))

    def _error(self, message: str) -> UsageError:
        return UsageError(f"the input {self.name!r} {message}")


@dataclass(frozen=True)
class Interface:
    """The inputs of a function by name, and the descriptions that users read."""

    inputs: dict[str, InputFeature]
    input_description: FeatureDescriptions
    output_description: FeatureDescriptions
    state_description: FeatureDescriptions
    images: dict[str, int]  # outputs that are images, and their colour spaces

    def convert(self, data: Mapping[str, Any]) -> dict[str, _Array]:
        """All inputs as arrays; `data` is left as it is.

        Raises:
            UsageError: a name is unknown or missing, or a value does not fit.
        """
        unknown = [name for name in data if name not in self.inputs]
        if unknown:
            raise UsageError(
                f"there is no input {unknown[0]!r}", hint=f"the inputs are {', '.join(self.inputs) or 'none'}"
            )
        return {
            name: feature.convert(data[name]) if name in data else feature.fill()
            for name, feature in self.inputs.items()
        }


def read_interface(spec: Any, function: Function) -> Interface:
    """The interface of one function of a model.

    Raises:
        PackageError: the description and the program disagree.
        UnsupportedError: an input is of a kind that the portable executor does not take yet.
    """
    description = spec.description
    for candidate in spec.description.functions:
        if candidate.name == function.name:
            description = candidate
    types = {value.name: value.type for value in function.inputs}
    inputs = {}
    for feature in description.input:
        found = types.get(feature.name)
        if not isinstance(found, TensorType):
            raise PackageError(
                f"the described input {feature.name!r} is no tensor of the function", where=function.name
            )
        inputs[feature.name] = _input(feature, found, function.name)
    lacking = [name for name, found in types.items() if isinstance(found, TensorType) and name not in inputs]
    if lacking:
        raise PackageError(f"the input {lacking[0]!r} is not described", where=function.name)
    return Interface(
        inputs,
        FeatureDescriptions(description.input),
        FeatureDescriptions(description.output),
        FeatureDescriptions(description.state),
        {f.name: _colours(f, function.name) for f in description.output if f.type.WhichOneof("Type") == "imageType"},
    )


def _input(feature: Any, found: TensorType, where: str) -> InputFeature:
    kind = feature.type.WhichOneof("Type")
    if kind == "imageType":
        return _image(feature, found, where)
    if kind != "multiArrayType":
        raise UnsupportedError(f"the input {feature.name!r} is of kind {kind}, not a tensor or an image", where=where)
    array = feature.type.multiArrayType
    if array.dataType not in ARRAY_DTYPES:
        raise PackageError(f"the input {feature.name!r} has an unknown element type", where=where)
    flexible = array.WhichOneof("ShapeFlexibility")
    described = _described_ranges(array) if flexible == "shapeRange" else ()
    ranges: list[tuple[int, int | None]] = []
    for axis, size in enumerate(found.shape):
        if size is not None:
            ranges.append((size, size))
        elif axis < len(described):
            ranges.append(described[axis])
        else:
            ranges.append((0, None))
    shapes = tuple(tuple(s.shape) for s in array.enumeratedShapes.shapes) if flexible == "enumeratedShapes" else ()
    default = None
    if feature.type.isOptional:
        _check_default(feature.name, array.shape, where)
        chosen = array.WhichOneof("defaultOptionalValue")
        default = float(getattr(array, chosen)) if chosen else 0.0
    return InputFeature(feature.name, found, tuple(ranges), shapes, default, tuple(array.shape))


def _check_default(name: str, shape: Sequence[int], where: str) -> None:
    """An absent optional input is filled: not with gigabytes because a description says so."""
    if any(size < 0 for size in shape) or prod(shape) > _MOST_FILLED:
        raise PackageError(f"the optional input {name!r} has the default shape {list(shape)}", where=where)


def _colours(feature: Any, where: str) -> int:
    space = int(feature.type.imageType.colorSpace)
    if space not in COLOURS:
        raise PackageError(f"the image {feature.name!r} has no known colour space", where=where)
    return space


def _image(feature: Any, found: TensorType, where: str) -> InputFeature:
    """An input that is an image [1, C, H, W]: one size, some, or a range."""
    image, colours = feature.type.imageType, _colours(feature, where)
    channels = COLOURS[colours][1]
    if found.rank != 4 or found.shape[1] not in (channels, None):
        raise PackageError(f"the image {feature.name!r} is a tensor of shape {list(found.shape)}", where=where)
    flexible = image.WhichOneof("SizeFlexibility")
    sizes: list[tuple[int, int | None]] = [(int(n), int(n)) for n in (image.height, image.width)]
    shapes: tuple[tuple[int, ...], ...] = ()
    if flexible == "imageSizeRange":
        sizes = [*_ranges((image.imageSizeRange.heightRange, image.imageSizeRange.widthRange))]
    elif flexible == "enumeratedSizes":
        sizes = [(0, None), (0, None)]
        listed = {(int(size.height), int(size.width)) for size in image.enumeratedSizes.sizes}
        shapes = tuple((1, channels, *size) for size in sorted({*listed, (int(image.height), int(image.width))}))
    ranges = [(1, 1), (channels, channels), *sizes]
    fixed = [r if size is None else (size, size) for r, size in zip(ranges, found.shape, strict=True)]
    default = 0.0 if feature.type.isOptional else None
    shape = (1, channels, int(image.height), int(image.width))
    return InputFeature(feature.name, found, tuple(fixed), shapes, default, shape, colours)


def _described_ranges(array: Any) -> tuple[tuple[int, int | None], ...]:
    return tuple(_ranges(array.shapeRange.sizeRanges))


def _ranges(sizes: Any) -> Iterator[tuple[int, int | None]]:
    for size in sizes:
        yield int(size.lowerBound), None if size.upperBound < 0 else int(size.upperBound)
