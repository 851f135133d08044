"""Every scheme end to end: what is in the package is what was computed, and the portable executor runs exactly that."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lilims.conversion import convert
from lilims.conversion.prepare import prepare
from lilims.conversion.quantize import parse_scheme, quantize
from lilims.conversion.weights.tensors import padded
from lilims.core.manifest import read_manifest
from lilims.runtime import load

from .conftest import reference
from .test_convert import rewrite
from .test_reference import relative_rms

pytestmark = pytest.mark.slow

SCHEMES = (
    "int4-search", "int4-g16", "int4-channel", "int4-asym", "int4-asym-channel-search", "int8-asym", "int8-channel",
    "int8-asym-channel", "lut2-r4", "lut3", "lut4-r8", "lut6-r16", "lut8",
)  # fmt: skip
# Those that are run: how far "fast" may be from "exact". Where a kernel takes the codes it rounds activations to 8 bits
# as well; tables are unpacked, so that nothing is left to differ.
RUN = {
    "int4-search": 5e-2,
    "int4-channel": 5e-2,
    "int4-asym": 5e-2,
    "int8-asym-channel": 5e-2,
    "lut4-r8": 1e-5,
    "lut3": 1e-5,
    "recipe": 5e-2,
}
RECIPE = """
default: int4-asym
tensors:
  embedding: lut6-r16
  "layers.0.attention.*": int8-channel
  "*.mlp.down_proj.weight": int4-g16-search
  "layers.1.attention.[qk].weight": fp16
  "layers.1.*": lut4-r4
"""


@pytest.fixture(scope="module")
def package(checkpoint_of: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Makes (once) the tiny llama's model folder in a scheme, or by the recipe above."""
    made: dict[str, Path] = {}

    def make(scheme: str) -> Path:
        if scheme not in made:
            made[scheme] = tmp_path_factory.mktemp("scheme") / "model"
            recipe = made[scheme].parent / "recipe.yaml"
            recipe.write_text(RECIPE)
            options = {"recipe": recipe} if scheme == "recipe" else {"quantize": scheme}
            convert(checkpoint_of("llama"), made[scheme], **options)  # type: ignore[arg-type]
        return made[scheme]

    return make


def schemes_of(folder: Path, scheme: str) -> dict[str, str]:
    """The scheme of each matrix by role; of the recipe, read by hand."""
    roles = [role for role, tensor in read_manifest(folder).quantization.tensors.items() if len(tensor.shape) == 2]
    if scheme != "recipe":
        return dict.fromkeys(roles, scheme)

    def by_hand(role: str) -> str:
        if role == "embedding":
            return "lut6-r16"
        if role.startswith("layers.0.attention."):
            return "int8-channel"
        if role.endswith("mlp.down.weight"):
            return "int4-g16-search"
        if role in ("layers.1.attention.q.weight", "layers.1.attention.k.weight"):
            return "fp16"
        return "lut4-r4" if role.startswith("layers.1.") else "int4-asym"

    return {role: by_hand(role) for role in roles}


def wanted_values(source: Path, folder: Path, scheme: str) -> dict[str, np.ndarray]:
    """Each matrix as it is stored, padded and dequantised by numpy, by role."""
    given = prepare(source)
    found = {}
    for role, name in schemes_of(folder, scheme).items():
        values = np.asarray(given.checkpoint.tensor(given.names[role]))
        wide = np.zeros(padded(role, values.shape, 32), np.float32)
        wide[: values.shape[0], : values.shape[1]] = values
        found[role] = quantize(wide, parse_scheme(name), name=role).dequantize()
    return found


@pytest.mark.parametrize("scheme", [*SCHEMES, "recipe"])
def test_coremltools_unpacks_the_values_that_were_computed(
    package: Callable[[str], Path], checkpoint_of: Callable[[str], Path], scheme: str
) -> None:
    """Read back from the bytes by coremltools' loader and decompressed by its own constexpr ops, rounded to fp16."""
    from lilims.conversion.emit.check import load_back

    folder = package(scheme)
    wanted = wanted_values(checkpoint_of("llama"), folder, scheme)
    program = load_back(folder / "model.mlpackage")
    found = {
        op.outputs[0].name: op.materialized_val_inference()
        for op in program.functions["decode"].operations
        if op.op_type.startswith("constexpr")
    }
    compressed = {role for role, name in schemes_of(folder, scheme).items() if name != "fp16"}
    assert {role.replace(".", "_") for role in compressed} == set(found)
    for role in compressed:
        np.testing.assert_array_equal(found[role.replace(".", "_")], wanted[role].astype(np.float16), err_msg=role)


@pytest.mark.parametrize("scheme", RUN)
def test_exact_logits_are_those_of_a_dense_package_of_the_same_values(
    package: Callable[[str], Path], checkpoint_of: Callable[[str], Path], tmp_path: Path, scheme: str
) -> None:
    """fp16 holds a table's values, so those are equal; products of codes and scales lose up to 2^-11 of each weight."""
    source = checkpoint_of("llama")
    dense = Path(shutil.copytree(source, tmp_path / "dense"))
    values, names = wanted_values(source, package(scheme), scheme), prepare(source).names

    def put(tensors: dict[str, np.ndarray]) -> None:
        for role, value in values.items():
            rows, columns = tensors[names[role]].shape
            tensors[names[role]] = value[:rows, :columns]

    rewrite(dense, put)
    convert(dense, tmp_path / "model", quantize="fp16")
    prompt = reference("llama").arrays["prompt"].tolist()
    exact = load(package(scheme), precision="exact").logits(prompt)
    wanted = load(tmp_path / "model", precision="exact").logits(prompt)
    assert relative_rms(exact, wanted) < (1e-5 if scheme.startswith("lut") else 1e-3)
    assert relative_rms(load(package(scheme), precision="fast").logits(prompt), exact) < RUN[scheme]


@pytest.mark.parametrize("scheme", ["int4-asym-search", "lut4-r8", "lut3"])
def test_bytes_depend_neither_on_the_run_nor_on_threads(
    checkpoint_of: Callable[[str], Path], tmp_path: Path, scheme: str
) -> None:
    digests = set()
    for jobs in (1, 3):
        folder = convert(checkpoint_of("llama"), tmp_path / f"{jobs}", quantize=scheme, name="m", jobs=jobs).folder
        files = sorted(p for p in folder.rglob("*") if p.is_file())
        digests.add(hashlib.sha256(b"".join(p.read_bytes() for p in files)).hexdigest())
    assert len(digests) == 1


@pytest.mark.parametrize(
    ("scheme", "title", "group", "least", "most"),
    [("int4-asym", "int4-asym", 32, 5.0, 6.0), ("lut4-r8", "lut4-r8", None, 4.0, 6.0), ("recipe", "mixed", None, 5, 9)],
)
def test_the_manifest_tells_what_was_asked_for(
    package: Callable[[str], Path], scheme: str, title: str, group: int | None, least: float, most: float
) -> None:
    found = read_manifest(package(scheme)).quantization
    assert (found.scheme, found.group_size) == (title, group)
    assert least < found.bits_per_weight < most
    assert found.tensors["final_norm.weight"].scheme == "fp16"
    assert (found.recipe is not None) == (scheme == "recipe")
    if scheme == "recipe":
        assert found.tensors["embedding"].scheme == "lut6 16 rows"
        assert found.tensors["layers.0.mlp.down.weight"].scheme == "int4 block 16"
        assert found.recipe == hashlib.sha256(RECIPE.encode()).hexdigest()
