"""Packages made inside tests: coremltools' Builder, quiet, off macOS."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest


@pytest.fixture(scope="session")
def ct() -> Iterator[ModuleType]:
    """coremltools, imported without the warnings it gives off macOS."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield pytest.importorskip("coremltools")


@pytest.fixture(scope="session")
def mb(ct: ModuleType) -> Any:
    """coremltools' MIL Builder."""
    from coremltools.converters.mil.mil import Builder

    return Builder


@pytest.fixture
def save(ct: ModuleType, tmp_path: Path) -> Callable[..., Path]:
    """Saves programs as an .mlpackage: `save(main=prog)`, or several functions by name; returns its path.

    `inputs` says which shapes a single function takes, as `ct.convert` has it.
    """

    def write(target: str = "iOS18", inputs: Any = None, **programs: Any) -> Path:
        path = tmp_path / f"{'-'.join(programs)}.mlpackage"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            _convert(ct, getattr(ct.target, target), programs, inputs).save(str(path))
            gc.collect()  # coremltools leaves a temporary folder to the collector, which would warn in a later test
        return path

    return write


def _convert(ct: ModuleType, target: Any, programs: dict[str, Any], inputs: Any) -> Any:
    from coremltools.converters.mil.converter import mil_convert
    from coremltools.converters.mil.mil import Program

    if list(programs) == ["main"]:
        return ct.convert(
            programs["main"],
            inputs=inputs,
            convert_to="mlprogram",
            source="milinternal",
            minimum_deployment_target=target,
            pass_pipeline=ct.PassPipeline.EMPTY,
            skip_model_load=True,
            compute_units=ct.ComputeUnit.CPU_ONLY,
        )
    whole = Program()
    for name, program in programs.items():
        whole.add_function(name, program.functions["main"])
    whole.default_function_name = next(iter(programs))
    whole.export_as_multifunction = True
    whole.skip_all_passes = True
    return mil_convert(
        whole,
        "milinternal",
        "mlprogram",
        specification_version=target,
        compute_units=ct.ComputeUnit.CPU_ONLY,
        export_multi_functions=True,
        skip_model_load=True,
        pass_pipeline=ct.PassPipeline.EMPTY,
    )
