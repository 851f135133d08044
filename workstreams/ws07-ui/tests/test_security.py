"""What is refused, and what every answer carries."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from lilims.core.errors import UsageError
from lilims.ui import Access
from lilims.ui.security import host_name, is_loopback

from .helpers import Live, live

ASK = {"prompt": "x", "max_tokens": 1}


@pytest.fixture
def client(server: Live) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=server.url, trust_env=False, timeout=60) as made:
        yield made


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8080", 200), ("127.0.0.1", 200), ("[::1]:8080", 200), ("LOCALHOST", 200),
        ("evil.example", 403), ("127.0.0.1.evil.example", 403), ("localhost.evil.example:8080", 403), ("10.0.0.1", 403),
        ("localhost@evil.example", 403), ("", 403), ("[::1", 403), ("localhost:8080:9", 403), ("2130706433", 403),
    ],
)  # fmt: skip
def test_host(client: httpx2.Client, host: str, status: int) -> None:
    """A page whose name was made to point at this machine says its own name."""
    assert client.get("/v1/models", headers={"host": host}).status_code == status
    assert client.get("/health", headers={"host": host}).status_code == status


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        (None, 200), ("own", 200), ("http://evil.example", 403), ("null", 403), ("http://localhost:1", 403), ("", 403),
        ("file://", 403), ("http://127.0.0.1", 403),
    ],
)  # fmt: skip
def test_origin(server: Live, client: httpx2.Client, origin: str | None, status: int) -> None:
    headers = {} if origin is None else {"origin": server.url if origin == "own" else origin}
    answer = client.post("/v1/completions", json=ASK, headers=headers)
    assert answer.status_code == status and "access-control-allow-origin" not in answer.headers


def test_cors_allows_what_it_lists_alone(shared_home: Any) -> None:
    access = Access.of("127.0.0.1", origins=["http://app.example:3000/"], api_key="k")
    with live(access=access) as server, httpx2.Client(base_url=server.url, trust_env=False, timeout=60) as client:
        ask = {"access-control-request-method": "POST", "access-control-request-headers": "authorization,x-new"}
        allowed = client.options("/v1/completions", headers={"origin": "http://app.example:3000", **ask})
        assert allowed.status_code == 200
        assert allowed.headers["access-control-allow-origin"] == "http://app.example:3000"
        assert "x-new" in allowed.headers["access-control-allow-headers"]
        refused = client.options("/v1/completions", headers={"origin": "http://app.example", **ask})
        assert refused.status_code == 403 and "access-control-allow-origin" not in refused.headers
        keyed = {"origin": "http://app.example:3000", "authorization": "Bearer k"}
        answer = client.get("/v1/models", headers=keyed)
        assert answer.status_code == 200
        assert answer.headers["access-control-allow-origin"] == "http://app.example:3000"
        assert client.get("/v1/models", headers={"origin": "http://app.example:3000"}).status_code == 401


def test_keys_are_asked_for_everywhere_but_for_health(shared_home: Any) -> None:
    with (
        live(access=Access(api_key="k")) as server,
        httpx2.Client(base_url=server.url, trust_env=False, timeout=60) as client,
    ):
        assert client.get("/health").status_code == 200
        for path in (
            "/v1/models",
            "/v1/models/stories",
            "/metrics",
            "/openapi.json",
            "/api/ps",
            "/nowhere",
            "/web/api/x",
        ):
            assert client.get(path).status_code == 401, path
            assert client.get(path, headers={"authorization": "Basic k"}).status_code == 401, path
        for path in ("/v1/chat/completions", "/v1/completions", "/api/unload"):
            assert client.post(path, json={}).status_code == 401, path
        assert client.get("/metrics", headers={"authorization": "Bearer k"}).status_code == 200


@pytest.mark.parametrize("bad", ["", "a b", "ä", "x" * 600])
def test_keys_that_are_none(bad: str) -> None:
    with pytest.raises(UsageError):
        Access(api_key=bad)


@pytest.mark.parametrize("bad", ["*", "localhost", "http://", "http://a/b", "http://a,http://b", "http://a b"])
def test_origins_that_are_none(bad: str) -> None:
    with pytest.raises(UsageError):
        Access(origins=(bad,))


def test_every_interface_is_not_every_name() -> None:
    access = Access.of("0.0.0.0", hosts=["Box.Local"])
    assert (
        access.host_allowed("192.168.1.5:8080")
        and access.host_allowed("[fe80::1]")
        and access.host_allowed("box.local")
    )
    assert not access.host_allowed("evil.example")


@pytest.mark.parametrize("path", ["/health", "/v1/models", "/nowhere", "/metrics"])
def test_headers(client: httpx2.Client, path: str) -> None:
    headers = client.get(path).headers
    assert headers["x-content-type-options"] == "nosniff" and headers["cache-control"] == "no-store"
    assert "default-src 'none'" in headers["content-security-policy"] and headers["x-frame-options"] == "DENY"
    assert "server" not in headers


@pytest.mark.parametrize(
    "body",
    [
        b"", b"{", b"[]", b"1", b"nul", b'{"prompt": NaN}', b'{"prompt": Infinity}', b"\xff", b'{"prompt": "\\ud800"}',
        b"[" * 100_000, b'{"a":' * 100_000, b'{"prompt":"x","logit_bias":' + b'{"a":' * 70 + b"1" + b"}" * 71,
        b'{"prompt":"x","max_tokens":' + b"9" * 5000 + b"}",
    ],
    ids=lambda body: repr(body[:24]),
)  # fmt: skip
def test_bodies_that_are_none(client: httpx2.Client, body: bytes) -> None:
    answer = client.post("/v1/completions", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400 and answer.json()["error"]["type"] == "invalid_request_error"


def test_a_form_of_another_page_is_not_read(client: httpx2.Client) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""):
        answer = client.post("/v1/completions", content=json.dumps(ASK), headers={"content-type": kind})
        assert answer.status_code == 415


@pytest.mark.parametrize(
    "name",
    ["/etc/passwd", "../stories", "..%2f..%2fetc%2fpasswd", "~", ".", "C:\\x", "stories@>=0 || x", "\x00", "a" * 299],
)
def test_names_never_touch_files(
    client: httpx2.Client, name: str, monkeypatch: pytest.MonkeyPatch, server: Live
) -> None:
    from lilims.core import locate

    monkeypatch.setattr(locate, "locate", None)  # whoever calls it fails
    for answer in (
        client.post("/v1/completions", json={**ASK, "model": name}),
        client.post("/api/unload", json={"model": name}),
        client.get(f"/v1/models/{name}") if name.isprintable() and "/" not in name and name != "." else None,
    ):
        assert answer is None or answer.status_code == 404


def test_methods_and_paths(client: httpx2.Client) -> None:
    wrong = client.get("/v1/completions")
    assert wrong.status_code == 405 and wrong.headers["allow"] == "POST"
    assert wrong.json()["error"]["message"] == "/v1/completions takes POST, not GET"
    nowhere = client.post("/chat/completions", json={}).json()["error"]  # a base URL without its /v1
    assert nowhere["code"] == "unknown_url"
    assert "there is no /chat/completions (the API is below /v1;" in nowhere["message"]


@pytest.mark.parametrize(
    ("host", "loopback"),
    [
        ("127.0.0.1", True), ("::1", True), ("[::1]", True), ("localhost", True),
        ("0.0.0.0", False), ("::", False), ("192.168.0.1", False), ("", False),
    ],
)  # fmt: skip
def test_loopback(host: str, loopback: bool) -> None:
    assert is_loopback(host) is loopback


def test_host_names() -> None:
    assert host_name("Example.COM.:80") == "example.com" and host_name("[::1]:80") == "::1" and host_name("a/b") is None
