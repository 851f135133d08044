"""Show an installed model, its source, files and measured quality.

Knows how a manifest is drawn. Must not know what is in a package: that is `lilims inspect`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lilims.core import cli
from lilims.core.console import bytes_text, console

from .shared import safe, when

if TYPE_CHECKING:
    from rich.console import Console as RichConsole

    from lilims.core.package_manifest import AnyManifest

__all__ = ["command"]


@cli.command("show", epilog="Example: lilims show tiny@^1.2 --json")
@cli.model_argument
def command(model: str) -> None:
    """What is known of MODEL: an installed name, with or without @VERSION, or a model folder."""
    from pathlib import Path

    from lilims.core.locate import is_package
    from lilims.core.manifest import Manifest, identity
    from lilims.core.package_manifest import read_any

    from ..condition import about
    from ..names import resolve
    from ..signing import signature_state
    from ..store import Installed, all_models

    folder = resolve(model)
    folder = folder.parent if is_package(folder) else folder
    manifest = read_any(folder)
    here = [one for one in all_models() if one.folder.resolve() == Path(folder).resolve()]
    shown = here[0] if here else Installed(manifest.name, manifest.version, folder)
    value: dict[str, Any] = {**about(shown), "installed": bool(here), "manifest": manifest.model_dump(mode="json")}
    if isinstance(manifest, Manifest):
        value["identity"] = identity(manifest)
    value["signature"], value["key"] = signature_state(folder)
    console.result("model", value, lambda out: _draw(out, value, manifest))


def _draw(out: RichConsole, value: dict[str, Any], manifest: AnyManifest) -> None:
    from lilims.core.manifest import Manifest

    out.print(f"[bold]{safe(value['name'])}[/] {value['version']}  [dim]{safe(value['folder'])}[/]")
    if value["problem"]:
        out.print(f"[red]cannot run here:[/] {safe(value['problem'])}")
    rows = _of_decoder(manifest) if isinstance(manifest, Manifest) else _of_package(manifest)
    made = ", ".join(f"{tool} {version}" for tool, version in manifest.tools.items())
    state = [words for key, words in (("pinned", "pinned"), ("built_in", "built in")) if value[key]]
    rows += [
        ("licence", manifest.licence or "not stated"),
        ("made by", f"{made}; runs with lilims {manifest.compatible_runtime}"),
        ("size", f"{bytes_text(value['bytes'])} in {len(manifest.files)} files"),
        ("last used", ", ".join([when(value["last_used"]), *state])),
    ]
    if "identity" in value:
        rows.append(("identity", value["identity"]))
    if value["signature"] != "none":
        rows.append(("signature", f"{value['signature']}, key {value['key'] or 'unknown'}"))
    for label, text in rows:
        out.print(f"[dim]{label:<10}[/] {safe(text)}")
    _draw_files(out, manifest)
    if isinstance(manifest, Manifest):
        from lilims.runtime.commands.inspect_quality import draw_quality

        draw_quality(out, manifest)


def _of_decoder(manifest: Any) -> list[tuple[str, str]]:
    sizes, quantization, source = manifest.architecture, manifest.quantization, manifest.source
    hub = f", {source.hub.repo} at {source.hub.commit[:12]}" if source.hub else ""
    functions = ", ".join(f"{name} ({one.tokens})" for name, one in manifest.functions.items())
    return [
        ("model", f"{sizes.model_type}, {sizes.parameters / 1e6:.2f} M parameters, {sizes.layers} layers"),
        ("weights", f"{quantization.scheme}, {quantization.bits_per_weight:.2f} bits per weight"),
        ("context", f"{manifest.context} tokens; functions {functions}"),
        ("source", f"{source.kind} {source.name}{hub}"),
        ("sha256", source.sha256),
    ]


def _of_package(manifest: Any) -> list[tuple[str, str]]:
    rows = [("package", f"any ML Program; {manifest.parameters / 1e6:.2f} M parameters; `lilims predict` runs it")]
    for label, text in (("about", manifest.description), ("author", manifest.author)):
        rows += [(label, text)] if text else []
    functions = (
        f"{name}({', '.join(one.inputs)}) → {', '.join(one.outputs)}" for name, one in manifest.functions.items()
    )
    return [*rows, ("functions", "; ".join(functions)), ("source", manifest.source.name)]


def _draw_files(out: RichConsole, manifest: AnyManifest) -> None:
    from rich import box
    from rich.table import Table

    table = Table(title="Files", title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("")
    table.add_column("bytes", justify="right", no_wrap=True)
    table.add_column("sha256", style="dim", no_wrap=True)
    for name, record in manifest.files.items():
        table.add_row(safe(name), bytes_text(record.bytes), record.sha256[:16])
    out.print()
    out.print(table)
