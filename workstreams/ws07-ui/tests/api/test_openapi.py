"""schemathesis asks whatever the OpenAPI document allows, and much that it does not."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from lilims.ui import Engine, EngineSettings, create_app
from lilims.ui.api.document import openapi

from ..helpers import Live

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import schemathesis
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import (
        content_type_conformance,
        response_schema_conformance,
        status_code_conformance,
    )

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
schema: Any = schemathesis.openapi.from_dict(openapi())


@schema.parametrize()
@settings(
    max_examples=8, deadline=None, derandomize=True, database=None,
    suppress_health_check=list(HealthCheck),
)  # fmt: skip
def test_answers_are_as_the_document_says(server: Live, case: Any) -> None:
    if isinstance(case.body, dict):
        case.body["max_tokens"] = 2  # what is asked may have any form; the time is ours
        case.body.pop("max_completion_tokens", None)
        if isinstance(case.body.get("n"), int) and case.body["n"] > 4:
            case.body["n"] = 4
    response = case.call(base_url=server.url, timeout=60)
    case.validate_response(response, checks=CHECKS)


def test_every_route_stands_in_the_document() -> None:
    app = create_app(Engine([], EngineSettings()), web=False)
    paths = {getattr(route, "path", "") for route in app.routes}
    assert paths - set(openapi()["paths"]) == {"/metrics", "/openapi.json"}


@pytest.mark.parametrize("name", ["ChatRequest", "CompletionRequest", "ChatAnswer", "ErrorAnswer"])
def test_its_schemas_have_names(name: str) -> None:
    assert name in openapi()["components"]["schemas"]
