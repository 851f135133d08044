"""Whether a package is a decoder as `lilims.decoder/1` says: what its program really takes, gives and keeps.

Knows the contract's names, types and shapes. Must not know what executes a package or how it was made. The program is
read from the package's own bytes, so a manifest that lies is found before anything runs.

    every function   input_ids int32 [1, S]    slot int32 [1]    attention_mask fp16 [1, 1, S, R]
    local layers     local_attention_mask fp16 [1, 1, S, R]
    rotary           cos, sin fp16 [1, 1, S, rotary_dim]         (local_cos, local_sin: local layers' own)
    learned          positions int32 [S]
    one row of many  last int32 [1]
    output           logits fp16 [1, S or 1, vocabulary padded to a multiple of 64]
    state            kv_cache fp16 [2 · layers, kv_heads, R, head_dim], R and head_dim multiples of 32
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from lilims.core.errors import ContractError, LilimsError
from lilims.core.manifest import FunctionShape, Manifest

from .portable.program import Program, StateType, TensorType

if TYPE_CHECKING:
    from lilims.context import DecoderShape

__all__ = ["FunctionInterface", "check", "decoder_shape", "interfaces", "read_interfaces"]

LOGITS = "logits"
STATE = "kv_cache"
_HEAD_MULTIPLE = 64  # rows of the head
_STATE_MULTIPLE = 32  # rows and head dimension of the state
_MOST_MASK_VALUES = 1 << 28  # S · R: a mask of 1 GiB; a manifest that asks for more is not believed
_SERVED: dict[str, str] = {"decode": "last", "prefill": "last", "score": "all"}


@dataclass(frozen=True)
class FunctionInterface:
    """What one function of a program takes, gives and keeps, by name.

    `described` holds the names of the package's description of the function, by which Core ML feeds it; None where the
    program stands alone.
    """

    inputs: Mapping[str, TensorType]
    outputs: Mapping[str, TensorType]
    states: Mapping[str, TensorType]
    described: frozenset[str] | None = None


def interfaces(program: Program) -> dict[str, FunctionInterface]:
    """The interface of every function of a program."""
    found = {}
    for name, function in program.functions.items():
        values = [*function.inputs, *(output for op in function.ops for output in op.outputs)]
        types = {value.name: value.type for value in values if isinstance(value.type, TensorType)}
        found[name] = FunctionInterface(
            inputs={v.name: v.type for v in function.inputs if isinstance(v.type, TensorType)},
            outputs={output: types.get(output, TensorType("an unknown type")) for output in function.outputs},
            states={v.name: v.type.tensor for v in function.inputs if isinstance(v.type, StateType)},
        )
    return found


def read_interfaces(package: Path) -> dict[str, FunctionInterface]:
    """The interfaces of a package, read from its bytes.

    Raises:
        PackageError, UnsupportedError: it is damaged, or not an ML Program.
    """
    from .portable.package import Package
    from .portable.reader import read_program

    opened = Package(package)
    description = opened.spec.description
    described = {function.name: function for function in description.functions}
    found = interfaces(read_program(opened))
    for name, interface in found.items():
        part = described.get(name, description)
        names = frozenset(feature.name for feature in (*part.input, *part.output, *part.state))
        found[name] = replace(interface, described=names)
    return found


def check(manifest: Manifest, found: Mapping[str, FunctionInterface], *, package: Path | str) -> None:
    """Compares the package with its manifest and both with the contract.

    Functions that the manifest does not list are left alone.

    Raises:
        ContractError: the first thing that differs; `where` names the package, the function and the feature.
    """
    _check_manifest(manifest, package)
    for name, function in manifest.functions.items():
        if name not in found:
            raise _error("the package lacks this function", package, name)
        _check_features(_inputs(manifest, function), found[name].inputs, "input", package, name)
        state = {STATE: TensorType("fp16", tuple(manifest.state.shape))}
        _check_features(state, found[name].states, "state", package, name)
        _check_logits(manifest, function, found[name].outputs, package, name)
        _check_described(found[name], package, name)


def decoder_shape(manifest: Manifest, *, package: Path | str) -> DecoderShape:
    """What the planner of calls has to know of a package.

    Raises:
        ContractError: sizes or rotary parameters contradict each other.
    """
    from lilims.context import DecoderShape, RotaryParameters

    positions = manifest.positions
    try:
        return DecoderShape(
            context=manifest.context,
            rows=manifest.state.shape[2],
            functions={name: manifest.functions[name].tokens for name in _SERVED if name in manifest.functions},
            rotary=RotaryParameters.from_dict(positions.rotary) if positions.rotary else None,
            local_rotary=RotaryParameters.from_dict(positions.local_rotary) if positions.local_rotary else None,
            max_positions=positions.learned,
            window=manifest.window,
            local_window=manifest.local_window,
            mask_value=manifest.mask_value,
            padding=manifest.tokens.padding,
        )
    except (LilimsError, ValueError, TypeError) as exc:
        raise _error(str(exc), package, "manifest") from exc


def _check_manifest(manifest: Manifest, package: Path | str) -> None:
    """What the manifest itself must fulfil before a package is compared with it."""
    sizes = manifest.architecture
    pairs, heads, rows, width = manifest.state.shape
    if (pairs, heads) != (2 * sizes.layers, sizes.kv_heads):
        wanted = f"[{2 * sizes.layers}, {sizes.kv_heads}, R, head_dim]"
        raise _error(f"has shape {manifest.state.shape}; {sizes.layers} layers need {wanted}", package, STATE)
    if rows % _STATE_MULTIPLE or width % _STATE_MULTIPLE or width < sizes.head_dim:
        raise _error(
            f"has {rows} rows of {width}: multiples of {_STATE_MULTIPLE} and at least the head dimension "
            f"{sizes.head_dim} are needed", package, STATE,
        )  # fmt: skip
    for name in _SERVED:
        if name in manifest.functions:
            _check_function(manifest, manifest.functions[name], name, package)
    if "decode" not in manifest.functions:
        raise _error("the manifest lists no function 'decode'", package)
    for token in (*manifest.tokens.eos, manifest.tokens.padding, manifest.tokens.bos or 0):
        if token >= sizes.vocab_size:
            raise _error(f"token {token} is outside the vocabulary of {sizes.vocab_size}", package, "manifest")


def _check_function(manifest: Manifest, function: FunctionShape, name: str, package: Path | str) -> None:
    rows = manifest.state.shape[2]
    if function.rows != rows:
        raise _error(f"reads {function.rows} rows of a state of {rows}", package, name)
    if function.tokens * rows > _MOST_MASK_VALUES:
        raise _error(f"{function.tokens} tokens over {rows} rows are more than this runtime takes", package, name)
    if function.logits != _SERVED[name] or (name == "decode" and function.tokens != 1):
        wanted = {"decode": "one token and its logits", "prefill": "the logits of one row", "score": "all rows' logits"}
        got = f"{function.tokens} tokens, logits of {function.logits!r}"
        raise _error(f"is recorded with {got}; the contract wants {wanted[name]}", package, name)


def _inputs(manifest: Manifest, function: FunctionShape) -> dict[str, TensorType]:
    """The inputs that the contract gives a function."""
    tokens, rows, positions = function.tokens, function.rows, manifest.positions
    wanted = {
        "input_ids": TensorType("int32", (1, tokens)),
        "slot": TensorType("int32", (1,)),
        "attention_mask": TensorType("fp16", (1, 1, tokens, rows)),
    }
    if manifest.local_window is not None:
        wanted["local_attention_mask"] = wanted["attention_mask"]
    for prefix, rotary in (("", positions.rotary), ("local_", positions.local_rotary)):
        if rotary is not None:
            width = rotary.get("rotary_dim")
            for table in ("cos", "sin"):
                wanted[prefix + table] = TensorType("fp16", (1, 1, tokens, width if isinstance(width, int) else None))
    if positions.kind == "learned":
        wanted["positions"] = TensorType("int32", (tokens,))
    if function.logits == "last" and tokens > 1:
        wanted["last"] = TensorType("int32", (1,))
    return wanted


def _check_features(
    wanted: Mapping[str, TensorType], found: Mapping[str, TensorType], kind: str, package: Path | str, function: str
) -> None:
    for name, type_ in wanted.items():
        if name not in found:
            raise _error(f"the {kind} is missing; the contract wants {_text(type_)}", package, function, name)
        if found[name] != type_:
            raise _error(
                f"the {kind} is {_text(found[name])}; the contract wants {_text(type_)}", package, function, name
            )
    for name in found:
        if name not in wanted:
            raise _error(f"the contract knows no {kind} of this name", package, function, name)


def _check_logits(
    manifest: Manifest, function: FunctionShape, found: Mapping[str, TensorType], package: Path | str, name: str
) -> None:
    if list(found) != [LOGITS]:
        raise _error(f"the outputs are {', '.join(found) or 'none'}; the contract wants {LOGITS!r}", package, name)
    logits, vocabulary = found[LOGITS], manifest.architecture.vocab_size
    count = function.tokens if function.logits == "all" else 1
    width = logits.shape[-1] if logits.shape else None
    padded = isinstance(width, int) and width >= vocabulary and width % _HEAD_MULTIPLE == 0
    if not padded or logits != TensorType("fp16", (1, count, width)):
        wanted = f"fp16 [1, {count}, V], V a multiple of {_HEAD_MULTIPLE} that holds the vocabulary of {vocabulary}"
        raise _error(f"the output is {_text(logits)}; the contract wants {wanted}", package, name, LOGITS)


def _check_described(found: FunctionInterface, package: Path | str, name: str) -> None:
    if found.described is None:
        return
    for feature in (*found.inputs, *found.states, *found.outputs):
        if feature not in found.described:
            raise _error(
                "the program has it, the package's description of the function lacks it", package, name, feature
            )


def _text(type_: TensorType) -> str:
    return f"{type_.dtype} [{', '.join('?' if size is None else str(size) for size in type_.shape)}]"


def _error(message: str, package: Path | str, *place: str) -> ContractError:
    return ContractError(
        message,
        where=": ".join((str(package), ".".join(place))) if place else str(package),
        hint="convert the model again with this version of lilims, or run it as a plain ML Program",
    )
