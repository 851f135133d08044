"""The policy: which scheme each tensor takes, from what was asked for and what the model has.

Knows roles, options and who overrides whom. Must not know arithmetic, Core ML or where tensors lie.

    a rule of the recipe  >  what stays fp16  >  the recipe's default  >  --quantize  >  codes to keep  >  the profile

fp16 stay vectors (norms, biases), learned positions and the routers of experts: together they are a thousandth of a
model, and every token depends on all of them. A rule that names a matrix among them is obeyed. The embedding and the
head take the scheme of the other matrices unless a rule says otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from lilims.core import manifest as m
from lilims.core.errors import InputError, UsageError
from lilims.core.events import emit

from ..quantize.scheme import GRAMMAR, GROUP_SIZES, Method, Scheme, parse_scheme
from ..spec import DecoderSpec
from .profiles import PROFILES, Profile, ProfileName
from .recipe import Recipe, Rule, read_recipe

if TYPE_CHECKING:
    from ..gguf.kept import Kept
    from ..stored import Stored
    from .imatrix import Imatrix

__all__ = ["GGUFForms", "Plan", "Wishes", "make_plan", "read_wishes"]

_FP16 = Scheme("fp16")
GGUFForms = Literal["safe", "compact"]
_KEEP = Scheme("keep")


@dataclass(frozen=True)
class Wishes:
    """What was asked for, checked, before it is known which tensors there are.

    Attributes:
        default: the scheme of matrices that no rule names.
        group_size: that of integer schemes that name no group; the MLP's width is padded to it.
        compact: codes that are kept take their type's compact form where it has one.
    """

    default: Scheme
    group_size: int
    profile: Profile
    recipe: Recipe | None = None
    imatrix: Imatrix | None = None
    compact: bool = False

    @property
    def schemes(self) -> list[Scheme]:
        """All that any tensor may take."""
        return [self.default, *(rule.scheme for rule in (self.recipe.rules if self.recipe else ()))]


@dataclass(frozen=True)
class Plan:
    """Which scheme each tensor takes.

    Attributes:
        title: the plan in a word: its default scheme, or "mixed" where a rule made a difference.
        schemes: by role.
        importance: by role, float32 [K] with mean 1: weights of input channels' squared errors, where known.
        kept: by role, matrices whose codes are kept; `schemes` has what they come to.
        made: by role, matrices that are quantised already, in the shape in which they are stored.
        calibration: the text in view of which that was done.
    """

    title: str
    wishes: Wishes
    schemes: Mapping[str, Scheme]
    importance: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    kept: Mapping[str, Kept] = field(default_factory=dict)
    made: Mapping[str, Stored] = field(default_factory=dict)
    calibration: m.Calibration | None = None

    @property
    def profile(self) -> Profile:
        """What the package is made for."""
        return self.wishes.profile

    @property
    def group_size(self) -> int | None:
        """The group of the default scheme; None where it has none, or the plan is mixed."""
        return None if self.title == "mixed" else self.wishes.default.group

    def scheme_of(self, role: str) -> Scheme:
        """The scheme that a tensor is to take; its shape may make it take another (`Scheme.fitted`)."""
        return self.schemes[role]

    def importance_of(self, role: str, width: int) -> NDArray[np.float32] | None:
        """The weights of a tensor's input channels, zeros for those that pad it to `width`; None where all are 1."""
        found = self.importance.get(role)
        return None if found is None else np.pad(found, (0, width - len(found)))

    def multiple_of(self, role: str) -> int:
        """What the width of the MLP that a role belongs to is padded to: whole groups of its `down`."""
        down = self.schemes.get(role.rsplit(".", 2)[0] + ".down.weight", _FP16)
        return max(self.wishes.group_size, down.group or 0)


def read_wishes(
    quantize: str | None = None,
    group_size: int | None = None,
    recipe: str | Path | None = None,
    profile: ProfileName = "gpu",
    imatrix: str | Path | None = None,
    *,
    keep: bool = False,
    forms: GGUFForms = "safe",
    calibrated: bool = False,
) -> Wishes:
    """Checks the options of a conversion that say how tensors are stored, and reads the files that they name.

    Args:
        quantize: a scheme (`lilims.conversion.quantize.GRAMMAR`); None is the profile's.
        group_size: 16, 32, 64 or 128; None is the profile's.
        recipe: a file as in recipe.py, which overrides `quantize` and `group_size`.
        profile: gpu, ane, cpu or balanced.
        imatrix: an importance matrix of llama.cpp; scales are then searched for unless a scheme says -rtn.
        keep: the checkpoint has codes. They are kept where neither `quantize` nor the recipe says otherwise, but for
            a profile that wants another form than blocks.
        calibrated: there is a text to calibrate on: schemes that do not say otherwise are rounded by gptq.
        forms: safe, or compact: those that are kept take less room in forms that no device has been seen to run.

    Raises:
        UsageError: there is no such scheme, group size or profile, or the option has nothing to act on.
        InputError: the recipe or the importance matrix is wrong.
    """
    if profile not in get_args(ProfileName):
        raise UsageError(f"--profile must be one of {', '.join(PROFILES)}, not {profile!r}")
    if forms not in get_args(GGUFForms):
        raise UsageError(f"--gguf-forms must be safe or compact, not {forms!r}")
    if group_size is not None and group_size not in GROUP_SIZES:
        raise UsageError(f"--group-size must be one of {', '.join(map(str, GROUP_SIZES))}, not {group_size}")
    defaults = PROFILES[profile]
    size = group_size or defaults.group_size
    if calibrated and imatrix is not None:
        raise UsageError("--calibrate measures what --imatrix says", hint="leave one of them out")
    method: Method = "gptq" if calibrated else "search" if imatrix is not None else "rtn"
    found = None if recipe is None else read_recipe(Path(recipe), size, method)
    size = (found.group_size if found else None) or size
    keep = keep and quantize is None and profile in ("gpu", "cpu")
    if keep and recipe is None and (group_size is not None or imatrix is not None or calibrated):
        option = "--calibrate" if calibrated else "--imatrix" if group_size is None else "--group-size"
        raise UsageError(
            f"{option} says how to quantise, and the codes of a GGUF file are kept", hint="add --quantize int4, or so"
        )
    kept_by_rule = found is not None and (found.default == _KEEP or any(r.scheme == _KEEP for r in found.rules))
    if forms == "compact" and not keep and not kept_by_rule:
        raise UsageError(
            "--gguf-forms compact says how to store kept codes, and none are kept",
            hint="name a GGUF file, and leave --quantize out",
        )
    try:
        default = _KEEP if keep else parse_scheme(quantize or defaults.quantize, size, method)
    except ValueError as exc:
        raise UsageError(f"--quantize: {exc}", hint=f"schemes: {GRAMMAR}") from exc
    matrix = None
    if imatrix is not None:
        from .imatrix import read_imatrix

        matrix = read_imatrix(Path(imatrix))
    wishes = Wishes((found.default if found else None) or default, size, defaults, found, matrix, forms == "compact")
    views = {scheme.method for scheme in wishes.schemes} & {"gptq", "awq"}
    if not calibrated and views:
        raise UsageError(f"-{max(views)} takes a text to calibrate on", hint="--calibrate builtin, or a file, or self")
    return wishes


def make_plan(
    wishes: Wishes, spec: DecoderSpec, names: Mapping[str, str], keep: Callable[[str], Kept] | None = None
) -> Plan:
    """Which scheme each of a model's tensors takes.

    Args:
        wishes: what was asked for.
        spec: the model.
        names: role → name in the checkpoint, by which recipes may call a tensor too.
        keep: gives a tensor of the checkpoint in a form that keeps its codes; None where it has none. Where one
            cannot, `convert.codes_lost` is emitted (role, source, scheme).

    Raises:
        UsageError: codes are to be kept, and there are none.
        InputError: a rule of the recipe can never apply (`where` has its line), or the importance matrix is another
            model's.
    """
    rules = wishes.recipe.rules if wishes.recipe else ()
    uses = {rule.pattern: _Use() for rule in rules}
    schemes = {role: _scheme(role, shape, names[role], wishes.default, rules, uses) for role, shape in spec.roles()}
    for rule in rules:
        uses[rule.pattern].check(rule)
    matrices = {role for role, shape in spec.roles() if len(shape) == 2 and not _stays_fp16(role)}
    title = wishes.default.title if all(schemes[role] == wishes.default for role in matrices) else "mixed"
    importance = wishes.imatrix.by_role(spec) if wishes.imatrix else {}
    roles = [role for role, scheme in schemes.items() if scheme == _KEEP]
    if roles and keep is None:
        raise UsageError("'keep' keeps the codes of a GGUF file; this checkpoint has none", hint="choose a scheme")
    kept = {role: keep(names[role]) for role in roles} if keep else {}
    if wishes.compact:  # the embedding's rows are looked up, perhaps by the host
        kept = {role: form if role == "embedding" else form.compacted() for role, form in kept.items()}
    for role, form in kept.items():
        if form.lost:
            emit("convert.codes_lost", role=role, source=form.entry.type, scheme=form.form)
    schemes |= {role: form.scheme for role, form in kept.items()}
    return Plan(title, wishes, schemes, importance, kept)


def _stays_fp16(role: str) -> bool:
    return role == "positions" or "router" in role


def _scheme(
    role: str, shape: tuple[int, ...], name: str, default: Scheme, rules: tuple[Rule, ...], uses: dict[str, _Use]
) -> Scheme:
    matching = [rule for rule in rules if rule.matches(role, name)]
    for rule in matching:
        uses[rule.pattern].matched += 1
    if matching:
        uses[matching[0].pattern].taken += 1
        uses[matching[0].pattern].matrices += len(shape) == 2
    if len(shape) != 2:
        return _FP16
    if matching:
        return matching[0].scheme
    return _FP16 if _stays_fp16(role) else default


@dataclass
class _Use:
    """How often a rule matched, was the first to do so, and that for a matrix."""

    matched: int = 0
    taken: int = 0
    matrices: int = 0

    def check(self, rule: Rule) -> None:
        """Refuses a rule that changes nothing: it is not what its author meant."""
        problem = None
        if not self.matched:
            problem, hint = "matches no tensor", "globs match roles (layers.0.mlp.down.weight) or checkpoint names"
        elif not self.taken:
            problem, hint = "matches only tensors that lines above it take", "the first match counts: move it up"
        elif not self.matrices and rule.scheme != _FP16:
            problem, hint = f"cannot make vectors {rule.scheme.title}: they stay fp16", "remove the line"
        if problem:
            raise InputError(f"{rule.pattern!r} {problem}", where=rule.where, hint=hint)
