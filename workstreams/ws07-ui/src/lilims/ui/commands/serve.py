"""Serve models through OpenAI's API, with a chat page for the browser.

Knows options. Must not know how requests are answered.
"""

from __future__ import annotations

import math
from typing import Any

import click

from lilims.core import cli
from lilims.core.console import console
from lilims.core.errors import LilimsError, UsageError
from lilims.core.settings import settings

__all__ = ["command"]

_UNITS = ["CPU_ONLY", "CPU_AND_GPU", "CPU_AND_NE", "ALL"]
_LOADING = ("executor", "precision", "compute_units", "context", "threads")


def _seconds(_ctx: click.Context, _param: click.Parameter, value: str) -> float:
    """30, 30s, 5m, 2h; a negative number is for ever."""
    units = {"s": 1, "m": 60, "h": 3600}
    number, unit = (value[:-1], units[value[-1]]) if value[-1:] in units else (value, 1)
    try:
        seconds = float(number) * unit
        if math.isfinite(seconds):
            return seconds
        raise ValueError
    except ValueError:
        raise click.BadParameter("a number of seconds, or with a unit such as 30s, 5m, 2h; -1 is for ever") from None


@cli.command("serve", epilog="Example: lilims serve ./tiny --port 8080   ·   then: lilims ps")
@click.argument("models", nargs=-1, metavar="[MODEL]...")
@click.option("-m", "--model", "more", multiple=True, metavar="MODEL", help="The same as MODEL.")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 is every one.")
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="0 takes a free one.")
@click.option("--api-key", metavar="KEY", help="Ask for this key (LILIMS_API_KEY hides it from `ps aux`).")
@click.option("--allow-host", multiple=True, metavar="NAME", help="A further name that this server has.")
@click.option("--cors-origin", multiple=True, metavar="ORIGIN", help="Pages of this origin may ask, too.")
@click.option("--web/--no-web", default=True, show_default=True, help="With the chat page.")
@click.option(
    "--parallel", type=click.IntRange(1, 256), default=16, show_default=True, help="Generations side by side."
)
@click.option("--queue", type=click.IntRange(0, 10_000), default=128, show_default=True, help="Requests that may wait.")
@click.option("--models-loaded", type=click.IntRange(1, 64), default=3, show_default=True, help="Models in memory.")
@click.option(
    "--keep-alive", callback=_seconds, default="5m", show_default=True, metavar="TIME",
    help="How long an unused model stays in memory; 0 not at all, -1 for ever.",
)  # fmt: skip
@click.option(
    "--cache-mb", type=click.IntRange(min=1), help="Memory of a model's KV caches [default: a quarter of what is free]."
)
@click.option("--executor", type=click.Choice(["auto", "coreml", "portable"]), help="Who runs the packages.")
@click.option("--precision", type=click.Choice(["fast", "exact", "fp16"]), help="Of the portable executor.")
@click.option("--compute-units", type=click.Choice(_UNITS), help="Of Core ML.")
@click.option("--context", type=click.IntRange(min=1), help="Most tokens of a cache, where less than the package's.")
@click.option("--threads", type=click.IntRange(min=1), help="Threads of the portable executor.")
def command(models: tuple[str, ...], more: tuple[str, ...], host: str, port: int, **options: Any) -> None:
    """Serve the installed models, the built-in one, and MODEL: names or model folders. The first is the default.

    Listens on this machine alone unless --host says otherwise. Models are loaded when they are first asked for.
    """
    from ..app import create_app
    from ..engine import Engine, EngineSettings
    from ..security import Access, is_loopback
    from ..serving import bound_socket, server_of, url_of

    if options["api_key"] == "":
        raise UsageError("--api-key is empty", hint="give a key, or leave it out; `openssl rand -hex 32` makes one")
    key = options["api_key"] or settings().api_key or None
    if not is_loopback(host) and key is None:
        raise UsageError(
            f"{host} can be reached from other machines, and no API key is asked for",
            hint="set LILIMS_API_KEY, or leave --host out",
        )
    access = Access.of(host, hosts=options["allow_host"], origins=options["cors_origin"], api_key=key)
    cache = options["cache_mb"]
    engine = Engine(
        [*models, *more],
        EngineSettings(
            parallel=options["parallel"],
            queue=options["queue"],
            models=options["models_loaded"],
            keep_alive=options["keep_alive"],
            cache_bytes=None if cache is None else cache * 1_000_000,
            load={name: options[name] for name in _LOADING},
        ),
    )
    app = create_app(engine, access, web=options["web"])
    with bound_socket(host, port) as bound:
        server = server_of(app, lambda: _tell(url_of(bound), engine.default_model))
        try:
            server.run(sockets=[bound])
        except SystemExit:  # the application has not started
            raise app.state.failure or LilimsError("the server did not start", hint="-v says why") from None


def _tell(url: str, model: str) -> None:
    console.result("server", {"url": url, "api": f"{url}/v1", "model": model})
    console.note(f"lilims serves {model} on {url} (API: {url}/v1); Ctrl-C ends it")
