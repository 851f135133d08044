"""What a device's memory and arithmetic allow a model: a roofline on paper.

Knows options and words. Must not know how anything is computed.
"""

from __future__ import annotations

from typing import Any

import click

from lilims.core import cli
from lilims.core.console import bytes_text, console

__all__ = ["command"]


@cli.command("estimate", epilog="Example: lilims bench estimate config.json --device m1-max --context 2048")
@click.argument("positional_model", metavar="[MODEL]", required=False)
@click.option("-m", "--model", metavar="MODEL", help="The same as MODEL [default: the built-in model].")
@click.option(
    "--device", "devices", multiple=True, required=True, metavar="NAME", help="Such as a17-pro or m1; may be repeated."
)
@click.option("--context", type=click.IntRange(min=1), help="Tokens of the cache [default: the model's context].")
@click.option(
    "-p", "--prompt", type=click.IntRange(min=1), default=512, show_default=True, help="Tokens of the prompt."
)
@click.option("--quantize", metavar="SCHEME", help="Of a checkpoint: the scheme that it would be converted with.")
def command(positional_model: str | None, model: str | None, devices: tuple[str, ...], **options: Any) -> None:
    """What the published figures of a device allow MODEL: a model, or a checkpoint of which config.json suffices.

    Decoding is bound by memory: bytes of weights and cache that a token reads. Nothing is run.
    """
    if positional_model and model:
        raise click.UsageError(f"the model is named twice: {positional_model!r} and -m {model!r}")
    from ..devices import device_named
    from ..estimating import estimate, sizes_of

    chosen = [device_named(name) for name in devices]
    sizes = sizes_of(positional_model or model, quantize=options["quantize"], context=options["context"])
    found = [estimate(sizes, one, context=options["context"], prompt=options["prompt"]) for one in chosen]
    console.result("estimate", found[0] | ({"all": found} if len(found) > 1 else {}), lambda out: _draw(out, found))


def _draw(out: Any, found: list[dict[str, Any]]) -> None:
    for one in found:
        model, device, memory = one["model"], one["device"], one["memory"]
        decode, prefill = one["decode"], one["prefill"]
        low, high = decode["expected"]
        read = f"{bytes_text(decode['weight_bytes'])} of weights and {bytes_text(decode['cache_bytes'])} of cache"
        first = "unknown: no published arithmetic"
        if prefill["seconds"] is not None:
            rate, seconds = prefill["tokens_per_second"], prefill["seconds"]
            first = f"at best {rate:.0f} tokens/s, {seconds:.2f} s for {prefill['tokens']}"
        verdict = "fits" if memory["fits"] else "does not fit"
        source = f"{device['bandwidth'] / 1e9:g} GB/s: {device['source']}"
        lines = [
            f"{model['name']}, {model['scheme']}, on {device['name']} ({source})",
            f"  decode   at most {decode['tokens_per_second']:.1f} tokens/s at {one['context']} tokens: {read} a token",
            f"           {low:.1f} to {high:.1f} tokens/s at the shares that programs have reached",
            f"  prefill  {first}",
            f"  memory   {bytes_text(memory['total'])}; {verdict} into {bytes_text(memory['app_limit'])}, "
            "about what an app may take",
        ]
        for line in lines:
            out.print(line, markup=False)
