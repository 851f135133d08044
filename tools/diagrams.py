"""Writes the diagrams of docs/architecture.md from the code: `python tools/diagrams.py [--check] [NAME ...]`.

    packages       which package uses which, by what their pyproject.toml declare
    data-flow      from a checkpoint to text: the functions of the public API that do each step
    decoder-layer  operators and shapes of one layer, as they stand in a package that is converted here

Each is docs/diagrams/NAME.dot and a picture of it, NAME.svg, for which Graphviz has to be installed. --check writes
nothing, needs no Graphviz, and exits with 1 if a text is not what it would be, or a picture was made of another text.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path

import check_layout
from lilims.docs import Edge, Graph, Node, dot, render
from lilims.docs.public import resolve
from lilims.docs.svg import is_current
from lilims.runtime.portable.package import Package
from lilims.runtime.portable.program import Constant, Function, Op, Ref, TensorType
from lilims.runtime.portable.reader import read_program

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "diagrams"
CONFIG = {
    "model_type": "llama", "vocab_size": 256, "hidden_size": 128, "intermediate_size": 320, "num_hidden_layers": 1,
    "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64,
}  # fmt: skip


def packages() -> Graph:
    """Members and the arrows that no longer way implies."""
    repository = check_layout.Repository(ROOT)
    arrows = repository.arrows()
    graph = Graph("Packages of lilims: an arrow points to what a package uses", direction="BT")
    for name, member in sorted(repository.members.items()):
        about = str(member.config["project"]["description"]).rstrip(".").split(":")[0]
        short = name.removeprefix("lilims-")
        kind = "main" if short in ("conversion", "runtime") else "state" if short == "core" else "plain"
        graph.nodes.append(Node(short, f"{short}\n{_wrapped(about)}", kind))
    for name, targets in sorted(arrows.items()):
        for target in sorted(targets):
            if not any(target in check_layout.closure(arrows, other) for other in targets - {target}):
                graph.edges.append(Edge(name.removeprefix("lilims-"), target.removeprefix("lilims-")))
    return graph


def _wrapped(text: str, width: int = 22) -> str:
    lines = [""]
    for word in text.split():
        lines = [*lines[:-1], f"{lines[-1]} {word}".strip()] if len(lines[-1]) + len(word) < width else [*lines, word]
    return "\n".join(lines)


# Step → (what it is, the name that does it; empty for a file, kind).
FLOW: Mapping[str, tuple[str, str, str]] = {
    "checkpoint": ("checkpoint\nsafetensors, PyTorch, GGUF", "", "file"),
    "architecture": (
        "architecture file\nconfig → DecoderSpec", "lilims.conversion.architectures.architecture_for", "plain"
    ),
    "plan": ("plan: a scheme for each tensor", "lilims.conversion.policy.plan.make_plan", "plain"),
    "quantise": (
        "quantise and append to weight.bin\none tensor in memory at a time",
        "lilims.conversion.weights.streaming.write_tensors", "plain",
    ),
    "emit": ("ML Program\ndecode, prefill, score", "lilims.conversion.emit.program.save", "plain"),
    "model": ("model folder\nmodel.mlpackage, manifest.json, tokenizer", "", "file"),
    "evaluate": ("perplexity and divergence\nof these bytes", "lilims.conversion.evaluate", "plain"),
    "load": ("manifest and package\nagainst the contract", "lilims.runtime.load", "main"),
    "session": ("session: KV cache, position", "lilims.runtime.Session", "state"),
    "context": ("chunks, slots, masks, rotary tables", "lilims.context", "plain"),
    "executor": ("executor: Core ML, or\nML Program → ONNX Runtime", "lilims.runtime.Executor", "main"),
    "sampler": ("sampler, constraints", "lilims.runtime.Sampler", "plain"),
    "stream": ("streaming detokeniser", "lilims.tokenizer.StreamDecoder", "plain"),
    "text": ("text", "", "file"),
    "tokenizer": ("tokenizer, chat template", "lilims.tokenizer.Tokenizer", "plain"),
    "prompt": ("prompt", "", "file"),
}  # fmt: skip
ARROWS = (
    "checkpoint architecture plan quantise emit model load session executor sampler stream text",
    "model evaluate", "prompt tokenizer session", "context executor", "session context", "sampler session",
)  # fmt: skip
STEPS = {
    "lilims.conversion": ["architecture", "plan", "quantise", "emit", "evaluate"],
    "lilims.runtime": ["load", "session", "executor", "sampler"],
    "lilims.tokenizer": ["tokenizer", "stream"],
}


def data_flow() -> Graph:
    """The steps; a name that does not exist is an error."""
    graph = Graph("From a checkpoint to text", boxes={k: list(v) for k, v in STEPS.items()})
    for name, (label, code, kind) in FLOW.items():
        if code and not resolve(code):
            raise SystemExit(f"tools/diagrams.py: {code} does not exist")
        graph.nodes.append(Node(name, f"{label}\n{code}" if code else label, kind))
    for line in ARROWS:
        names = line.split()
        for tail, head in pairwise(names):
            graph.edges.append(Edge(tail, head, label="one token" if (tail, head) == ("sampler", "session") else ""))
    return graph


def decoder_layer() -> Graph:
    """The function `decode` of a Llama of one layer in int4, converted with random weights."""
    from lilims.conversion import convert
    from lilims.conversion.random_checkpoint import write_random_checkpoint

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_random_checkpoint(CONFIG, folder / "tiny", seed=1)
        model = convert(folder / "tiny", folder / "out", quantize="int4", context=32).folder
        function = read_program(Package(model / "model.mlpackage")).functions["decode"]
        return drawn(function)


WEIGHTS = ("constexpr_blockwise_shift_scale", "constexpr_lut_to_dense")


def drawn(function: Function) -> Graph:
    """Operators with the types of their results; constants are left out, quantised weights stand in their operator."""
    graph = Graph(f"Operators of one decoder layer, function {function.name}")
    weights = {op.outputs[0].name: op for op in function.ops if op.type in WEIGHTS}
    hidden = {op.outputs[0].name for op in function.ops if op.type == "const"} | weights.keys()
    makers: dict[str, str] = {}
    for value in function.inputs:
        graph.nodes.append(
            Node(value.name, f"{value.name}\n{_type(value.type)}", "state" if "kv" in value.name else "io")
        )
        makers[value.name] = value.name
    for op in function.ops:
        if op.outputs and op.outputs[0].name in hidden:
            continue
        name = op.outputs[0].name if op.outputs else f"{op.type}_{len(graph.nodes)}"
        graph.nodes.append(_node(op, name, weights))
        sources = [a.name for key in sorted(op.inputs) for a in op.inputs[key] if isinstance(a, Ref)]
        graph.edges += [Edge(makers[s], name) for s in dict.fromkeys(sources) if s in makers]
        makers.update({output.name: name for output in op.outputs})
    for output in function.outputs:
        graph.nodes.append(Node(f"output {output}", output, "io"))
        graph.edges.append(Edge(makers[output], f"output {output}"))
    return graph


def _node(op: Op, name: str, weights: Mapping[str, Op]) -> Node:
    used = [
        weights[a.name] for key in sorted(op.inputs) for a in op.inputs[key] if isinstance(a, Ref) and a.name in weights
    ]
    lines = [op.type, *(_weight(weight) for weight in used)]
    if op.outputs:
        lines.append(_type(op.outputs[0].type))
    kind = "weight" if used else "state" if "state" in op.type else "main" if "attention" in op.type else "plain"
    return Node(name, "\n".join(lines), kind)


def _weight(op: Op) -> str:
    data = next(a for key in ("data", "indices") for a in op.inputs.get(key, ()))
    stored = data.type.dtype if isinstance(data, Constant) else "?"
    return f"weight {stored} {_shape(op.outputs[0].type)}"


def _type(kind: object) -> str:
    tensor = getattr(kind, "tensor", kind)
    return f"{tensor.dtype} {_shape(tensor)}" if isinstance(tensor, TensorType) else type(kind).__name__


def _shape(kind: object) -> str:
    return "[" + ", ".join(map(str, kind.shape)) + "]" if isinstance(kind, TensorType) else ""


DIAGRAMS: dict[str, Callable[[], Graph]] = {
    "packages": packages,
    "data-flow": data_flow,
    "decoder-layer": decoder_layer,
}


def stale(name: str, graph: Graph) -> str | None:
    """Which file of a diagram is not current; None if both are."""
    text, picture = FOLDER / f"{name}.dot", FOLDER / f"{name}.svg"
    if not text.is_file() or text.read_text("utf-8") != dot(graph):
        return text.name
    return None if picture.is_file() and is_current(picture.read_text("utf-8"), dot(graph)) else picture.name


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(DIAGRAMS)}; all if none is given")
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 if one is not current")
    given = parser.parse_args(arguments)
    if unknown := sorted(set(given.names) - DIAGRAMS.keys()):
        parser.error(f"there is no diagram {unknown[0]}")
    failed = False
    for name in given.names or DIAGRAMS:
        graph = DIAGRAMS[name]()
        if given.check:
            if (file := stale(name, graph)) is not None:
                print(f"docs/diagrams/{file} is not current: run python tools/diagrams.py {name}", file=sys.stderr)
                failed = True
        else:
            FOLDER.mkdir(exist_ok=True)
            (FOLDER / f"{name}.dot").write_text(dot(graph), "utf-8", newline="\n")
            (FOLDER / f"{name}.svg").write_text(render(dot(graph), graph.title), "utf-8", newline="\n")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
