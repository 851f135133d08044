"""Who overrides whom, what a recipe may say, and what a profile means."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lilims.conversion import convert
from lilims.conversion.policy.plan import make_plan, read_wishes
from lilims.conversion.policy.profiles import PROFILES
from lilims.conversion.prepare import prepare
from lilims.conversion.quantize import parse_scheme
from lilims.core.errors import InputError, UsageError

Make = Callable[..., Any]


@pytest.fixture
def plan(checkpoint_of: Callable[[str], Path], tmp_path: Path) -> Make:
    """The plan of a tiny model under options; a recipe is given as text."""

    def make(model: str = "llama", recipe: str | None = None, **options: Any) -> Any:
        if recipe is not None:
            options["recipe"] = tmp_path / "r.yaml"
            options["recipe"].write_text(recipe, "utf-8")
        given = prepare(checkpoint_of(model))
        return make_plan(read_wishes(**options), given.spec, given.names)

    return make


DOWN = "layers.0.mlp.down.weight"


def test_what_is_not_asked_for_is_the_profiles(plan: Make) -> None:
    assert str(plan().scheme_of(DOWN)) == "int4-g32-rtn"
    for name, profile in PROFILES.items():
        found = plan(profile=name)
        assert found.scheme_of(DOWN) == parse_scheme(profile.quantize, profile.group_size)
        assert found.title == profile.quantize
        assert found.profile == profile
        assert profile.prefill_chunk % 8 == 0


def test_options_override_the_profile_and_a_recipe_overrides_them(plan: Make) -> None:
    assert str(plan(profile="ane", quantize="int8").scheme_of(DOWN)) == "int8-g32-rtn"
    assert str(plan(profile="gpu", group_size=64).scheme_of(DOWN)) == "int4-g64-rtn"
    assert str(plan(quantize="int4-g16", group_size=64).scheme_of(DOWN)) == "int4-g16-rtn"
    assert str(plan(quantize="int8", recipe="default: fp16").scheme_of(DOWN)) == "fp16"
    assert str(plan(quantize="int8", recipe="tensors: {head: int4}").scheme_of(DOWN)) == "int8-g32-rtn"
    assert str(plan(group_size=64, recipe="group_size: 16").scheme_of(DOWN)) == "int4-g16-rtn"
    assert str(plan(group_size=64, recipe=f"tensors: {{{DOWN}: int8}}").scheme_of(DOWN)) == "int8-g64-rtn"


def test_the_first_rule_that_matches_counts_and_both_kinds_of_names_do(plan: Make) -> None:
    found = plan(
        recipe="""
tensors:
  layers.0.mlp.down.weight: int8
  "model.layers.?.mlp.down_proj.weight": lut4
  "layers.*": int4-asym
"""
    )
    assert str(found.scheme_of(DOWN)) == "int8-g32-rtn"
    assert str(found.scheme_of("layers.1.mlp.down.weight")) == "lut4"
    assert str(found.scheme_of("layers.1.mlp.up.weight")) == "int4-asym-g32-rtn"
    assert str(found.scheme_of("layers.0.attention_norm.weight")) == "fp16"  # a vector
    assert str(found.scheme_of("embedding")) == "int4-g32-rtn"
    assert found.title == "mixed" and found.group_size is None


def test_positions_and_routers_stay_fp16_unless_a_rule_names_them(plan: Make) -> None:
    assert str(plan("gpt2", quantize="int8").scheme_of("positions")) == "fp16"
    assert str(plan("gpt2", recipe="tensors: {positions: int8}").scheme_of("positions")) == "int8-g32-rtn"
    router = "layers.0.mlp.router.weight"
    assert str(plan("mixtral", recipe="default: lut4").scheme_of(router)) == "fp16"
    assert str(plan("mixtral", recipe="tensors: {'*router*': fp16, '*': int8}").scheme_of(router)) == "fp16"
    assert plan("mixtral", quantize="int8").title == "int8"


def test_the_mlp_is_padded_to_whole_groups_of_its_last_matrix(plan: Make) -> None:
    found = plan(recipe=f"tensors: {{{DOWN}: int4-g128}}")
    assert found.multiple_of("layers.0.mlp.gate.weight") == found.multiple_of(DOWN) == 128
    assert found.multiple_of("layers.1.mlp.up.weight") == 32
    mixture = plan("mixtral", recipe="tensors: {'*.experts.1.down.weight': int4-g64}")
    assert mixture.multiple_of("layers.0.mlp.experts.1.up.weight") == 64
    assert mixture.multiple_of("layers.0.mlp.experts.0.up.weight") == 32


WRONG: dict[str, tuple[str, str]] = {
    "unknown-key": ("default: int4\nschemes: {}\n", r"r\.yaml:2: unknown key 'schemes'"),
    "twice": ("default: int4\ntensors:\n  head: int8\n  head: int4\n", r"r\.yaml:4: the key 'head' stands twice"),
    "no-scheme": ("tensors:\n  '*': int4\n  head: int5\n", r"r\.yaml:3: 'int5' is not a scheme"),
    "default": ("default: 4\n", r"r\.yaml:1: '4' is not a scheme"),
    "list": ("tensors:\n  - head: int4\n", r"r\.yaml:\d: 'tensors' must map globs to schemes"),
    "nested": ("tensors:\n  head:\n    a: int4\n", r"r\.yaml:\d: .* is not a scheme"),
    "group": ("group_size: 48\n", r"r\.yaml:1: 'group_size' must be one of 16, 32, 64, 128, not 48"),
    "not-a-mapping": ("- int4\n", r"r\.yaml:1: is not a mapping"),
    "empty": ("", r"r\.yaml:1: is empty"),
    "syntax": ("tensors: [\n", r"r\.yaml:\d: not valid YAML"),
    "alias": ("default: &a int4\n", r"r\.yaml:1: anchors and aliases are not allowed"),
    "one-line": ("tensors: {'*': int4, heads: int8}", r"r\.yaml:1: 'heads' matches no tensor"),
    "nothing": ("tensors:\n  '*': int4\n  heads: int8\n", r"r\.yaml:3: 'heads' matches no tensor"),
    "shadowed": ("tensors:\n  'layers.*': int4\n  layers.0.*: int8\n", r"r\.yaml:3: .* lines above it take"),
    "vectors": ("tensors:\n  '*norm*': int8\n", r"r\.yaml:2: '\*norm\*' cannot make vectors int8: they stay fp16"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_recipe_is_one_line_with_its_line(plan: Make, name: str) -> None:
    text, message = WRONG[name]
    with pytest.raises(InputError, match=message) as caught:
        plan(recipe=text)
    assert "\n" not in str(caught.value)
    assert caught.value.hint


def test_a_rule_may_say_what_is_so_anyway(plan: Make) -> None:
    assert plan(recipe="tensors: {'*norm*': fp16}").title == "int4"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"quantize": "int3"}, "--quantize: 'int3' is not a scheme"),
        ({"group_size": 48}, "--group-size must be one of 16, 32, 64, 128, not 48"),
        ({"profile": "npu"}, "--profile must be one of gpu, ane, cpu, balanced, not 'npu'"),
    ],
    ids=["quantize", "group", "profile"],
)
def test_options_that_do_not_exist(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read_wishes(**options)


def test_a_recipe_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.yaml: cannot be read: No such file"):
        read_wishes(recipe=tmp_path / "none.yaml")


def test_a_refused_recipe_leaves_nothing_behind(checkpoint_of: Callable[[str], Path], tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("tensors: {nothing: int4}")
    with pytest.raises(InputError, match="matches no tensor"):
        convert(checkpoint_of("llama"), tmp_path / "out", recipe=tmp_path / "r.yaml")
    assert [p.name for p in tmp_path.iterdir()] == ["r.yaml"]


@pytest.mark.parametrize("name", PROFILES)
def test_a_package_is_made_for_its_profile(checkpoint_of: Callable[[str], Path], tmp_path: Path, name: Any) -> None:
    from lilims.runtime import load

    profile = PROFILES[name]
    made = convert(checkpoint_of("llama"), tmp_path / "m", profile=name)
    assert made.manifest.profile == name
    assert made.manifest.compute_units == profile.compute_units
    assert made.manifest.quantization.scheme == profile.quantize
    assert made.manifest.functions["prefill"].tokens == min(profile.prefill_chunk, 64)  # 64 is the model's context
    model = load(made.folder, precision="exact")
    assert model.logits([1, 2, 3] * 15).shape == (45, made.manifest.architecture.vocab_size)
