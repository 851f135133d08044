"""What the server did, for Prometheus.

Knows the engine's figures and jobs that ended. Must not know prompts, answers or who asked.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lilims.runtime.statistics import peak_rss

from .engine import Engine, Job

__all__ = ["Metrics"]

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """Counters of one server; they are nobody else's, so that two servers may live in one process."""

    def __init__(self, engine: Engine) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)  # on Linux alone; peak_memory_bytes is told everywhere
        self._registry.register(_Engine(engine))
        self._requests = Counter(
            "lilims_http_requests", "Requests by path and status.", ["path", "status"], registry=self._registry
        )
        self._seconds = Histogram(
            "lilims_http_request_duration_seconds", "From a request's head to the end of its answer.",
            ["path"], buckets=_SECONDS, registry=self._registry,
        )  # fmt: skip
        self._first = Histogram(
            "lilims_time_to_first_token_seconds", "From a request to its first token, waiting included.",
            ["model"], buckets=_SECONDS, registry=self._registry,
        )  # fmt: skip
        self._tokens = Counter(
            "lilims_tokens", "Tokens: prompt (run), cached (of prompts, not run again), generated.",
            ["model", "kind"], registry=self._registry,
        )  # fmt: skip
        self._ended = Counter(
            "lilims_generations", "Generations that ended, by reason.", ["model", "reason"], registry=self._registry
        )
        engine.observers.append(self._job)

    async def endpoint(self, _request: Request) -> Response:
        """GET /metrics."""
        return Response(generate_latest(self._registry), media_type=_TYPE)

    def measured(self, app: ASGIApp) -> ASGIApp:
        """ASGI middleware that counts requests. Paths are those of routes, so that there are few of them."""

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send)
                return
            began, status = time.perf_counter(), "499"  # where no answer begins, the client has gone

            async def watched(message: Message) -> None:
                nonlocal status
                if message["type"] == "http.response.start":
                    status = str(message["status"])
                await send(message)

            try:
                await app(scope, receive, watched)
            finally:
                path = getattr(scope.get("route"), "path", "other")
                self._requests.labels(path, status).inc()
                self._seconds.labels(path).observe(time.perf_counter() - began)

        return answer

    def _job(self, job: Job) -> None:
        figures = job.statistics
        run = figures.prompt_tokens - figures.reused_tokens if figures.time_to_first_token else 0
        for kind, count in (
            ("prompt", run),
            ("cached", figures.reused_tokens),
            ("generated", figures.generated_tokens),
        ):
            self._tokens.labels(job.model, kind).inc(count)
        if figures.time_to_first_token:
            self._first.labels(job.model).observe(figures.time_to_first_token)
        reason = figures.finish_reason if job.error is None else type(job.error).__name__
        self._ended.labels(job.model, reason or "unknown").inc()


class _Engine(Collector):
    """Figures that the engine has at the moment somebody looks."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def collect(self) -> Iterator[Metric]:
        engine = self._engine
        figures = {
            "running": ("Generations that run.", engine.running),
            "waiting": ("Requests that wait.", engine.waiting),
            "models_loaded": ("Models in memory.", len(engine.loaded())),
            "caches": ("KV caches in memory.", sum(one["caches"] for one in engine.loaded())),
            "peak_memory_bytes": ("The most physical memory that the process has held.", peak_rss()),
        }
        for name, (about, value) in figures.items():
            if value is not None:
                yield GaugeMetricFamily(f"lilims_{name}", about, value=value)
        about = "Requests refused since the start, as too many waited."
        yield CounterMetricFamily("lilims_rejected", about, value=engine.rejected)
