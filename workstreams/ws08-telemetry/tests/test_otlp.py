"""The export against OpenTelemetry's own definitions: every line is protobuf's JSON and says what was recorded."""

from __future__ import annotations

import base64
import json
import re
from typing import Any

from google.protobuf.json_format import ParseDict
from opentelemetry.proto.metrics.v1.metrics_pb2 import MetricsData
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status, TracesData
from opentelemetry.semconv._incubating.metrics import gen_ai_metrics

from lilims.telemetry import Record, keep, metrics_lines, trace_lines

from .helpers import MODEL, done

MACHINE = {"service.name": "lilims", "service.version": "0.1.0", "lilims.host.cores": 8}
OTHER = {**MACHINE, "service.version": "0.2.0"}


def record(number: int, name: str = "generate.done", machine: dict[str, Any] = MACHINE, **changes: Any) -> Record:
    return Record(number, 1_700_000_000.25 + number, name, dict(keep(name, done(**changes)) or {}), machine)


def traces(line: str) -> TracesData:
    """A line as protobuf. OTLP writes ids in hexadecimal where protobuf's mapping has base64."""

    def ids(match: re.Match[str]) -> str:
        return f'"{match[1]}":"{base64.b64encode(bytes.fromhex(match[2])).decode()}"'

    return ParseDict(json.loads(re.sub(r'"(traceId|spanId)":"([0-9a-f]+)"', ids, line)), TracesData())


def attributes(found: Any) -> dict[str, Any]:
    def value(one: Any) -> Any:
        kind = one.WhichOneof("value")
        return [v.string_value for v in one.array_value.values] if kind == "array_value" else getattr(one, kind)

    return {item.key: value(item.value) for item in found}


def test_a_generation_is_a_span() -> None:
    (line,) = trace_lines([record(1)])
    (resource,) = traces(line).resource_spans
    assert attributes(resource.resource.attributes) == MACHINE
    (scope,) = resource.scope_spans
    assert scope.scope.name == "lilims.telemetry"
    (span,) = scope.spans
    assert (len(span.trace_id), len(span.span_id)) == (16, 8)
    assert span.kind == Span.SPAN_KIND_INTERNAL
    assert span.name == f"chat {MODEL}"
    assert span.end_time_unix_nano == 1_700_000_001_250_000_000
    assert span.end_time_unix_nano - span.start_time_unix_nano == 2_200_000_000
    assert span.status.code == Status.STATUS_CODE_UNSET
    found = attributes(span.attributes)
    assert found["gen_ai.provider.name"] == "lilims"
    assert found["gen_ai.usage.input_tokens"] == 12
    assert found["gen_ai.response.finish_reasons"] == ["stop"]
    assert found["lilims.decode.tokens_per_second"] == 20.0


def test_a_failed_generation_has_its_error() -> None:
    (line,) = trace_lines([record(1, "generate.failed", error_type="ExecutionError", finish_reason=None)])
    span = traces(line).resource_spans[0].scope_spans[0].spans[0]
    assert span.status.code == Status.STATUS_CODE_ERROR
    assert attributes(span.attributes)["error.type"] == "ExecutionError"


def test_machines_and_versions_are_kept_apart_and_ids_stay() -> None:
    records = [record(1), record(2, machine=OTHER), record(3), Record(4, 1.0, "command.failed", {}, MACHINE)]
    lines = list(trace_lines(records))
    assert [len(traces(line).resource_spans[0].scope_spans[0].spans) for line in lines] == [2, 1]
    spans = [s for line in lines for s in traces(line).resource_spans[0].scope_spans[0].spans]
    assert len({span.trace_id for span in spans}) == len({span.span_id for span in spans}) == 3
    assert list(trace_lines(reversed(records))) == lines


def test_histograms_count_what_was_recorded() -> None:
    failed = record(3, "generate.failed", error_type="ExecutionError", generated_tokens=0)
    (line,) = metrics_lines([record(1), record(2, prompt_tokens=300, time_to_first_token=1.5), failed])
    (resource,) = ParseDict(json.loads(line), MetricsData()).resource_metrics
    metrics = {metric.name: metric for metric in resource.scope_metrics[0].metrics}
    published = {value for value in vars(gen_ai_metrics).values() if isinstance(value, str)}
    assert metrics.keys() <= published
    assert set(metrics) == {
        "gen_ai.client.token.usage",
        "gen_ai.client.operation.duration",
        "gen_ai.server.time_to_first_token",
        "gen_ai.server.time_per_output_token",
    }
    points = [(attributes(p.attributes), p) for p in metrics["gen_ai.client.token.usage"].histogram.data_points]
    (tokens,) = [p for a, p in points if a["gen_ai.token.type"] == "input" and "error.type" not in a]
    assert (tokens.count, tokens.sum, tokens.min, tokens.max) == (2, 312, 12, 300)
    assert list(tokens.explicit_bounds) == [4.0**n for n in range(14)]
    assert [n for n, count in enumerate(tokens.bucket_counts) if count] == [2, 5], "12 ≤ 16 and 300 ≤ 1024"
    assert len(tokens.bucket_counts) == len(tokens.explicit_bounds) + 1
    (first,) = metrics["gen_ai.server.time_to_first_token"].histogram.data_points
    assert (first.count, first.sum) == (2, 1.75), "not the failed one"
    (each,) = metrics["gen_ai.server.time_per_output_token"].histogram.data_points
    assert (each.count, each.max) == (2, 0.05)
    assert metrics["gen_ai.client.token.usage"].unit == "{token}"
    assert {metrics[name].unit for name in metrics if "token.usage" not in name} == {"s"}


def test_nothing_recorded_gives_no_line() -> None:
    assert list(trace_lines([])) == list(metrics_lines([])) == []
