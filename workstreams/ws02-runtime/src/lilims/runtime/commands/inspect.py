"""Show what is in a model folder or any package.

Knows how a package's description is drawn. Must not know how packages are read or run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lilims.core import cli
from lilims.core.console import bytes_text, console, one_line

if TYPE_CHECKING:
    from rich.console import Console as RichConsole
    from rich.table import Table

    from lilims.core.manifest import Manifest

    from ..portable.describe import FeatureInfo, FunctionInfo, PackageInfo

__all__ = ["command"]

_BAR = 12  # cells of the widest bar


@cli.command("inspect", epilog="Example: lilims inspect ./tiny --json")
@click.option("--memory", is_flag=True, help="Only what running takes: weights, state and scratch.")
@click.option("--context", type=int, metavar="TOKENS", help="With --memory: at another context length.")
@click.option("--limit", metavar="SIZE", help="With --memory: fail over this size, such as 1GB, and say what fits.")
@cli.model_argument
def command(model: str, memory: bool, context: int | None, limit: str | None) -> None:
    """Functions, inputs, outputs, state, operators, weights by scheme and memory of MODEL.

    MODEL is a model folder, an installed name, or any ML Program package (.mlpackage, or compiled: .mlmodelc),
    whoever made it. Weights are not read.
    """
    from lilims.core.errors import UsageError
    from lilims.core.locate import is_package, locate
    from lilims.core.manifest import identity
    from lilims.core.package_manifest import PackageManifest, read_any

    from ..portable.describe import describe_package
    from .inspect_parts import merged, parts_as_dicts

    found = locate(model)
    read = None if is_package(found) else read_any(found)
    if isinstance(read, PackageManifest):  # no decoder: all that is known is in the package
        found, manifest = found / read.package, None
    else:
        manifest = read
    if memory:
        from .inspect_memory import report_memory

        if manifest is None:
            raise UsageError("--memory takes a model folder", hint="give the folder that holds manifest.json")
        report_memory(manifest, context, limit)
        return
    if context is not None or limit is not None:
        raise UsageError("--context and --limit go with --memory")
    if manifest is None:
        info, problem, parts = describe_package(found), None, []
    else:
        infos = {part.package: describe_package(found / part.package) for part in manifest.packages()}
        info, parts = merged(manifest, infos, str(found)), parts_as_dicts(manifest, infos)
        problem = _contract_problem(manifest, found)
    value = {**info.as_dict(), "memory": _memory(info, manifest)}
    if manifest:
        value["parts"] = parts
        value["contract"] = {"name": manifest.contract, "holds": problem is None, "problem": problem}
        value["manifest"] = manifest.model_dump(mode="json", exclude={"files"})
        value["identity"] = identity(manifest)
    console.result("package", value, lambda out: _draw(out, info, manifest, problem, parts))


def _contract_problem(manifest: Manifest, folder: Path) -> str | None:
    """What the model does not keep of its contract, or None."""
    from lilims.core.errors import ContractError

    from .. import contract

    try:
        contract.check_model(folder, manifest, short=True)
    except ContractError as error:
        return str(error)
    return None


def _memory(info: PackageInfo, manifest: Manifest | None) -> dict[str, int]:
    """Bytes that running takes at this context, working memory left out.

    The state is fp16 on a device; the portable executor keeps it in float32. An embedding beside the package is mapped:
    only the rows of tokens that come up are read, so it is not in the total.
    """
    from ..embedding import row_bytes

    found = {
        "weights": info.weight_bytes,
        "state": info.state_bytes,
        "total": info.weight_bytes + info.state_bytes,
        "state_portable": 2 * info.state_bytes,
    }
    if manifest and manifest.embedding:
        found["embedding_file"] = manifest.embedding.rows * row_bytes(manifest.embedding)
    return found


def _draw(
    out: RichConsole,
    info: PackageInfo,
    manifest: Manifest | None,
    problem: str | None,
    parts: list[dict[str, Any]],
) -> None:
    _draw_title(out, info, manifest, problem)
    names = [function.name for function in info.functions]
    features = _table("Inputs, state, outputs", ["", "", "type", *names])
    for kind, attribute in (("in", "inputs"), ("state", "states"), ("out", "outputs")):
        _feature_rows(features, info.functions, kind, attribute)
    operators = _table("Operators", ["", *names], right_from=1)
    _operator_rows(operators, info.functions)
    if parts:
        out.print()
        out.print(_parts_table(parts))
    for table in (features, operators, _weights_table(info), _memory_table(info, manifest)):
        out.print()
        out.print(table)
    if manifest is not None:
        from .inspect_quality import draw_quality

        draw_quality(out, manifest)


def _draw_title(out: RichConsole, info: PackageInfo, manifest: Manifest | None, problem: str | None) -> None:
    if manifest is None:
        kind = f"pipeline of {len(info.members)} ML Programs" if info.members else "ML Program"
        out.print(f"[bold]{_text(info.path)}[/]  {kind}, specification {info.specification_version}")
        if info.description:
            out.print(_text(info.description), style="dim")
        return
    sizes, quantization = manifest.architecture, manifest.quantization
    out.print(f"[bold]{_text(manifest.name)}[/] {_text(manifest.version)}  [dim]{_text(info.path)}[/]")
    out.print(
        f"{_text(sizes.model_type)}, {_millions(sizes.parameters)} parameters, {sizes.layers} layers, "
        f"hidden {sizes.hidden_size}, {sizes.heads} heads over {sizes.kv_heads}, vocabulary {sizes.vocab_size}"
    )
    out.print(
        f"{quantization.scheme}, {quantization.bits_per_weight:.2f} bits per weight, context {manifest.context}, "
        f"made for {manifest.compute_units}" + (", linears as convolutions" if manifest.layout == "conv" else "")
    )
    if problem is None:
        out.print(f"contract {manifest.contract}: [green]holds[/]")
    else:
        out.print(f"contract {manifest.contract}: [red]broken[/]  {_text(problem)}")


def _table(title: str, columns: Iterable[str], *, right_from: int = 99) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for index, column in enumerate(columns):
        table.add_column(_text(column), justify="right" if index >= right_from else "left", no_wrap=True)
    return table


def _feature_rows(table: Table, functions: Iterable[FunctionInfo], kind: str, attribute: str) -> None:
    """A row for each feature: its name, its type, and its shape in each function. `kind` stands on the first row."""
    of: list[dict[str, FeatureInfo]] = [{f.name: f for f in getattr(function, attribute)} for function in functions]
    for name in dict.fromkeys(name for features in of for name in features):
        there = [features.get(name) for features in of]
        dtypes = dict.fromkeys(feature.dtype for feature in there if feature)
        shapes = (_shape(feature) for feature in there)
        table.add_row(f"[dim]{kind}[/]", _text(name), "/".join(dtypes), *shapes)
        kind = ""
    table.add_section()


def _shape(feature: FeatureInfo | None) -> str:
    if feature is None:
        return ""
    return "×".join("?" if size is None else str(size) for size in feature.shape) or "scalar"


def _operator_rows(table: Table, functions: tuple[FunctionInfo, ...]) -> None:
    counts: Callable[[str], list[int]] = lambda op: [function.ops.get(op, 0) for function in functions]  # noqa: E731
    known = dict.fromkeys(op for function in functions for op in function.ops)
    for op in sorted(known, key=lambda op: (-max(counts(op)), op)):
        table.add_row(_text(op), *(str(count or "") for count in counts(op)))
    table.add_section()
    table.add_row("all", *(str(sum(function.ops.values())) for function in functions))


def _weights_table(info: PackageInfo) -> Table:
    columns = ["scheme", "tensors", "parameters", "bits per weight", "bytes"]
    table = _table("Weights", columns, right_from=1)
    table.add_column("")
    largest = max((group.bytes for group in info.weights), default=1) or 1
    for group in info.weights:
        table.add_row(
            _text(group.scheme),
            str(group.tensors),
            _millions(group.parameters),
            f"{group.bits_per_weight:.2f}",
            bytes_text(group.bytes),
            "━" * max(1, round(_BAR * group.bytes / largest)),
        )
    table.add_section()
    bits = 8 * info.weight_bytes / info.parameters if info.parameters else 0.0
    tensors = sum(group.tensors for group in info.weights)
    table.add_row("all", str(tensors), _millions(info.parameters), f"{bits:.2f}", bytes_text(info.weight_bytes))
    return table


def _parts_table(parts: list[dict[str, Any]]) -> Table:
    table = _table("Packages", ["", "layers", "functions", "weights", "state"])
    for part in parts:
        last = part["first_layer"] + part["layers"] - 1
        layers, functions = f"{part['first_layer']} to {last}", ", ".join(part["functions"])
        sizes = (bytes_text(part["weight_bytes"]), bytes_text(part["state_bytes"]))
        table.add_row(_text(part["package"]), layers, _text(functions), *sizes)
    return table


def _memory_table(info: PackageInfo, manifest: Manifest | None) -> Table:
    memory = _memory(info, manifest)
    table = _table(f"Memory at context {manifest.context}" if manifest else "Memory", ["", "bytes"], right_from=1)
    table.add_column("", style="dim")
    table.add_row("weights", bytes_text(memory["weights"]))
    if info.state_bytes:
        rows = f", {bytes_text(info.state_bytes / manifest.state.shape[2])} a token" if manifest else ""
        portable = bytes_text(memory["state_portable"])
        table.add_row("state", bytes_text(memory["state"]), f"fp16{rows}; {portable} in the portable executor")
    if manifest and manifest.embedding:
        kind = f"{manifest.embedding.codes}, mapped from {_text(manifest.embedding.file)}"
        table.add_row("embedding", bytes_text(memory["embedding_file"]), f"{kind}; read row by row")
    table.add_section()
    table.add_row("all", bytes_text(memory["total"]), "and working memory")
    return table


def _text(text: str) -> str:
    """Text from outside for a cell or a line: no control characters, no markup."""
    from rich.markup import escape

    return escape(one_line(text))


def _millions(count: int) -> str:
    return f"{count / 1e9:.2f} G" if count >= 1e9 else f"{count / 1e6:.2f} M" if count >= 1e5 else str(count)
