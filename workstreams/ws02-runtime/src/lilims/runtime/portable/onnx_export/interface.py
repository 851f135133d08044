"""A lowered graph's inputs and outputs under the names that the package has, and its states as inputs and outputs.

Knows ONNX graphs. Must not know packages or files.

    package                     file
    input  x                    input  x
    optional input x            input  x with a default: an initializer of that name
    state  kv                   input  kv and output kv_out, all of it
    output y                    output y; y_out where an input is called y too

A state that the graph keeps as rows is split where it comes in and put together where it goes out. Values within the
graph that are called as an input or output is get other names. A flexible dimension is a symbol: x_1 is x's axis 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import count
from math import prod

import numpy as np
import onnx
from onnx import helper

from lilims.core.errors import PackageError, UnsupportedError

from ..compiler import graph_nodes
from ..features import InputFeature, Interface
from ..images import COLOURS
from ..lowering.scope import ONNX_DTYPES, Deferred, to_initializer
from ..plan import Graph, Slot
from ..program import TensorType

__all__ = ["expose"]

_OUT = "_out"
_MOST = 64 << 20  # bytes of an optional input's default


def expose(
    graph: Graph, interface: Interface, states: Mapping[str, TensorType]
) -> tuple[onnx.ModelProto, dict[str, Deferred], dict[str, str]]:
    """The graph's model with a public interface; the graph is used up.

    Args:
        states: the function's states and their types.

    Returns:
        the model, its weights by their names there, and input → output of each state.

    Raises:
        PackageError: an output is listed twice.
        UnsupportedError: a state has a flexible shape, or a default is too large.
    """
    model = graph.model
    _refuse_repeated(model.graph)
    taken = {*graph.inputs, *states}
    public = {onnx_name: name for name, (onnx_name, _) in graph.inputs.items()}
    public.update((onnx_name, _free(name, taken)) for name, (onnx_name, _) in graph.outputs.items())
    outputs = {name: _free(f"{name}{_OUT}", taken) for name in states}
    _join_states(model.graph, graph.slots, states)
    for name, out in outputs.items():
        public.update({f"state:{name}": name, f"new:{name}": out})
    renamed = _rename(model.graph, public)
    for value in model.graph.input:
        if value.name in interface.inputs:
            _document_input(value, interface.inputs[value.name], interface.input_description.get(value.name, ""))
            _set_default(model.graph, interface.inputs[value.name])
        else:
            value.doc_string = f"a state, {states[value.name].dtype} in the package; zeros at first"
    for name, (onnx_name, tensor) in graph.outputs.items():
        _document_output(model.graph, public[onnx_name], name, tensor, interface)
    used = {node.domain for node in graph_nodes(model.graph.node)}
    imports = [opset for opset in model.opset_import if opset.domain in {"", *used}]
    del model.opset_import[:]
    model.opset_import.extend(imports)
    return model, {renamed.get(name, name): weight for name, weight in graph.weights.items()}, outputs


def _refuse_repeated(graph: onnx.GraphProto) -> None:
    seen: set[str] = set()
    for value in graph.output:
        if value.name in seen:
            name = value.name.removeprefix("out:")
            raise PackageError(f"the function gives the output {name!r} twice", where=graph.name)
        seen.add(value.name)


def _free(name: str, taken: set[str]) -> str:
    """A name that nothing public has yet, which is then taken: NAME, NAME_out, NAME_out2 …"""
    stem = name.removesuffix(_OUT)
    candidates = (name, f"{stem}{_OUT}", *(f"{stem}{_OUT}{i}" for i in range(2, len(taken) + 3)))
    chosen = next(candidate for candidate in candidates if candidate not in taken)
    taken.add(chosen)
    return chosen


# -- states ----------------------------------------------------------------------------------------------------------


def _join_states(graph: onnx.GraphProto, slots: Iterable[Slot], states: Mapping[str, TensorType]) -> None:
    """Makes every state one input `state:NAME` and one output `new:NAME`, also one that is not read or not written."""
    inputs = [value for value in graph.input if not value.name.startswith("state:")]
    outputs = [value for value in graph.output if not value.name.startswith("new:")]
    before, after = [], []
    for name, tensor in states.items():
        shape = [size for size in tensor.shape if size is not None]
        if len(shape) < tensor.rank:
            raise UnsupportedError(f"the state {name!r} has a flexible shape")
        dtype = helper.np_dtype_to_tensor_dtype(np.dtype(ONNX_DTYPES[tensor.dtype]))
        inputs.append(helper.make_tensor_value_info(f"state:{name}", dtype, shape))
        outputs.append(helper.make_tensor_value_info(f"new:{name}", dtype, shape))
        rows = sorted((s.row, s) for s in slots if s.state == name and s.row is not None)
        if rows:
            pieces = list(_pieces(name, [slot for _, slot in rows], shape[0]))
            graph.initializer.append(to_initializer(f"rows:{name}", np.array([size for size, *_ in pieces], np.int64)))
            split = [f"state:{name}", f"rows:{name}"]
            before.append(helper.make_node("Split", split, [piece for _, piece, _ in pieces], axis=0))
            after.append(helper.make_node("Concat", [piece for *_, piece in pieces], [f"new:{name}"], axis=0))
        elif not any(slot.state == name and slot.output for slot in slots):
            after.append(helper.make_node("Identity", [f"state:{name}"], [f"new:{name}"]))
    nodes = [*before, *graph.node, *after]
    del graph.input[:], graph.output[:], graph.node[:]
    graph.input.extend(inputs)
    graph.output.extend(outputs)
    graph.node.extend(nodes)


def _pieces(state: str, rows: list[Slot], count: int) -> Iterator[tuple[int, str, str]]:
    """A state cut at the rows that the graph uses: how many rows a piece has, and its values before and after."""
    begin = 0
    for slot in rows:
        assert slot.row is not None
        if slot.row > begin:
            yield slot.row - begin, f"kept:{state}[{begin}]", f"kept:{state}[{begin}]"
        old = slot.input or f"state:{state}[{slot.row}]"
        yield 1, old, slot.output or old
        begin = slot.row + 1
    if begin < count:
        yield count - begin, f"kept:{state}[{begin}]", f"kept:{state}[{begin}]"


# -- names -----------------------------------------------------------------------------------------------------------


def _rename(graph: onnx.GraphProto, public: Mapping[str, str]) -> dict[str, str]:
    """Gives values their public names, and others new ones where a public one stands in their way."""
    graphs = list(_graphs(graph))
    known = {name for found in graphs for name in _values(found)}
    numbers = count(1)
    names = dict(public)
    wanted = set(public.values())
    for name in sorted(known & wanted - set(public)):
        names[name] = next(new for i in numbers if (new := f"inner_{i}") not in known | wanted)
    for found in graphs:
        for value in (*found.input, *found.output, *found.value_info):
            value.name = names.get(value.name, value.name)
        for tensor in found.initializer:
            tensor.name = names.get(tensor.name, tensor.name)
        for node in found.node:
            node.input[:] = [names.get(name, name) for name in node.input]
            node.output[:] = [names.get(name, name) for name in node.output]
    for value in graph.input:
        for axis, dimension in enumerate(value.type.tensor_type.shape.dim):
            if dimension.HasField("dim_param"):
                dimension.dim_param = f"{value.name}_{axis}"
    return names


def _graphs(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """A graph, and those of its nodes' bodies."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from _graphs(attribute.g)


def _values(graph: onnx.GraphProto) -> Iterator[str]:
    for value in (*graph.input, *graph.output, *graph.value_info):
        yield value.name
    for tensor in graph.initializer:
        yield tensor.name
    for node in graph.node:
        yield from node.input
        yield from node.output


# -- what users read -------------------------------------------------------------------------------------------------


def _document_input(value: onnx.ValueInfoProto, feature: InputFeature, description: str) -> None:
    notes = [f"{feature.type.dtype} in the package"]
    if feature.shapes:
        notes.append("shape " + " or ".join(str(list(shape)) for shape in feature.shapes))
    for axis, (low, high) in enumerate(feature.ranges):
        if low != high and not feature.shapes:
            notes.append(f"axis {axis} from {low} to {'any size' if high is None else high}")
    if feature.colours is not None:
        notes.append(_image_note(feature.colours))
    if feature.default is not None:
        notes.append(f"optional: {feature.default:g} everywhere")
    value.doc_string = "; ".join([*([description] if description else []), *notes])


def _document_output(graph: onnx.GraphProto, public: str, name: str, tensor: TensorType, interface: Interface) -> None:
    value = next(value for value in graph.output if value.name == public)
    description = interface.output_description.get(name, "")
    notes = [*([description] if description else []), f"{tensor.dtype} in the package"]
    if name in interface.images:
        notes.append(_image_note(interface.images[name]))
    value.doc_string = "; ".join(notes)
    kind = value.type.tensor_type
    if value.type.HasField("tensor_type") and not kind.HasField("shape"):
        for axis, size in enumerate(tensor.shape):
            kind.shape.dim.add(**({"dim_param": f"{public}_{axis}"} if size is None else {"dim_value": size}))
        kind.shape.SetInParent()


def _image_note(colours: int) -> str:
    kind = {10: "grey", 20: "RGB", 30: "BGR", 40: "grey, any value"}[colours]
    return f"an image [1, {COLOURS[colours][1]}, height, width], {kind}, 0 to 255"


def _set_default(graph: onnx.GraphProto, feature: InputFeature) -> None:
    """An optional input's default: an initializer of its name, which a value that is fed overrides."""
    if feature.default is None:
        return
    size = 8 * prod(feature.default_shape)
    if size > _MOST:
        raise UnsupportedError(
            f"the default of the optional input {feature.name!r} takes {size} bytes", hint=f"{_MOST} is the most"
        )
    graph.initializer.append(to_initializer(feature.name, feature.fill()))
