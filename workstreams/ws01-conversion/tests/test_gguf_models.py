"""Whole models from GGUF: the same logits as from the checkpoint that the file was made of."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lilims.conversion import Conversion, convert
from lilims.conversion.random_checkpoint import write_random_checkpoint
from lilims.conversion.sources.checkpoint import Checkpoint
from lilims.core.errors import CheckpointError, UnsupportedModelError, UsageError
from lilims.runtime import load
from lilims.runtime.portable.decompress import blockwise_shift_scale
from lilims.runtime.portable.package import Package
from lilims.runtime.portable.program import Constant
from lilims.runtime.portable.reader import read_program

from .conftest import MODELS, reference
from .gguf_files import Pack, dequantized_checkpoint, model_config, packer, random_packer, write_gguf
from .test_reference import assert_same_choice, relative_rms

pytestmark = pytest.mark.slow

NOT_IN_GGUF = {  # llama.cpp has no tensors, or no keys, for what is particular in them
    "gpt_neo", "llama-dynamic", "cohere-qknorm", "phi-qknorm", "stablelm-qknorm", "qwen2-window", "qwen3-window",
    "smollm3-window", "qwen3_moe-mixed", "gpt2-scaled", "olmo2-biases", "gpt_neox-plain", "gemma-biases",
    "gemma2-uncapped", "gemma3_text-capped",
}  # fmt: skip
CHANGED: dict[str, dict[str, Any]] = {  # what a GGUF file cannot say: its family takes one value for granted
    "llama-linear": {"hidden_act": "silu"},
    "gemma2": {"query_pre_attn_scalar": 24},
    "qwen3_moe-raw": {"norm_topk_prob": True},
}
NAMES = [name for name in MODELS if name not in NOT_IN_GGUF]


@pytest.mark.parametrize("name", NAMES)
def test_a_float_file_gives_the_logits_of_its_checkpoint(
    checkpoint_of: Callable[[str], Path], tmp_path: Path, name: str
) -> None:
    """Against what transformers computed, or where the config had to change, against the converted checkpoint."""
    recorded, folder = reference(name), checkpoint_of(name)
    prompt = recorded.arrays["prompt"].tolist()
    wanted = recorded.arrays["logits_fp16"]
    if name in CHANGED:
        folder = tmp_path / "checkpoint"
        write_random_checkpoint(model_config(name, MODELS, **CHANGED[name]), folder, seed=recorded.seed)
        done = convert(folder, tmp_path / "reference", quantize="fp16")
        wanted = load(done.folder, precision="exact").logits(prompt)
    write_gguf(folder, tmp_path / "model.gguf", packer("F16"))
    done = convert(tmp_path / "model.gguf", tmp_path / "model")
    found = load(done.folder, precision="exact").logits(prompt)
    assert done.manifest.quantization.scheme == "keep"
    assert relative_rms(found, wanted) < 1e-3
    assert_same_choice(found, wanted)


KEPT = [("llama", kind) for kind in ("Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0")]
KEPT += [("gemma", "Q5_1"), ("phi3", "Q4_0"), ("qwen3_moe", "Q5_1"), ("granite", "Q4_0")]
WIDE = model_config(  # rows of 256, for blocks of 256
    "llama", MODELS, hidden_size=256, intermediate_size=256, num_hidden_layers=1, head_dim=32, num_attention_heads=8
)
ERRORS = {"Q4_0": 0, "Q8_0": 0, "IQ4_NL": 0, "MXFP4": 0, "Q4_K": 0.3, "Q6_K": 0.02, "Q3_K": 0.01, "IQ2_XXS": 0.5}
PROMPT = np.random.default_rng(3).integers(0, 90, 24).tolist()


def both(folder: Path, tmp_path: Path, pack: Pack, **options: Any) -> tuple[Conversion, np.ndarray, np.ndarray]:
    """A checkpoint's GGUF, converted: its logits, and those of an fp16 package of the values that gguf unpacks."""
    write_gguf(folder, tmp_path / "model.gguf", pack)
    done = convert(tmp_path / "model.gguf", tmp_path / "model", **options)
    dequantized_checkpoint(folder, tmp_path / "unpacked", pack)
    dense = convert(tmp_path / "unpacked", tmp_path / "dense", quantize="fp16")
    found, wanted = (load(made.folder, precision="exact").logits(PROMPT) for made in (done, dense))
    return done, found, wanted


@pytest.mark.parametrize(("name", "kind"), KEPT)
def test_kept_codes_give_the_logits_of_unpacked_ones(
    checkpoint_of: Callable[[str], Path], tmp_path: Path, name: str, kind: str
) -> None:
    """Rows turned (llama, granite), cut from stacks (phi3), one of many experts (qwen3_moe), padded (all)."""
    done, found, wanted = both(checkpoint_of(name), tmp_path, packer(kind))
    assert relative_rms(found, wanted) < (4e-3 if kind.endswith("1") else 1e-3)  # offsets are rounded
    tensors = done.manifest.quantization.tensors
    assert {tensors["layers.0.attention.q.weight"].source, tensors["embedding"].source} == {kind}
    assert tensors["final_norm.weight"].source == "F32"


@pytest.mark.parametrize("kind", ERRORS)
def test_types_that_gguf_cannot_make(tmp_path: Path, kind: str) -> None:
    write_random_checkpoint(WIDE, tmp_path / "checkpoint", seed=4)
    done, found, wanted = both(tmp_path / "checkpoint", tmp_path, random_packer(kind))
    assert relative_rms(found, wanted) < (2e-2 if kind == "IQ2_XXS" else 2e-3)
    errors = [t.error_steps for t in done.manifest.quantization.tensors.values() if t.source == kind]
    assert len(errors) == 9 and all(error is not None and error <= ERRORS[kind] for error in errors)


@pytest.mark.parametrize("kind", ["Q4_0", "Q8_0"])
def test_the_package_holds_codes_and_scales_of_the_file_bit_for_bit(tmp_path: Path, kind: str) -> None:
    """What the package's bytes come to in float32 is what gguf unpacks, row for row of the turned Q."""
    write_random_checkpoint(WIDE, tmp_path / "checkpoint", seed=4)
    write_gguf(tmp_path / "checkpoint", tmp_path / "model.gguf", packer(kind))
    folder = convert(tmp_path / "model.gguf", tmp_path / "model").folder
    dequantized_checkpoint(tmp_path / "checkpoint", tmp_path / "unpacked", packer(kind))
    unpacked = Checkpoint(tmp_path / "unpacked")
    found = {}
    for op in read_program(Package(folder / "model.mlpackage")).functions["decode"].ops:
        if op.type == "constexpr_blockwise_shift_scale":
            parts = [c.load() for key in ("data", "scale") for c in op.inputs[key] if isinstance(c, Constant)]
            found[op.outputs[0].name] = blockwise_shift_scale(*parts)
            assert "offset" not in op.inputs
    for role, name in (("attention_q", "self_attn.q_proj"), ("mlp_down", "mlp.down_proj")):
        wanted = unpacked.tensor(f"model.layers.0.{name}.weight")
        np.testing.assert_array_equal(found[f"layers_0_{role}_weight"], wanted)
    embedding = unpacked.tensor("model.embed_tokens.weight")
    np.testing.assert_array_equal(found["embedding"][: len(embedding)], embedding)
    assert not found["embedding"][len(embedding) :].any()


@pytest.mark.parametrize(("kind", "precision"), [("Q4_K", "fast"), ("Q6_K", "fast"), ("Q5_K", "fp16")])
def test_other_precisions_run_offsets_and_groups_of_16(tmp_path: Path, kind: str, precision: str) -> None:
    write_random_checkpoint(WIDE, tmp_path / "checkpoint", seed=4)
    write_gguf(tmp_path / "checkpoint", tmp_path / "model.gguf", random_packer(kind))
    folder = convert(tmp_path / "model.gguf", tmp_path / "model").folder
    exact = load(folder, precision="exact").logits(PROMPT)
    found = load(folder, precision=precision).logits(PROMPT)  # type: ignore[arg-type]
    assert relative_rms(found, exact) < 0.05


def test_an_explicit_scheme_quantises_anew(checkpoint_of: Callable[[str], Path], tmp_path: Path) -> None:
    done, found, wanted = both(checkpoint_of("llama"), tmp_path, packer("Q8_0"), quantize="int8")
    assert done.manifest.quantization.scheme == "int8"
    assert {t.error_steps for t in done.manifest.quantization.tensors.values()} == {None}
    assert relative_rms(found, wanted) < 2e-2


def test_a_recipe_may_keep_some_codes(checkpoint_of: Callable[[str], Path], tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text("tensors:\n  'blk.*.attn_q.weight': int8\n")
    write_gguf(checkpoint_of("llama"), tmp_path / "model.gguf", packer("Q4_0"))
    done = convert(tmp_path / "model.gguf", tmp_path / "model", recipe=tmp_path / "recipe.yaml")
    tensors = done.manifest.quantization.tensors
    assert tensors["layers.1.attention.q.weight"].scheme == "int8 block 32"
    assert tensors["layers.1.attention.k.weight"].scheme == "int4 block 32"
    assert done.manifest.quantization.scheme == "mixed"


def test_profiles_that_want_no_blocks_quantise_anew(checkpoint_of: Callable[[str], Path], tmp_path: Path) -> None:
    write_gguf(checkpoint_of("llama"), tmp_path / "model.gguf", packer("Q8_0"))
    done = convert(tmp_path / "model.gguf", tmp_path / "model", profile="ane")
    assert done.manifest.quantization.scheme.startswith("lut4")


def test_the_manifest_names_source_and_licence(checkpoint_of: Callable[[str], Path], tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    write_gguf(checkpoint_of("llama"), path, packer("Q8_0"), extra=lambda writer: writer.add_license("mit"))
    manifest = convert(path, tmp_path / "model").manifest
    assert (manifest.source.kind, manifest.source.name, manifest.licence) == ("gguf", "model.gguf", "mit")
    assert manifest.source.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_model_in_several_files(checkpoint_of: Callable[[str], Path], tmp_path: Path) -> None:
    """Split by gguf's writer; any of the files may be named, and the package is that of the whole file."""
    write_gguf(checkpoint_of("llama"), tmp_path / "whole.gguf", packer("Q8_0"))
    write_gguf(checkpoint_of("llama"), tmp_path / "part.gguf", packer("Q8_0"), split_max_tensors=9)
    parts = sorted(tmp_path.glob("part-*.gguf"))
    assert len(parts) > 2
    whole = convert(tmp_path / "whole.gguf", tmp_path / "whole", name="m")
    for n, part in enumerate((parts[0], parts[2])):
        split = convert(part, tmp_path / f"split{n}", name="m")
        weights = "model.mlpackage/Data/com.apple.CoreML/weights/weight.bin"
        assert split.manifest.files[weights] == whole.manifest.files[weights]
    parts[1].unlink()
    with pytest.raises(CheckpointError, match=r"is missing: the model has several files"):
        convert(parts[0], tmp_path / "broken")


@pytest.mark.parametrize("option", [{"group_size": 16}, {"imatrix": "m.dat"}], ids=["group size", "imatrix"])
def test_options_that_would_do_nothing_are_refused(tmp_path: Path, option: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="the codes of a GGUF file are kept"):
        convert(tmp_path / "model.gguf", tmp_path / "model", **option)


def test_floats_have_no_codes_to_keep(checkpoint_of: Callable[[str], Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="this checkpoint has none"):
        convert(checkpoint_of("llama"), tmp_path / "model", quantize="keep")


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("llama.attention.clamp_kqv", 8.0, "does not know for this family"),
        ("llama.attention.value_length", 32, "keys and values differ in length"),
        ("llama.rope.scaling.type", "magic", "rope.scaling.type' is 'magic'"),
        ("llama.attention.head_count_kv", [2, 4, 2], "differs from layer to layer"),
        ("llama.embedding_length", 0, "not a number above 0"),
        ("llama.attention.head_count", "four", "not a number above 0"),
        ("llama.block_count", 4, "tensor 'blk.3.attn_norm.weight' is missing"),
        ("general.architecture", "mamba", "supported: command-r, exaone"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_metadata_that_lilims_cannot_honour(
    checkpoint_of: Callable[[str], Path], tmp_path: Path, key: str, value: Any, message: str
) -> None:
    from gguf import GGUFValueType

    def change(writer: Any) -> None:
        types = {int: GGUFValueType.UINT32, float: GGUFValueType.FLOAT32, str: GGUFValueType.STRING}
        for table in writer.kv_data:
            table.pop(key, None)
        if isinstance(value, list):
            writer.add_array(key, value)
        else:
            writer.add_key_value(key, value, types[type(value)])

    folder = tmp_path / "checkpoint"
    write_random_checkpoint(model_config("llama", MODELS, rope_scaling=None), folder, seed=1)
    write_gguf(folder, tmp_path / "model.gguf", packer("F16"), extra=change)
    with pytest.raises((CheckpointError, UnsupportedModelError)) as caught:
        convert(tmp_path / "model.gguf", tmp_path / "model")
    assert message in f"{caught.value} {caught.value.hint}"
    assert not (tmp_path / "model").exists()


PLAIN: dict[str, dict[str, Any]] = {  # what transformers reads of a file
    "llama": {"rope_scaling": None, "attention_bias": False, "head_dim": 16},
    "qwen2": {},
}


@pytest.mark.parity
@pytest.mark.parametrize("name", PLAIN)
def test_transformers_reads_the_same_model(tmp_path: Path, name: str) -> None:
    """Its own GGUF loader, which knows some of the families, unpacks the file into a torch model."""
    import torch
    from transformers import AutoModelForCausalLM

    write_random_checkpoint(model_config(name, MODELS, **PLAIN[name]), tmp_path / "checkpoint", seed=2)
    write_gguf(tmp_path / "checkpoint", tmp_path / "model.gguf", packer("Q8_0"))
    model = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file="model.gguf", dtype=torch.float32)
    with torch.no_grad():
        wanted = model(torch.tensor([PROMPT])).logits[0].numpy()
    found = load(convert(tmp_path / "model.gguf", tmp_path / "m").folder, precision="exact").logits(PROMPT)
    assert relative_rms(found, wanted) < 2e-3
    assert_same_choice(found, wanted)
