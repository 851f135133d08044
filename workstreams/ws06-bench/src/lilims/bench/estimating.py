"""A roofline on paper: what a device's memory and arithmetic allow a model, before anybody has the device.

Knows bytes and operations of a token. Must not know devices by name, nor run anything.

    decode       tokens/s ≤ bandwidth / (weights that a token reads + keys and values before it)
    prefill      seconds ≥ (2 · n · weights that multiply + 2 · layers · heads · d · n²) / arithmetic for n tokens, the
                 second for attention to what comes before; and no less than one reading of the weights
    memory       weights + state + working memory (`lilims.context.memory`), against what an app may take

That is a bound. What programs reach of it differs: `REACHED` is from two published figures. An embedding is read by
rows unless it is the head too. Of a mixture of experts all experts are counted, which is too slow. Windows that only
some layers have are not counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from lilims.context import DEVICE, DecoderSizes, plan_memory

from .devices import Device

__all__ = ["REACHED", "Sizes", "estimate", "sizes_of"]

REACHED = (0.34, 0.62)
"""Share of the bound that decoding reached: llama.cpp's early 4-bit kernels on Metal (LLaMA 7B Q4_0 in 27 ms a token on
an M2 Max: its commit "Metal implementation for Q4_K"), and Core ML with fp16 weights (Llama 3.1 8B at 16.26 tokens/s on
an M1 Max, context 2048: machinelearning.apple.com/research/core-ml-on-device-llama)."""


@dataclass(frozen=True)
class Sizes:
    """What a roofline has to know of a model.

    Attributes:
        read: bytes of weights that a token reads.
        multiplied: weights, by number, that a token is multiplied with.
        window: tokens that attention sees at most; None is all.
        stored: bytes of the package.
    """

    name: str
    scheme: str
    decoder: DecoderSizes
    read: int
    multiplied: int
    window: int | None
    stored: int

    @property
    def cache(self) -> int:
        """Bytes of keys and values of one token, fp16."""
        return 2 * self.decoder.layers * self.decoder.kv_heads * self.decoder.head_dim * 2


def sizes_of(model: str | None, *, quantize: str | None = None, context: int | None = None) -> Sizes:
    """Of an installed name, a model folder, or a checkpoint, of which config.json suffices.

    Args:
        quantize: of a checkpoint: the scheme that it would have; of a model folder it is refused.
        context: of a checkpoint: the context that it would have.

    Raises:
        UsageError: a scheme is given for a model that has one.
        LilimsError: the model is not there, or damaged, or not of a supported family.
    """
    from lilims.core.errors import UsageError

    path = Path(model) if model else None
    if path is not None and path.exists() and not _is_converted(path):
        return _of_checkpoint(path, quantize, context)
    if quantize is not None:
        raise UsageError("the model has a scheme already", hint="leave --quantize out, or name a checkpoint")
    from .measuring import found

    _, manifest = found(model)
    tensors = manifest.quantization.tensors
    rows = [role for role in tensors if _by_rows(role, tensors)]
    beside = ["embedding"] if manifest.embedding is not None else []  # in a file of its own, not among the weights
    decoder = DecoderSizes.of(manifest)
    return Sizes(
        name=manifest.name,
        scheme=manifest.quantization.scheme,
        decoder=decoder,
        read=decoder.weights - sum(_bytes(tensors[role]) for role in rows if role not in beside),
        multiplied=sum(prod(one.shape) for role, one in tensors.items() if len(one.shape) > 1 and role not in rows),
        window=manifest.window,
        stored=sum(record.bytes for record in manifest.files.values()),
    )


def _bytes(tensor: Any) -> int:
    return int(tensor.bits * prod(tensor.shape) / 8)


def _is_converted(path: Path) -> bool:
    from lilims.core.locate import is_package

    return is_package(path) or (path / "manifest.json").is_file()


def _by_rows(role: str, roles: Any) -> bool:
    """Whether a table is looked up, not multiplied."""
    return role.startswith("position") or (role == "embedding" and "head" in roles)


def _of_checkpoint(path: Path, quantize: str | None, context: int | None) -> Sizes:
    from lilims.conversion import dry_run
    from lilims.conversion.estimate import read_config

    made = dry_run(path, quantize=quantize, context=context)
    _, spec = read_config(path)
    parts = {group.part: 0 for group in made.groups}
    numbers = dict(parts)
    for group in made.groups:
        parts[group.part] += group.bytes
        numbers[group.part] += group.parameters
    skipped = [part for part in parts if _by_rows(part, parts)]
    decoder = DecoderSizes(
        layers=len(spec.layers),
        kv_heads=spec.kv_heads,
        heads=max(layer.attention.heads for layer in spec.layers),
        head_dim=spec.head_dim,
        hidden=spec.hidden_size,
        vocab=spec.vocab_size,
        chunk=max(made.functions.values()),
        masks=1 if spec.local_window is None else 2,
        weights=made.weights,
        context=made.context,
    )
    multiplied = sum(count for part, count in numbers.items() if part not in (*skipped, "norms and biases"))
    read = made.weights - sum(parts[part] for part in skipped)
    return Sizes(path.name, made.quantization, decoder, read, multiplied, spec.window, made.package)


def estimate(sizes: Sizes, device: Device, *, context: int | None = None, prompt: int = 512) -> dict[str, Any]:
    """What the device allows.

    Args:
        context: tokens of the cache while decoding, and of the state in memory; None is the model's.
        prompt: tokens of the prompt.

    Returns:
        {"device", "model", "context", "decode", "prefill", "memory"}: decode's `tokens_per_second` is the bound,
        `expected` what the shares of `REACHED` make of it; prefill's figures are None where the arithmetic is unknown.

    Raises:
        ContextOverflowError: the model holds fewer tokens.
    """
    from .workload import Workload

    context = context or sizes.decoder.context
    Workload(prompt=min(prompt, context), tokens=1).check_room(sizes.decoder.context, sizes.name)
    if context > sizes.decoder.context:
        Workload(prompt=context, tokens=1).check_room(sizes.decoder.context, sizes.name)
    cache = sizes.cache * min(context, sizes.window or context)
    bound = device.bandwidth / (sizes.read + cache)
    memory = plan_memory(sizes.decoder, context, DEVICE)
    return {
        "model": {"name": sizes.name, "scheme": sizes.scheme, "package_bytes": sizes.stored},
        "device": {"name": device.name, "bandwidth": device.bandwidth, "arithmetic": device.arithmetic,
                   "memory": device.memory, "source": device.source},
        "context": context,
        "decode": {"tokens_per_second": bound, "expected": [share * bound for share in REACHED],
                   "weight_bytes": sizes.read, "cache_bytes": cache},
        "prefill": _prefill(sizes, device, min(prompt, context)),
        "memory": {"weights": memory.weights, "state": memory.state, "working": memory.scratch, "total": memory.total,
                   "app_limit": device.app_limit, "fits": memory.total <= device.app_limit},
    }  # fmt: skip


def _prefill(sizes: Sizes, device: Device, prompt: int) -> dict[str, Any]:
    decoder = sizes.decoder
    attention = 4 * decoder.layers * decoder.heads * decoder.head_dim * prompt**2 / 2
    operations = 2 * prompt * sizes.multiplied + attention
    seconds = None
    if device.arithmetic is not None:
        seconds = max(operations / device.arithmetic, sizes.read / device.bandwidth)
    rate = None if seconds is None else prompt / seconds
    return {"tokens": prompt, "operations": operations, "seconds": seconds, "tokens_per_second": rate}
