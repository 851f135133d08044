"""Whether a package is a decoder as `lilims.decoder/1` says: what its program really takes, gives and keeps.

Knows the contract's names, types and shapes. Must not know what executes a package or how it was made. The program is
read from the package's own bytes, so a manifest that lies is found before anything runs.

    every function   input_ids int32 [1, S]    slot int32 [1]    attention_mask fp16 [1, 1, S, rows that it reads]
    host embedding   hidden fp16 [1, S, hidden_size] instead of input_ids
    local layers     local_attention_mask fp16 [1, 1, S, rows that it reads]
    rotary           cos, sin fp16 [1, 1, S, rotary_dim]         (local_cos, local_sin: local layers' own)
    learned          positions int32 [S]
    one row of many  last int32 [1]
    output           logits fp16 [1, S or 1, vocabulary padded to a multiple of 64]
    state            kv_cache fp16 [2 · layers, kv_heads, R, head_dim], R and head_dim multiples of 32
    bucket           a function such as decode_512: decode that reads the state's first 512 rows

A model may be split into packages. Each has a range of layers and a state of these; all but the first take `hidden`,
all but the last give `hidden_out`, both fp16 [1, S, hidden_size]; masks and tables go to the packages that take them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from lilims.core.errors import ContractError, LilimsError
from lilims.core.manifest import FunctionShape, Manifest, Part

from .portable.program import Program, StateType, TensorType

if TYPE_CHECKING:
    from lilims.context import DecoderShape

__all__ = ["FunctionInterface", "Interfaces", "check", "check_model", "decoder_shape", "interfaces", "read_interfaces"]

HIDDEN, HIDDEN_OUT = "hidden", "hidden_out"
LOGITS = "logits"
STATE = "kv_cache"
_HEAD_MULTIPLE = 64  # rows of the head
_STATE_MULTIPLE = 32  # rows and head dimension of the state
_MOST_MASK_VALUES = 1 << 28  # S · R: a mask of 1 GiB; a manifest that asks for more is not believed
_SERVED: dict[str, str] = {"decode": "last", "prefill": "last", "score": "all"}
_BUCKET = re.compile(r"(decode|prefill)_([1-9][0-9]{0,8})")


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


Interfaces = Mapping[str, FunctionInterface]  # by function


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
    from .portable.reader import read_signatures

    opened = Package(package)
    description = opened.spec.description
    described = {function.name: function for function in description.functions}
    found = interfaces(read_signatures(opened))
    for name, interface in found.items():
        part = described.get(name, description)
        names = frozenset(feature.name for feature in (*part.input, *part.output, *part.state))
        found[name] = replace(interface, described=names)
    return found


def check_model(folder: Path, manifest: Manifest, *, short: bool = False) -> dict[str, Interfaces]:
    """Checks every package of a model folder; returns their interfaces by package.

    Args:
        short: name packages in errors without their folder.

    Raises:
        ContractError: the first thing that differs.
        PackageError, UnsupportedError: a package is missing or damaged, or not an ML Program.
    """
    found: dict[str, Interfaces] = {}
    _check_parts(manifest, folder)
    for part in manifest.packages():
        found[part.package] = read_interfaces(folder / part.package)
        name = part.package if short else folder / part.package
        check(manifest, found[part.package], package=name, part=part)
    for name, function in manifest.functions.items():
        parts = [found[part.package][name] for part in manifest.packages() if name in part.functions]
        for key in _step_inputs(manifest, function).keys() - {key for part in parts for key in part.inputs}:
            raise _error("no package takes this input", folder, name, key)
    return found


def check(manifest: Manifest, found: Interfaces, *, package: Path | str, part: Part | None = None) -> None:
    """Compares a package with its manifest and both with the contract.

    Functions that the manifest does not list are left alone.

    Args:
        part: which of a split model's packages it is; None is the whole model.

    Raises:
        ContractError: the first thing that differs; `where` names the package, the function and the feature.
    """
    _check_manifest(manifest, package)
    part = part or manifest.packages()[0]
    for name in part.functions:
        if name not in found:
            raise _error("the package lacks this function", package, name)
        function = manifest.functions[name]
        needed, optional = _inputs(manifest, function, part)
        wanted = {**needed, **{key: type_ for key, type_ in optional.items() if key in found[name].inputs}}
        _check_features(wanted, found[name].inputs, "input", package, name)
        pairs, *sizes = manifest.state.shape
        state = {STATE: TensorType("fp16", (pairs // manifest.architecture.layers * part.layers, *sizes))}
        _check_features(state, found[name].states, "state", package, name)
        if _ends(manifest, part):
            _check_logits(manifest, function, found[name].outputs, package, name)
        else:
            hidden = {HIDDEN_OUT: TensorType("fp16", (1, function.tokens, manifest.architecture.hidden_size))}
            _check_features(hidden, found[name].outputs, "output", package, name)
        _check_described(found[name], package, name)


def decoder_shape(manifest: Manifest, *, package: Path | str) -> DecoderShape:
    """What the planner of calls has to know of a package.

    Raises:
        ContractError: sizes or rotary parameters contradict each other.
    """
    from lilims.context import DecoderShape, RotaryParameters

    positions = manifest.positions
    functions = {name: f for name, f in manifest.functions.items() if name in _SERVED or _BUCKET.fullmatch(name)}
    try:
        return DecoderShape(
            context=manifest.context,
            rows=manifest.state.shape[2],
            functions={name: function.tokens for name, function in functions.items()},
            reads={name: function.rows for name, function in functions.items() if _BUCKET.fullmatch(name)},
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
    for name, function in manifest.functions.items():
        if bucket := _BUCKET.fullmatch(name):
            _check_bucket(manifest, function, name, bucket, package)
        elif name in _SERVED:
            _check_function(manifest, function, name, package)
    if "decode" not in manifest.functions:
        raise _error("the manifest lists no function 'decode'", package)
    for token in (*manifest.tokens.eos, manifest.tokens.padding, manifest.tokens.bos or 0):
        if token >= sizes.vocab_size:
            raise _error(f"token {token} is outside the vocabulary of {sizes.vocab_size}", package, "manifest")
    table = manifest.embedding
    if table and (table.columns != sizes.hidden_size or table.rows < sizes.vocab_size):
        wanted = f"{sizes.vocab_size} rows of {sizes.hidden_size}"
        raise _error(f"holds {table.rows} rows of {table.columns}; the model needs {wanted}", package, table.file)


def _check_parts(manifest: Manifest, folder: Path) -> None:
    """Whether the packages of a split model hold every layer of every function once."""
    names = [part.package for part in manifest.packages()]
    if len(set(names)) != len(names):
        raise _error("a package is listed twice", folder, "manifest", "parts")
    for part in manifest.packages():
        for name in part.functions:
            if name not in manifest.functions:
                raise _error(f"lists a function {name!r} that the model has not", folder, part.package)
    for name in manifest.functions:
        parts = [part for part in manifest.packages() if name in part.functions]
        end = 0
        for part in parts:
            if part.first_layer != end:
                raise _error(f"begins with layer {part.first_layer}; layer {end} is next", folder, part.package)
            end += part.layers
        if end != manifest.architecture.layers:
            raise _error(f"the packages hold {end} of {manifest.architecture.layers} layers", folder, name)


def _ends(manifest: Manifest, part: Part) -> bool:
    """Whether a package holds the last layer, and so the head."""
    return part.first_layer + part.layers == manifest.architecture.layers


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


def _check_bucket(
    manifest: Manifest, function: FunctionShape, name: str, bucket: re.Match[str], package: Path | str
) -> None:
    rows, base = int(bucket[2]), manifest.functions.get(bucket[1])
    if base is None or (function.tokens, function.logits) != (base.tokens, base.logits):
        raise _error(f"takes {function.tokens} tokens, unlike {bucket[1]!r}", package, name)
    if function.rows != rows or rows % _STATE_MULTIPLE or rows >= manifest.state.shape[2]:
        raise _error(
            f"reads {function.rows} rows; its name and a state of {manifest.state.shape[2]} want {rows}, a multiple "
            f"of {_STATE_MULTIPLE} that leaves rows out", package, name,
        )  # fmt: skip


def _inputs(
    manifest: Manifest, function: FunctionShape, part: Part
) -> tuple[dict[str, TensorType], dict[str, TensorType]]:
    """The inputs that a function must have in a package, and those that it has where its layers use them."""
    needed, steps = {"slot": TensorType("int32", (1,))}, _step_inputs(manifest, function)
    begins, tokens = part.first_layer == 0, function.tokens
    if begins and manifest.embedding is None:
        needed["input_ids"] = TensorType("int32", (1, tokens))
    else:
        needed[HIDDEN] = TensorType("fp16", (1, tokens, manifest.architecture.hidden_size))
    if begins and manifest.positions.kind == "learned":
        needed["positions"] = TensorType("int32", (tokens,))
    if _ends(manifest, part) and function.logits == "last" and tokens > 1:
        needed["last"] = TensorType("int32", (1,))
    if begins and _ends(manifest, part):  # all layers: everything is used
        return {**needed, **steps}, {}
    return needed, steps


def _step_inputs(manifest: Manifest, function: FunctionShape) -> dict[str, TensorType]:
    """The masks and rotary tables of a call."""
    tokens, rows, positions = function.tokens, function.rows, manifest.positions
    wanted = {"attention_mask": TensorType("fp16", (1, 1, tokens, rows))}
    if manifest.local_window is not None:
        wanted["local_attention_mask"] = wanted["attention_mask"]
    for prefix, rotary in (("", positions.rotary), ("local_", positions.local_rotary)):
        if rotary is not None:
            width = rotary.get("rotary_dim")
            for table in ("cos", "sin"):
                wanted[prefix + table] = TensorType("fp16", (1, 1, tokens, width if isinstance(width, int) else None))
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
