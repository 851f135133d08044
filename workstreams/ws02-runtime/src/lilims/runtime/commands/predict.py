"""Run one function of any package on arrays and images from files.

Knows files of inputs and outputs. Must not know what runs a package.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lilims.core import cli
from lilims.core.console import console, one_line
from lilims.core.errors import InputError, MissingDependencyError, UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from rich.console import Console as RichConsole

__all__ = ["command", "read_inputs", "write_outputs"]

_MOST = 4 << 30  # bytes of one input
_IMAGES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
_NAME = re.compile(r"[\w.\-]+")


@cli.command("predict", epilog="Example: lilims predict encoder.mlpackage --input audio=window.npy --output-dir out")
@click.option("--input", "inputs", metavar="NAME=FILE", multiple=True, help="An array (.npy), or an image; repeatable.")
@click.option("--output-dir", type=click.Path(path_type=Path), help="Writes each output to NAME.npy or NAME.png there.")
@click.option("--function", metavar="NAME", help="The function to run [default: the package's default function].")
@click.option("--repeat", type=click.IntRange(1), default=1, help="Runs it as often, on one state; the last counts.")
@click.option(
    "--time-limit", metavar="SECONDS", type=cli.FiniteRange(0, min_open=True), help="Gives up a run after it."
)
@click.option(
    "--precision",
    type=click.Choice(["fast", "exact", "fp16"]),
    default="exact",
    show_default=True,
    help="fast rounds activations of quantised products to int8; fp16 rounds every result.",
)
@cli.model_argument
def command(
    model: str,
    inputs: tuple[str, ...],
    output_dir: Path | None,
    function: str | None,
    repeat: int,
    time_limit: float | None,
    precision: Any,
) -> None:
    """Runs a function of MODEL by the portable executor and shows what came out.

    MODEL is any ML Program package (.mlpackage, or compiled: .mlmodelc), a pipeline of such, or a model folder. A
    function with states begins with zeros.
    """
    from lilims.core.locate import is_package, locate
    from lilims.core.package_manifest import package_of
    from lilims.core.usage import hold

    from ..portable import MLModel

    found = locate(model)
    hold(found)
    package = found if is_package(found) else package_of(found)
    given = read_inputs(inputs)
    loaded = MLModel(package, function_name=function, precision=precision)
    state = loaded.make_state() if list(loaded.state_description) else None
    for _ in range(repeat):
        outputs = loaded.predict(given, state, time_limit=time_limit)
    files = write_outputs(output_dir, outputs) if output_dir is not None else {}
    shown = {name: {**_described(value), **({"file": files[name]} if files else {})} for name, value in outputs.items()}
    value = {"package": str(package), "function": loaded.function_name, "outputs": shown}
    console.result("predict", value, lambda out: _draw(out, shown))


def read_inputs(given: Sequence[str]) -> dict[str, Any]:
    """Inputs of the form NAME=FILE: arrays of .npy files, mapped, and PIL images.

    Raises:
        UsageError: one has not that form, a name comes twice, or a file is of another kind.
        InputError: a file is missing, damaged or too large.
        MissingDependencyError: an image is given and Pillow is not installed.
    """
    found: dict[str, Any] = {}
    for text in given:
        name, equals, file = text.partition("=")
        if not (name and equals and file):
            raise UsageError(f"--input {text!r} is not NAME=FILE", hint="--input audio=window.npy")
        if name in found:
            raise UsageError(f"--input {name!r} is given twice")
        found[name] = _read(Path(file))
    return found


def _read(path: Path) -> Any:
    if not path.is_file():
        raise InputError("no such file", where=path, hint="check the path")
    if path.stat().st_size > _MOST:
        raise InputError(f"the input has more than {_MOST} bytes", where=path)
    kind = path.suffix.lower()
    if kind == ".npy":
        return _array(path)
    if kind in _IMAGES:
        return _image(path)
    raise UsageError(f"{path} is neither an array (.npy) nor an image", hint="numpy.save writes arrays")


def _array(path: Path) -> NDArray[Any]:
    import warnings
    from tokenize import TokenError  # numpy reads a header as Python

    import numpy as np

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of headers as Python 2 wrote them, which some damage looks like
            found: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
        return found
    except (ValueError, OSError, EOFError, SyntaxError, TokenError) as exc:
        raise InputError(
            f"not an array: {one_line(str(exc))}", where=path, hint="numpy.save(FILE, array) writes one"
        ) from exc


def _image(path: Path) -> Any:
    try:
        from PIL import Image
    except ImportError as exc:
        raise MissingDependencyError("an image needs Pillow", hint="pip install pillow") from exc
    try:
        with Image.open(path) as image:
            image.load()
            return image.copy()
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as exc:
        raise InputError(f"not an image: {one_line(str(exc))}", where=path) from exc


def write_outputs(folder: Path, outputs: Mapping[str, Any]) -> dict[str, str]:
    """Writes each output to a file of its name: arrays as .npy, images as .png, others as .json.

    Returns:
        output → path.

    Raises:
        UsageError: an output's name is no file name.
        StorageError: a file cannot be written.
    """
    from lilims.core.files import storage_errors, write_atomic

    for name in outputs:
        if not _NAME.fullmatch(name) or name.startswith("."):
            raise UsageError(f"the output {name!r} cannot be a file's name", hint="leave --output-dir out")
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    written = {}
    for name, value in outputs.items():
        suffix, data = _bytes(value)
        path = folder / f"{name}{suffix}"
        write_atomic(path, data)
        written[name] = str(path)
    return written


def _bytes(value: Any) -> tuple[str, bytes]:
    import io
    import json

    import numpy as np

    memory = io.BytesIO()
    if isinstance(value, np.ndarray):
        np.save(memory, value, allow_pickle=False)
        return ".npy", memory.getvalue()
    if hasattr(value, "save"):  # an image; PNG has no float pixels
        value.save(memory, "TIFF" if value.mode == "F" else "PNG")
        return (".tiff" if value.mode == "F" else ".png"), memory.getvalue()
    return ".json", json.dumps(value).encode()


def _described(value: Any) -> dict[str, Any]:
    import numpy as np

    if isinstance(value, np.ndarray):
        return {"dtype": str(value.dtype), "shape": list(value.shape), **_figures(value)}
    if hasattr(value, "size") and hasattr(value, "mode"):
        return {"image": value.mode, "size": list(value.size)}
    if isinstance(value, Mapping):  # of a classifier: the likeliest
        best = sorted(value.items(), key=lambda item: -item[1])[:5]
        return {"probabilities": {str(label): float(share) for label, share in best}}
    return {"value": value}


def _figures(values: np.ndarray[Any, Any]) -> dict[str, Any]:
    import numpy as np

    if not values.size or values.dtype.kind not in "fiu":
        return {}
    finite = values[np.isfinite(values)].astype(np.float64)
    found = (
        {"least": float(finite.min()), "mean": float(finite.mean()), "most": float(finite.max())} if finite.size else {}
    )
    return {**found, "not_finite": int(values.size - finite.size)}


def _draw(out: RichConsole, outputs: Mapping[str, Mapping[str, Any]]) -> None:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for title in ("output", "type", "shape", "least", "mean", "most"):
        table.add_column(title, justify="right" if title in ("least", "mean", "most") else "left")
    for name, found in outputs.items():
        kind = found.get("dtype") or ("image " + found["image"] if "image" in found else "")
        shape = found.get("shape", found.get("size", found.get("value", found.get("probabilities", ""))))
        numbers = [f"{found[key]:.5g}" if key in found else "" for key in ("least", "mean", "most")]
        table.add_row(one_line(name), kind, one_line(str(shape)), *numbers)
    out.print(table)
    for name, found in outputs.items():
        if found.get("not_finite"):
            out.print(f"{one_line(name)}: {found['not_finite']} values are not finite", markup=False)
        if "file" in found:
            out.print(f"{one_line(name)} → {one_line(found['file'])}", markup=False)
