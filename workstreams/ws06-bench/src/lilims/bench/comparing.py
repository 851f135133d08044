"""lilims beside its peers on the same weights: speeds in turns, ratios with their spread, the bound of bandwidth.

Knows what is compared and whether the weights are the same. Must not know an engine's library.

A token reads all weights and the keys and values before it, so no engine decodes faster than bandwidth / bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lilims.core.errors import UsageError

from .engines import ENGINES
from .figures import summarise
from .turns import Turns, in_turns, ratio, read_bandwidth

if TYPE_CHECKING:
    from lilims.core.manifest import Manifest

__all__ = ["compare", "parse_peer"]


def parse_peer(text: str) -> tuple[str, Path]:
    """`ENGINE=PATH` as engine and path.

    Raises:
        UsageError: it is none, or the path is not there.
    """
    engine, _, path = text.partition("=")
    if engine not in ENGINES or not path:
        raise UsageError(
            f"{text!r} is not ENGINE=PATH",
            hint=f"such as llama.cpp=model-Q4_0.gguf; engines: {', '.join(ENGINES)}",
        )
    if not Path(path).exists():
        raise UsageError(f"{path} is not there", hint=f"{engine} wants its own file or folder of the same weights")
    return engine, Path(path)


def compare(
    model: str | None,
    peers: Sequence[tuple[str, Path]],
    *,
    prompt: int = 512,
    tokens: int = 32,
    depths: Sequence[int] = (0,),
    rounds: int = 5,
    threads: int | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Measures a model and its peers in turns.

    Args:
        peers: engine and its file or folder.
        threads: of every engine; None is the setting, else the machine's physical cores.

    Raises:
        ContextOverflowError: the prompt, or a depth and the tokens behind it, does not fit.
        LilimsError: an engine is not installed, does not open its model, or fails.
    """
    from lilims.core.settings import settings

    from .machine import machine, physical_cores
    from .measuring import found
    from .workload import Workload

    folder, manifest = found(model)
    for depth in depths:
        Workload(prompt if not depth else 1, tokens, depth).check_room(manifest.context, str(folder))
    threads = threads or settings().threads or physical_cores()
    turns = Turns(prompt, tokens, depths, rounds, threads, manifest.context, manifest.architecture.vocab_size)
    paths = {"lilims": ("lilims", folder)}
    for engine, path in peers:
        label = engine if engine not in paths else f"{engine} {path.name}"
        paths[label] = (engine, path)
    times = in_turns(paths, turns, progress=progress)
    bandwidth = read_bandwidth(threads)
    return {
        "machine": machine() | {"read_bandwidth": bandwidth},
        "threads": threads,
        "rounds": rounds,
        "engines": {label: _weights(label, path, manifest) for label, (_, path) in paths.items()},
        "tasks": [_task(task, seconds) for task, seconds in times.items()],
        "bounds": [_bound(depth, label, path, manifest, bandwidth)
                   for depth in depths for label, (_, path) in paths.items()],
    }  # fmt: skip


def _task(name: str, seconds: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """Figures of one task: seconds of a start, else tokens/s; ratios are lilims' speed against each peer's."""
    own = seconds["lilims"]
    return {
        "task": name,
        "unit": "seconds" if name == "start" else "tokens_per_second",
        "engines": {
            label: summarise(values if name == "start" else [1 / value for value in values]).as_dict()
            for label, values in seconds.items()
        },
        "lilims_against": {label: ratio(values, own) for label, values in seconds.items() if label != "lilims"},
    }


def _weights(label: str, path: Path, manifest: Manifest) -> dict[str, Any]:
    """Bytes of the weights, and whether they are those that the model was made from; None where nothing tells."""
    from lilims.core.files import sha256_file

    same: bool | None = None
    if label == "lilims":
        same = True
    elif path.is_file() and manifest.source.kind == "gguf":
        same = sha256_file(path) == manifest.source.sha256
    return {"path": str(path), "weight_bytes": weight_bytes(path), "same_weights": same}


def weight_bytes(path: Path) -> int:
    """Bytes of a file, or of a package's or checkpoint's weights."""
    if path.is_file():
        return path.stat().st_size
    kinds = ("weight.bin", "*.safetensors", "model.onnx.data")
    return sum(file.stat().st_size for kind in kinds for file in path.rglob(kind))


def _bound(depth: int, label: str, path: Path, manifest: Manifest, bandwidth: float) -> dict[str, Any]:
    """The tokens/s that the memory allows behind `depth` tokens, with keys and values in fp16."""
    sizes = manifest.architecture
    cache = 2 * sizes.layers * sizes.kv_heads * sizes.head_dim * 2 * depth
    weights = weight_bytes(path)
    rate = bandwidth / (weights + cache) if weights else None
    return {"task": f"tokens behind {depth}", "engine": label, "tokens_per_second": rate}
