"""Small packages to look at: functions written with coremltools' Builder, saved without any pass."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

Body = Callable[..., Any]


@pytest.fixture(scope="session")
def ct() -> Iterator[ModuleType]:
    """coremltools, imported without the warnings it gives off macOS."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield pytest.importorskip("coremltools")


@pytest.fixture
def package(ct: ModuleType, tmp_path: Path) -> Callable[..., Path]:
    """Saves a package: `package(body, x=(4, 4), s=State(2, 64, 32))`; `body(mb, x, s)` gives the outputs.

    Inputs are fp16, or `dtype`. `units` and `version` go to its metadata; `functions` repeats the body.
    """

    def write(
        body: Body, *, dtype: str = "fp16", units: str | None = None, version: str | None = None,
        functions: int = 1, **inputs: tuple[int, ...],
    ) -> Path:  # fmt: skip
        path = tmp_path / "some.mlpackage"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = _convert(ct, _program(ct, body, dtype, functions, inputs), functions > 1)
            model.user_defined_metadata.update({"lilims.compute_units": units} if units else {})
            model.user_defined_metadata["com.github.apple.coremltools.version"] = version or ct.__version__
            model.save(str(path))
            del model
            gc.collect()  # coremltools leaves a temporary folder to the collector, which would warn in a later test
        return path

    return write


class State(tuple[int, ...]):
    """The shape of a state."""


def _program(ct: ModuleType, body: Body, dtype: str, count: int, inputs: dict[str, tuple[int, ...]]) -> Any:
    from coremltools.converters.mil import Builder as mb
    from coremltools.converters.mil.mil import Function, Program, types

    program = Program()
    for index in range(count):
        element = getattr(types, dtype)
        holders = {
            name: mb.state_tensor_placeholder(tuple(shape), types.fp16)
            if isinstance(shape, State)
            else mb.placeholder(shape, dtype=element)
            for name, shape in inputs.items()
        }
        with Function(holders, opset_version=ct.target.iOS18) as function:
            outputs = body(mb, **function.inputs)
            function.set_outputs(list(outputs) if isinstance(outputs, tuple) else [outputs])
        program.add_function("main" if count == 1 else f"f{index}", function)
    program.default_function_name = "main" if count == 1 else "f0"
    program.export_as_multifunction = count > 1
    program.skip_all_passes = True
    return program


def _convert(ct: ModuleType, program: Any, several: bool) -> Any:
    from coremltools.converters.mil.converter import mil_convert

    return mil_convert(
        program, "milinternal", "mlprogram", specification_version=ct.target.iOS18, export_multi_functions=several,
        compute_units=ct.ComputeUnit.CPU_ONLY, skip_model_load=True, pass_pipeline=ct.PassPipeline.EMPTY,
    )  # fmt: skip
