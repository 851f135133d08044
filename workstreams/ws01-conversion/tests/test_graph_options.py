"""Chunks, buckets, the embedding on the host, packages of layers and of functions: each equals the plain package."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lilims.conversion import GraphOptions, convert
from lilims.conversion.emit.check import load_back
from lilims.conversion.shapes import plan_packages, plan_shapes
from lilims.core.errors import IntegrityError, LilimsError, UsageError
from lilims.core.manifest import Manifest, read_manifest, write_manifest
from lilims.runtime import load
from lilims.runtime.portable.fusion import fuse
from lilims.runtime.portable.package import Package
from lilims.runtime.portable.reader import read_program

from .conftest import reference
from .test_package import functions_of, histogram
from .test_reference import assert_same_choice, relative_rms

pytestmark = pytest.mark.slow

Make = Callable[..., Path]


@pytest.fixture(scope="session")
def shaped(checkpoint_of: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Makes (once) the model folder of a tiny model with these graph options."""
    made: dict[str, Path] = {}

    def make(name: str, scheme: str = "int4", **options: Any) -> Path:
        key = f"{name} {scheme} {options}"
        if key not in made:
            made[key] = tmp_path_factory.mktemp("model") / name
            convert(checkpoint_of(name), made[key], quantize=scheme, graph=GraphOptions(**options))
        return made[key]

    return make


def assert_same_model(found: Path, plain: Path, name: str, error: float) -> None:
    """The logits of every row by `score`, and those of a prefill and the decode steps behind it."""
    ids = reference(name).arrays["prompt"].tolist()
    wanted = load(plain, precision="exact").logits(ids)
    model = load(found, precision="exact")
    assert relative_rms(model.logits(ids), wanted) < error
    assert relative_rms(model.step_logits(ids, prefill=20), wanted[19:]) < max(error, 1e-5)


def assert_same_bits(found: Path, plain: Path, name: str) -> None:
    """With every result rounded to fp16, as on a device, it makes no difference where a value crosses a package."""
    ids = reference(name).arrays["prompt"].tolist()
    wanted = load(plain, precision="fp16").logits(ids)
    assert (load(found, precision="fp16").logits(ids) == wanted).all()


# -- functions -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [8, 32])
def test_a_prefill_chunk(shaped: Make, chunk: int) -> None:
    folder = shaped("llama", prefill_chunk=chunk)
    manifest = read_manifest(folder)
    assert {name: f.tokens for name, f in manifest.functions.items()} == {"decode": 1, "prefill": chunk, "score": chunk}
    assert manifest.state.shape[2] == 96  # 64 of context, and the chunk, in multiples of 32
    assert_same_model(folder, shaped("llama"), "llama", 1e-5)


@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma2"])
def test_buckets_equal_the_whole_state(shaped: Make, name: str) -> None:
    folder = shaped(name, buckets=(32,), prefill_chunk=8)
    manifest = read_manifest(folder)
    assert {n: f.rows for n, f in manifest.functions.items() if n.endswith("_32")} == {
        "decode_32": 32,
        "prefill_32": 32,
    }
    assert_same_model(folder, shaped(name, prefill_chunk=8), name, 1e-5)


def test_a_text_that_grows_out_of_its_bucket_takes_the_next(shaped: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    model = load(shaped("llama", buckets=(32,), prefill_chunk=8), precision="exact")
    called: list[str] = []
    function = model._executor.function
    monkeypatch.setattr(model._executor, "function", lambda name: called.append(name) or function(name))
    session = model.session()
    for ids in ([5] * 28, [6], [7], [8], [9], [1]):
        session.append(ids)
    assert called == ["prefill_32"] + ["decode_32"] * 5 + ["decode"]  # 27 tokens at once, and the last one alone
    called.clear()
    model.session().append([5] * 40)
    assert called == ["prefill_32", "prefill"]


# -- embedding -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "scheme", "codes"),
    [
        ("llama", "fp16", "fp16"), ("llama", "int8", "int8"), ("llama", "int4", "int4"),
        ("llama", "int4-asym", "uint4"), ("llama", "lut3-r8", "fp16"), ("gemma2", "int4", "int4"),
        ("gpt2", "int4", "int4"),
    ],
)  # fmt: skip
def test_the_embedding_on_the_host(shaped: Make, name: str, scheme: str, codes: str) -> None:
    """Exact where rows are fp16 values; else the file's rows are rounded to fp16, as a device rounds its own."""
    folder = shaped(name, scheme, embedding="host")
    manifest = read_manifest(folder)
    assert manifest.embedding is not None
    assert manifest.embedding.codes == codes
    assert "embedding.bin" in manifest.files
    assert_same_model(folder, shaped(name, scheme), name, 1e-6 if codes == "fp16" else 1e-3)
    assert_same_bits(folder, shaped(name, scheme), name)


def test_the_package_has_the_embedding_only_as_a_tied_head(shaped: Make) -> None:
    def weights(folder: Path) -> int:
        return next(folder.rglob("weight.bin")).stat().st_size

    tied, untied = "gemma2", "llama"
    assert weights(shaped(tied, embedding="host")) == weights(shaped(tied))
    assert weights(shaped(untied, embedding="host")) < weights(shaped(untied)) - 3000


# -- packages --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "limit"), [("llama", 0.033), ("gemma2", 0.03), ("gpt2", 0.046)])
def test_a_package_for_each_layer(shaped: Make, name: str, limit: float) -> None:
    """The limits are just above the largest layer, embedding and head included."""
    folder = shaped(name, max_chunk_mb=limit)
    manifest = read_manifest(folder)
    assert [(part.first_layer, part.layers) for part in manifest.parts] == [
        (i, 1) for i in range(manifest.architecture.layers)
    ]
    assert [part.package for part in manifest.parts][:2] == ["model_00.mlpackage", "model_01.mlpackage"]
    assert_same_model(folder, shaped(name), name, 1e-3)
    assert_same_bits(folder, shaped(name), name)


def test_packages_hold_as_many_layers_as_fit(shaped: Make) -> None:
    folder = shaped("llama", max_chunk_mb=0.06)
    assert [part.layers for part in read_manifest(folder).parts] == [2, 1]
    assert_same_model(folder, shaped("llama"), "llama", 1e-3)
    for path in folder.rglob("weight.bin"):
        assert path.stat().st_size <= 60_000
    assert [p.name for p in folder.iterdir() if p.name.startswith(".")] == []


def test_a_limit_that_everything_fits_makes_one_package(shaped: Make) -> None:
    manifest = read_manifest(shaped("llama", max_chunk_mb=100))
    assert (manifest.parts, manifest.package) == ([], "model.mlpackage")


def test_each_package_is_opened_once(shaped: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    from lilims.runtime.portable import session

    built: list[str] = []
    create = session.Executable.__init__

    def counted(self: Any, graph: Any, **options: Any) -> None:
        built.append(graph.name)
        create(self, graph, **options)

    monkeypatch.setattr(session.Executable, "__init__", counted)
    model = load(shaped("llama", max_chunk_mb=0.06), precision="exact")
    for _ in range(2):
        assert len(list(model.generate([1, 2, 3], max_tokens=4, ignore_eos=True))) == 4
    assert built == ["prefill", "prefill"]


def test_functions_in_packages_of_their_own_share_a_file(shaped: Make) -> None:
    folder = shaped("llama", split_functions=True)
    parts = read_manifest(folder).parts
    assert [(part.package, part.functions) for part in parts] == [
        (f"model_{name}.mlpackage", [name]) for name in ("decode", "prefill", "score")
    ]
    for part in parts:
        package = Package(folder / part.package)
        assert [function.name for function in package.spec.description.functions] == part.functions
        assert list(json.loads(package.spec.description.metadata.userDefined["lilims.functions"])) == part.functions
    files = [path.stat() for path in sorted(folder.rglob("weight.bin"))]
    assert len(files) == 3
    assert len({file.st_ino for file in files}) == 1
    assert_same_model(folder, shaped("llama"), "llama", 1e-6)


def test_where_there_are_no_links_weights_are_copied(
    checkpoint_of: Callable[[str], Path], shaped: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(source: Any, target: Any) -> None:
        raise OSError(1, "no links here")

    monkeypatch.setattr("lilims.conversion.packages.os.link", refused)
    convert(checkpoint_of("llama"), tmp_path / "m", quantize="int4", graph=GraphOptions(split_functions=True))
    assert len({path.stat().st_ino for path in (tmp_path / "m").rglob("weight.bin")}) == 3
    assert read_manifest(tmp_path / "m").files == read_manifest(shaped("llama", split_functions=True)).files


def test_all_at_once(shaped: Make) -> None:
    """A model with two kinds of masks and of rotary tables, cut in every way that there is."""
    options = {
        "buckets": (32,),
        "prefill_chunk": 16,
        "embedding": "host",
        "max_chunk_mb": 0.033,
        "split_functions": True,
    }
    folder = shaped("gemma3_text", **options)
    manifest = read_manifest(folder)
    assert len(manifest.parts) == 5 * len({part.first_layer for part in manifest.parts}) > 5
    assert_same_model(folder, shaped("gemma3_text"), "gemma3_text", 2e-3)
    plain = shaped("gemma3_text", prefill_chunk=16)
    assert_same_bits(folder, plain, "gemma3_text")


def test_resumed_work_gives_the_same_bytes(checkpoint_of: Callable[[str], Path], shaped: Make, tmp_path: Path) -> None:
    options = GraphOptions(max_chunk_mb=0.06, embedding="host")
    convert(checkpoint_of("llama"), tmp_path / "m", quantize="int4", graph=options, resume=True)
    plain = shaped("llama", max_chunk_mb=0.06, embedding="host")
    assert read_manifest(tmp_path / "m").files == read_manifest(plain).files


# -- convolutions ----------------------------------------------------------------------------------------------------

CONVOLUTIONS = ["llama", "gpt2", "gemma2", "phi", "qwen3", "olmo2"]  # partial rotary: llama, phi; norms on heads, on Q


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions_compute_what_transformers_does(shaped: Make, name: str) -> None:
    recorded = reference(name)
    ids, wanted = recorded.arrays["prompt"].tolist(), recorded.arrays["logits_fp16"]
    folder = shaped(name, "fp16", layout="conv")
    model = load(folder, precision="exact")
    found = model.logits(ids)
    assert relative_rms(found, wanted) < 1e-3
    assert_same_choice(found, wanted)
    assert relative_rms(model.step_logits(ids, prefill=13), wanted[12:]) < 1e-3
    rounded = load(folder, precision="fp16").logits(ids)
    assert relative_rms(rounded, wanted) < 1e-2


@pytest.mark.parametrize("scheme", ["int4-channel", "int8-asym", "lut4-r8"])
def test_convolutions_take_every_form_of_weight(shaped: Make, scheme: str) -> None:
    assert_same_model(shaped("llama", scheme, layout="conv"), shaped("llama", scheme), "llama", 1e-4)


@pytest.mark.parametrize("scheme", ["int4", "lut4-r8"])
def test_every_linear_becomes_a_convolution_over_the_same_bytes(shaped: Make, scheme: str) -> None:
    plain, folder = (shaped("gemma2", scheme, **options) for options in ({}, {"layout": "conv"}))
    wanted, found = (functions_of(path)["prefill"] for path in (plain, folder))
    assert histogram(wanted)["linear"] == histogram(found)["conv"] > 0
    assert "linear" not in histogram(found)
    sizes = [next(path.rglob("weight.bin")).stat().st_size for path in (plain, folder)]
    assert sizes[1] <= sizes[0]  # a linear has a bias of zeros, a convolution none
    assert read_manifest(folder).layout == "conv"
    assert set(load_back(folder / "model.mlpackage").functions) == {"decode", "prefill", "score"}


def test_int4_convolutions_are_computed_on_their_codes(shaped: Make) -> None:
    function = read_program(Package(shaped("llama", layout="conv") / "model.mlpackage")).functions["decode"]
    kinds = [op.type for op in fuse(function, "exact").ops]
    assert kinds.count("lilims.quantized_linear") == 3 * 7 + 1  # q, k, v, o, gate, up, down; and the head
    assert "conv" not in kinds


def test_convolutions_in_packages_of_layers(shaped: Make) -> None:
    options = {"layout": "conv", "max_chunk_mb": 0.06, "embedding": "host", "buckets": (32,), "prefill_chunk": 16}
    assert_same_model(shaped("llama", **options), shaped("llama"), "llama", 1e-3)


def test_a_mixture_has_no_form_of_convolutions(checkpoint_of: Callable[[str], Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--layout conv has no form for a mixture of experts"):
        convert(checkpoint_of("mixtral"), tmp_path / "m", graph=GraphOptions(layout="conv"))


# -- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"prefill_chunk": 12}, "--prefill-chunk must be a multiple of 8 from 8 to 1024, not 12"),
        ({"prefill_chunk": 2048}, "not 2048"),
        ({"prefill_chunk": 128}, "--prefill-chunk 128 is more than the context of 64"),
        ({"buckets": (40,)}, "--buckets must be multiples of 32, not 40"),
        ({"buckets": (32, 32)}, "--buckets names a number twice"),
        ({"buckets": (64,)}, "--buckets 64 is not below the context of 64"),
        ({"layout": "round"}, "--layout must be linear or conv, not 'round'"),
        ({"embedding": "cloud"}, "--embedding must be package or host, not 'cloud'"),
        ({"max_chunk_mb": 0.0}, "--max-chunk-mb must be a number above 0, not 0"),
        ({"max_chunk_mb": float("nan")}, "not nan"),
        ({"max_chunk_mb": 0.001}, "takes 0.03 MB, more than --max-chunk-mb 0.001"),
    ],
    ids=["odd", "large", "context", "rows", "twice", "bucket", "layout", "where", "zero", "nan", "too-small"],
)
def test_options_that_make_no_sense(
    checkpoint_of: Callable[[str], Path], tmp_path: Path, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(UsageError) as caught:
        convert(checkpoint_of("llama"), tmp_path / "m", quantize="int4", graph=GraphOptions(**options))
    assert words in caught.value.message
    assert list(tmp_path.iterdir()) == []


def test_the_hint_of_a_limit_that_is_too_small_is_enough(checkpoint_of: Callable[[str], Path]) -> None:
    from lilims.conversion.prepare import prepare

    spec = prepare(checkpoint_of("llama")).spec
    bytes_of = {role: 1000 * (index % 7 + 1) for index, (role, _) in enumerate(spec.roles())}
    with pytest.raises(UsageError) as caught:
        plan_packages(spec, GraphOptions(max_chunk_mb=0.001), bytes_of)
    needed = float(str(caught.value.hint).split()[1])
    packages = plan_packages(spec, GraphOptions(max_chunk_mb=needed), bytes_of)
    assert [(p.first, p.end) for p in packages][-1][1] == len(spec.layers)
    roles = [role for package in packages for role in package.roles(spec, host_embedding=False)]
    assert sorted(roles) == sorted(role for role, _ in spec.roles())


def test_a_bucket_smaller_than_the_chunk_has_no_prefill(checkpoint_of: Callable[[str], Path]) -> None:
    from lilims.conversion.prepare import prepare

    shapes = plan_shapes(prepare(checkpoint_of("llama")).spec, 64, 64, GraphOptions(buckets=(32,)))
    assert [f.name for f in shapes.functions] == ["decode", "prefill", "score", "decode_32"]


def changed(folder: Path, target: Path, change: Callable[[Path], dict[str, Any]]) -> Path:
    """A copy of a model in which something was changed; its manifest with the fields that `change` gives."""
    shutil.copytree(folder, target)
    raw = json.loads((target / "manifest.json").read_text())
    raw.pop("digest")
    raw.update(change(target))
    write_manifest(target, Manifest.model_validate(raw))
    return target


def no_chunk(folder: Path) -> dict[str, Any]:
    shutil.rmtree(folder / "model_01.mlpackage")
    return {}


def no_embedding(folder: Path) -> dict[str, Any]:
    (folder / "embedding.bin").unlink()
    return {}


def unrecorded(folder: Path) -> dict[str, Any]:
    (folder / "embedding.bin").write_bytes(b"123")
    files = json.loads((folder / "manifest.json").read_text())["files"]
    del files["embedding.bin"]
    return {"files": files}


def swapped(folder: Path) -> dict[str, Any]:
    one, two = folder / "model_00.mlpackage", folder / "model_01.mlpackage"
    one.rename(folder / "x")
    two.rename(one)
    (folder / "x").rename(two)
    return {"files": {}}


def missing_layers(folder: Path) -> dict[str, Any]:
    return {"parts": json.loads((folder / "manifest.json").read_text())["parts"][:1]}


DAMAGE: dict[str, tuple[Callable[[Path], dict[str, Any]], type[LilimsError], str]] = {
    "no-chunk": (no_chunk, IntegrityError, "model_01.mlpackage"),
    "no-embedding": (no_embedding, IntegrityError, "embedding.bin"),
    "wrong-embedding": (unrecorded, LilimsError, "embedding.bin: has 3 bytes"),
    "swapped": (swapped, LilimsError, "model_00.mlpackage"),
    "missing-layers": (missing_layers, LilimsError, "the packages hold 2 of 3 layers"),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_damaged_split_model_is_refused_in_one_line(shaped: Make, tmp_path: Path, case: str) -> None:
    change, error, words = DAMAGE[case]
    folder = changed(shaped("llama", max_chunk_mb=0.06, embedding="host"), tmp_path / "m", change)
    with pytest.raises(error) as caught:
        load(folder)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_inspect_adds_up_a_split_model(shaped: Make) -> None:
    from click.testing import CliRunner

    from lilims.runtime.commands.inspect import command

    folder = shaped("llama", max_chunk_mb=0.06, embedding="host")
    result = CliRunner().invoke(command, [str(folder), "--json"])
    value = json.loads(result.output)
    assert value["contract"]["holds"] is True
    assert [part["layers"] for part in value["parts"]] == [2, 1]
    plain = CliRunner().invoke(command, [str(shaped("llama", embedding="host")), "--json"])
    zeros = 64 + 128  # biases that both packages have
    assert value["parameters"] == json.loads(plain.output)["parameters"] + zeros
    assert value["state_bytes"] == json.loads(plain.output)["state_bytes"]
    assert value["memory"]["embedding_file"] == (folder / "embedding.bin").stat().st_size
