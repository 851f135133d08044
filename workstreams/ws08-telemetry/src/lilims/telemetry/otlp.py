"""Records as OpenTelemetry's file exporter writes them: JSON lines, each a whole TracesData or MetricsData.

Knows OTLP's JSON encoding (opentelemetry.io/docs/specs/otlp, "JSON Protobuf Encoding": lowerCamelCase, ids in
hexadecimal, 64-bit integers as strings, enums as numbers) and its file format (…/otel/protocol/file-exporter: one kind
of data a file). Must not know tables or commands. Nothing is sent: there is no code here that could.

Spans are generations. The conventions for generative AI give names, units and bounds of buckets. The end of a span is
when the record was made, its beginning as many seconds earlier as the generation took without its consumer.
"""

from __future__ import annotations

import hashlib
import json
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from lilims.core import version

from .kept import OPERATIONS, Value
from .store import Record

__all__ = ["metrics_lines", "trace_lines"]

_LINE = 500  # spans of a line
_INTERNAL, _ERROR, _CUMULATIVE = 1, 2, 2  # SPAN_KIND_INTERNAL, STATUS_CODE_ERROR, AGGREGATION_TEMPORALITY_CUMULATIVE
_PROVIDER = {"gen_ai.provider.name": "lilims"}
_SAME = ("gen_ai.operation.name", "gen_ai.request.model", "lilims.executor", "lilims.precision", "error.type")
_LISTS = ("gen_ai.response.finish_reasons",)

_POWERS = tuple(float(4**i) for i in range(14))
_SECONDS = tuple(0.01 * 2**i for i in range(14))
_FIRST = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
_EACH = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)


@dataclass
class _Histogram:
    """One series of a metric: its attributes, the bounds of its buckets, and what fell into them."""

    attributes: Mapping[str, Value]
    bounds: tuple[float, ...]
    start: float
    end: float = 0.0
    total: float = 0.0
    least: float = float("inf")
    most: float = 0.0
    counts: list[int] = field(default_factory=list)

    def add(self, value: float, when: float) -> None:
        self.counts = self.counts or [0] * (len(self.bounds) + 1)
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value
        self.least, self.most, self.end = min(self.least, value), max(self.most, value), when

    def as_dict(self) -> dict[str, Any]:
        return {
            "attributes": _attributes(self.attributes),
            "startTimeUnixNano": _nanoseconds(self.start),
            "timeUnixNano": _nanoseconds(self.end),
            "count": str(sum(self.counts)),
            "sum": self.total,
            "bucketCounts": [str(count) for count in self.counts],
            "explicitBounds": list(self.bounds),
            "min": self.least,
            "max": self.most,
        }


def trace_lines(records: Iterable[Record]) -> Iterator[str]:
    """Lines of a file of traces: a span for each generation. Other records have no duration and are left out."""
    for resource, found in _by_resource(records):
        spans = [_span(record) for record in found if record.name in OPERATIONS]
        for start in range(0, len(spans), _LINE):
            scope = {"scope": _scope(), "spans": spans[start : start + _LINE]}
            yield _line({"resourceSpans": [{"resource": _resource(resource), "scopeSpans": [scope]}]})


def metrics_lines(records: Iterable[Record]) -> Iterator[str]:
    """Lines of a file of metrics: histograms of tokens, seconds, time to the first token and time of each."""
    for resource, found in _by_resource(records):
        series: dict[str, dict[str, _Histogram]] = {}
        for record in found:
            if record.name in OPERATIONS:
                _measure(series, record)
        metrics = [
            {
                "name": name,
                "unit": "{token}" if name == "gen_ai.client.token.usage" else "s",
                "histogram": {
                    "aggregationTemporality": _CUMULATIVE,
                    "dataPoints": [one.as_dict() for one in of.values()],
                },
            }
            for name, of in series.items()
        ]
        if metrics:
            scope = {"scope": _scope(), "metrics": metrics}
            yield _line({"resourceMetrics": [{"resource": _resource(resource), "scopeMetrics": [scope]}]})


def _measure(series: dict[str, dict[str, _Histogram]], record: Record) -> None:
    """Adds one generation to the histograms."""
    found = record.attributes
    same = {**_PROVIDER, **{name: found[name] for name in _SAME if name in found}}

    def add(name: str, bounds: tuple[float, ...], value: float | None, more: Mapping[str, Value] | None = None) -> None:
        if value is not None:
            attributes = {**same, **(more or {})}
            of = series.setdefault(name, {})
            key = json.dumps(attributes, sort_keys=True)
            of.setdefault(key, _Histogram(attributes, bounds, record.time)).add(value, record.time)

    for kind in ("input", "output"):
        tokens = found.get(f"gen_ai.usage.{kind}_tokens")
        add("gen_ai.client.token.usage", _POWERS, tokens, {"gen_ai.token.type": kind})
    add("gen_ai.client.operation.duration", _SECONDS, found.get("lilims.seconds"))
    if record.name == "generate.done":  # the conventions want these of successful ones only
        add("gen_ai.server.time_to_first_token", _FIRST, found.get("gen_ai.response.time_to_first_chunk") or None)
        speed = found.get("lilims.decode.tokens_per_second")
        add("gen_ai.server.time_per_output_token", _EACH, 1 / speed if speed else None)


def _span(record: Record) -> dict[str, Any]:
    found = record.attributes
    digest = hashlib.sha256(f"{record.time!r} {record.id}".encode()).hexdigest()  # the same in every export
    span: dict[str, Any] = {
        "traceId": digest[:32],
        "spanId": digest[32:48],
        "name": f"{found.get('gen_ai.operation.name', 'generate')} {found.get('gen_ai.request.model', '')}".strip(),
        "kind": _INTERNAL,
        "startTimeUnixNano": _nanoseconds(record.time - found.get("lilims.seconds", 0.0)),
        "endTimeUnixNano": _nanoseconds(record.time),
        "attributes": _attributes({**_PROVIDER, **found}),
    }
    return span | {"status": {"code": _ERROR}} if "error.type" in found else span


def _by_resource(records: Iterable[Record]) -> Iterator[tuple[dict[str, Any], list[Record]]]:
    def key(record: Record) -> str:
        return json.dumps(record.resource, sort_keys=True)

    for _, found in groupby(sorted(records, key=lambda one: (key(one), one.time, one.id)), key):
        group = list(found)
        yield group[0].resource, group


def _resource(resource: Mapping[str, Any]) -> dict[str, Any]:
    return {"attributes": _attributes(resource)}


def _scope() -> dict[str, str]:
    return {"name": "lilims.telemetry", "version": version()}


def _attributes(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [{"key": name, "value": _value(name, value)} for name, value in found.items()]


def _value(name: str, value: Any) -> dict[str, Any]:
    if name in _LISTS:
        return {"arrayValue": {"values": [{"stringValue": value}]}}
    if isinstance(value, int):
        return {"intValue": str(value)}
    return {"doubleValue": value} if isinstance(value, float) else {"stringValue": value}


def _nanoseconds(when: float) -> str:
    return str(round(when * 1_000_000) * 1000)


def _line(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)
