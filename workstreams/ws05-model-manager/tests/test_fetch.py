"""One file from a bad server: interrupted, truncated, corrupted, redirected, silent, lying, gone."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import hashlib
import random
import socket
import ssl
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lilims.core.errors import IntegrityError, LilimsError, ModelNotFoundError
from lilims.models.download import fetch as module
from lilims.models.download.address import Policy
from lilims.models.download.area import Want
from lilims.models.download.client import open_client
from lilims.models.download.fetch import fetch, fetch_small
from lilims.models.download.patience import Patience
from lilims.models.errors import AddressError, DownloadError, ModelTooLargeError

from .server import Server, serving

DATA = random.Random(5).randbytes(300_000)
HASH = hashlib.sha256(DATA).hexdigest()
PATIENCE = Patience(connect=5, silence=0.4, attempts=3, backoff=0.001)


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as found:
        found.files["/x"] = DATA
        yield found


def want(server: Server, **fields: object) -> Want:
    made = Want(f"{server.url}/x", "x", HASH, len(DATA), len(DATA))
    return replace(made, **fields)  # type: ignore[arg-type]


def get(wanted: Want, patience: Patience = PATIENCE, policy: Policy | None = None) -> Path:
    taken: list[Path] = []

    async def run() -> None:
        async with open_client(policy or Policy.of(wanted.url), patience) as client:
            await fetch(client, wanted, lambda _want, _done: None, taken.append)

    asyncio.run(run())
    return taken[0]


FAULTS = {
    "none": ([], 1, len(DATA)),
    "cut": (["cut:100000"], 2, len(DATA)),
    "cut-at-once": (["cut:0"], 2, len(DATA)),
    "cut-often": (["cut:10000"] * 20, 21, len(DATA)),  # each try brings something: it goes on
    "no-answer": (["drop", "drop"], 3, len(DATA)),
    "silent": (["stall:70000"], 2, len(DATA)),
    "busy": (["status:503", "status:429"], 3, len(DATA)),
    "corrupted": (["flip:150000"], 2, 2 * len(DATA)),
    "corrupted-part": (["flip:10"], 2, 2 * len(DATA)),
    "length-too-short": (["length:1000"], 2, None),
    "length-too-long": (["length:999999"], 1, len(DATA)),
    "range-ignored": (["cut:100000", "whole"], 2, 100_000 + len(DATA)),
    "range-of-another-place": (["cut:100000", "range:7"], 3, None),
}


@pytest.mark.parametrize("case", FAULTS)
def test_a_file_arrives(case: str, server: Server, home: Path) -> None:
    faults, requests, sent = FAULTS[case]
    server.faults["/x"] = list(faults)
    path = get(want(server))
    assert path.read_bytes() == DATA
    assert path == home / "downloads" / HASH
    assert [one.name for one in path.parent.iterdir()] == [HASH]
    assert len(server.asked) == requests
    assert sent is None or server.sent("/x") == sent


@pytest.mark.parametrize("etag", ['"one"', 'W/"weak"', None])
@pytest.mark.parametrize("ranges", [True, False], ids=["ranges", "no-ranges"])
def test_servers_without_ranges_and_validators(etag: str | None, ranges: bool, server: Server, home: Path) -> None:
    server.etag, server.ranges = etag, ranges
    server.faults["/x"] = ["cut:100000"]
    assert get(want(server)).read_bytes() == DATA
    assert server.asked[1].start == 100_000
    assert server.asked[1].condition == ('"one"' if etag == '"one"' else None)
    assert server.sent("/x") == (len(DATA) if ranges else 100_000 + len(DATA))


def test_chunked_bodies(server: Server, home: Path) -> None:
    server.chunked = True
    assert get(want(server)).read_bytes() == DATA
    assert get(want(server, url=f"{server.url}/x?", sha256=None, bytes=None)).read_bytes() == DATA


def test_an_empty_file_is_not_asked_for(server: Server, home: Path) -> None:
    path = get(want(server, sha256=hashlib.sha256(b"").hexdigest(), bytes=0))
    assert path.read_bytes() == b"" and server.asked == []


FAILURES: dict[str, tuple[list[str], type[LilimsError], str, int]] = {
    "never-answers": (["drop"] * 9, DownloadError, "gave up after 3 tries", 3),
    "cuts-at-the-same-place": (["cut:5"] + ["cut:0"] * 9, DownloadError, "gave up after 3 tries", 3),
    "always-corrupt": (["flip:1"] * 9, IntegrityError, "x has other bytes than its manifest records", 2),
    "absent": (["status:404"], ModelNotFoundError, "the server has no such file", 1),
    "forbidden": (["status:403"], DownloadError, r"the server refuses \(403\)", 1),
    "teapot": (["status:418"], DownloadError, "the server answers 418", 1),
    "compressed": (["coded"], DownloadError, "the server compresses", 1),
    "always-busy": (["status:503"] * 9, DownloadError, "gave up after 3 tries: the server answers 503", 3),
    "loop": (["to:/x"] * 9, DownloadError, "redirects more than 5 times", 6),
    "nowhere": (["to:https:///x"], AddressError, "names no server", 1),
    "no-address": (["to:https://x:y/"], DownloadError, "redirects to nowhere", 1),
}


@pytest.mark.parametrize("case", FAILURES)
def test_what_ends_a_download(case: str, server: Server, home: Path) -> None:
    faults, kind, words, requests = FAILURES[case]
    server.faults["/x"] = faults
    with pytest.raises(kind, match=words) as caught:
        get(want(server))
    assert caught.value.hint
    assert len(server.asked) == requests
    assert not (home / "downloads" / HASH).exists()


def test_a_server_that_disappears_keeps_what_has_arrived(server: Server, home: Path) -> None:
    server.faults["/x"] = ["cut:100000"]
    with serving() as other:
        other.files["/x"] = DATA
        other.faults["/x"] = ["cut:120000"]
        with pytest.raises(DownloadError, match="gave up"):
            get(want(other), replace(PATIENCE, attempts=1))
    with pytest.raises(DownloadError, match="cannot be reached"):
        get(want(other))
    assert (home / "downloads" / f"{HASH}.part").stat().st_size == 120_000
    assert get(want(server)).read_bytes() == DATA  # another server has the same bytes: only the rest is asked for
    assert [(one.start, one.condition) for one in server.asked] == [(120_000, None), (220_000, None)]
    assert server.sent("/x") == len(DATA) - 120_000


def test_what_is_there_is_not_fetched_again(server: Server, home: Path) -> None:
    get(want(server))
    assert get(want(server)).read_bytes() == DATA
    assert len(server.asked) == 1
    (home / "downloads" / HASH).write_bytes(DATA[:-1] + b"x")  # a disk that fails
    assert get(want(server)).read_bytes() == DATA
    assert len(server.asked) == 2


PARTS = {
    "longer": DATA + b"more",
    "whole": DATA,
    "wrong": b"x" * 1000,
    "whole-and-wrong": b"x" * len(DATA),
    "empty": b"",
}


@pytest.mark.parametrize("case", PARTS)
def test_parts_that_a_killed_process_has_left(case: str, server: Server, home: Path) -> None:
    (home / "downloads").mkdir(parents=True)
    (home / "downloads" / f"{HASH}.part").write_bytes(PARTS[case])
    (home / "downloads" / f"{HASH}.from").write_text("[")
    (home / "downloads" / f"{HASH}.lock").write_text("")
    assert get(want(server)).read_bytes() == DATA
    assert len(server.asked) == {"whole": 0, "wrong": 2}.get(case, 1)


def test_two_at_once_fetch_once(server: Server, home: Path) -> None:
    server.faults["/x"] = ["pause:30000"]

    taken: list[Path] = []

    async def run() -> None:
        async with open_client(Policy.of(server.url), PATIENCE) as client:
            fetches = (fetch(client, want(server), lambda _w, _d: None, taken.append) for _ in range(3))
            await asyncio.gather(*fetches)

    asyncio.run(run())
    assert [path.read_bytes() for path in taken] == [DATA] * 3
    assert len(server.asked) == 1


# -- without a known hash --------------------------------------------------------------------------------------------


def unknown(server: Server) -> Want:
    return want(server, sha256=None, bytes=None, most=len(DATA))


def test_an_unknown_file_goes_on_under_a_condition(server: Server, home: Path) -> None:
    server.faults["/x"] = ["cut:100000"]
    assert get(unknown(server)).read_bytes() == DATA
    assert [(one.start, one.condition) for one in server.asked] == [(None, None), (100_000, '"one"')]


def test_an_unknown_file_that_changes_begins_again(server: Server, home: Path) -> None:
    server.faults["/x"] = ["cut:100000"]
    with pytest.raises(DownloadError):
        get(unknown(server), replace(PATIENCE, attempts=1))
    server.etag, server.files["/x"] = '"two"', DATA[::-1]
    assert get(unknown(server)).read_bytes() == DATA[::-1]
    assert server.asked[1].condition == '"one"'


def test_an_unknown_file_without_validator_begins_again(server: Server, home: Path) -> None:
    server.etag = None
    server.faults["/x"] = ["cut:100000"]
    assert get(unknown(server)).read_bytes() == DATA
    assert [one.start for one in server.asked] == [None, None]


def test_a_whole_unknown_file_is_asked_for_changes_only(server: Server, home: Path) -> None:
    path = get(unknown(server))
    assert get(unknown(server)) == path and path.read_bytes() == DATA
    assert (server.asked[1].start, server.asked[1].sent) == (len(DATA), 0)
    server.etag, server.files["/x"] = '"two"', DATA[:1000]
    assert get(unknown(server)).read_bytes() == DATA[:1000]


def test_an_unknown_file_over_the_limit(server: Server, home: Path) -> None:
    with pytest.raises(ModelTooLargeError, match="has more than 1000 bytes"):
        get(want(server, sha256=None, bytes=None, most=1000))
    assert not list((home / "downloads").iterdir())


def test_a_small_file_over_the_limit(server: Server) -> None:
    async def run() -> bytes:
        async with open_client(Policy.of(server.url), PATIENCE) as client:
            return await fetch_small(client, f"{server.url}/x", 1000)

    with pytest.raises(IntegrityError, match="more than 1000 bytes"):
        asyncio.run(run())


def test_a_disk_that_fills_up(server: Server, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lilims.core.errors import StorageError

    def full(_size: int) -> None:
        raise StorageError("the disk has 0 bytes free")

    monkeypatch.setattr(module, "check_room", full)
    monkeypatch.setattr(module, "_LOOK", 100_000)
    with pytest.raises(StorageError, match="0 bytes free"):
        get(want(server))
    monkeypatch.undo()
    assert get(want(server)).is_file()


# -- addresses -------------------------------------------------------------------------------------------------------

REFUSED = {
    "http://example.org/x": "is not https",
    "ftp://example.org/x": "is not https",
    "file:///etc/passwd": "names no server",
    "https://user:secret@example.org/x": "names a user or a password",
    "https://10.0.0.1/x": "10.0.0.1 is inside a private network",
    "https://192.168.1.1/x": "inside a private network",
    "https://169.254.169.254/latest": "inside a private network",
    "https://[fd00::1]/x": "inside a private network",
    "https://[::ffff:10.0.0.1]/x": "10.0.0.1 is inside",
    "https://[64:ff9b::a00:1]/x": "10.0.0.1 is inside",
    "https://[2002:a00:1::]/x": "10.0.0.1 is inside",
    "https://100.64.0.1/x": "inside a private network",
    "https://0.0.0.0/x": "inside a private network",
    "https://224.0.0.1/x": "inside a private network",
    "https://": "names no server",
    "https://x:y/": "is not an address",
}


@pytest.mark.parametrize("url", REFUSED)
def test_addresses_that_are_not_asked(url: str) -> None:
    with pytest.raises(AddressError, match=REFUSED[url]) as caught:
        Policy.of(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("url", ["https://10.0.0.1/x", "https://[fd00::1]/x"])
def test_private_addresses_where_they_are_allowed(url: str) -> None:
    Policy.of(url, private=True)


def test_public_addresses_and_this_machine() -> None:
    for url in (
        "https://example.org/x",
        "https://8.8.8.8/x",
        "http://localhost:1/x",
        "http://127.0.0.1/",
        "https://[::1]/x",
    ):
        Policy.of(url)


def test_a_redirection_is_followed_where_it_may_lead(server: Server, home: Path) -> None:
    server.files["/y"] = DATA
    server.faults["/x"] = ["to:/y", "cut:5"]
    assert get(want(server)).read_bytes() == DATA
    assert [one.path for one in server.asked] == ["/x", "/y"]


@pytest.mark.parametrize(
    "to", ["http://example.org/x", "https://10.0.0.1/x", "https://u:p@example.org/", "ftp://127.0.0.1/"]
)
def test_a_redirection_out_is_refused(to: str, server: Server, home: Path) -> None:
    server.faults["/x"] = [f"to:{to}"]
    with pytest.raises(AddressError):
        get(want(server))
    assert len(server.asked) == 1


def test_a_public_address_does_not_lead_to_this_machine(server: Server, home: Path) -> None:
    """Neither by redirection nor by a name that resolves to it: the peer is looked at before anything is sent."""
    with pytest.raises(AddressError, match="leads to this machine"):
        get(want(server), policy=Policy())
    policy = Policy()
    object.__setattr__(policy, "check", lambda url: None)  # as if the name had been a public one
    with pytest.raises(AddressError, match=r"127\.0\.0\.1 is inside a private network"):
        get(want(server), policy=policy)
    assert server.asked == []


def test_a_certificate_that_nobody_trusts(tmp_path: Path, home: Path) -> None:
    """One try, one line: a server that signs its own certificate."""
    x509 = pytest.importorskip("cryptography.x509")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    start = datetime.datetime(2020, 1, 1)
    certificate = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(1)
        .not_valid_before(start).not_valid_after(start.replace(year=2100)).sign(key, hashes.SHA256())
    )  # fmt: skip
    form = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    pem = certificate.public_bytes(serialization.Encoding.PEM) + key.private_bytes(serialization.Encoding.PEM, *form)
    (tmp_path / "server.pem").write_bytes(pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem")
    tries = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                connection, _ = listener.accept()
                tries.append(1)
                with connection, contextlib.suppress(OSError):
                    context.wrap_socket(connection, server_side=True).close()

        thread = threading.Thread(target=serve)
        thread.start()
        wanted = Want(f"https://localhost:{listener.getsockname()[1]}/x", "x", HASH, len(DATA), len(DATA))
        with pytest.raises(DownloadError, match="its certificate is not trusted"):
            get(wanted)
        thread.join(60)
    assert tries == [1]
