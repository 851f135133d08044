"""The page's API below /web/api: what each address does.

Knows requests and answers. Must not know SQL, tasks or processes: store, answers, pulls and safety do.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from . import moderation, shelf
from .errors import NotAllowedError, NotThereError, RequestError
from .exchange import as_json, as_markdown, file_name, import_json, import_markdown
from .guard import body, endpoint
from .options import RANGES, checked

if TYPE_CHECKING:
    from .web import Web

__all__ = ["api_routes"]

_ALIVE = 15.0  # seconds of silence before a comment says that the stream lives
_IMPORT = 8 << 20  # the server around it takes no more
_TEXT = {"content": 256 << 10, "system": 32 << 10, "title": 1_000, "model": 200, "source": 2_000, "query": 1_000}
_FILES = 4
_FILE = 256 << 10  # characters of an attached file


class Api:
    """The handlers; each takes a request and gives an answer."""

    def __init__(self, web: Web) -> None:
        self.web = web

    # the page

    async def state(self, request: Request) -> Response:
        """All that the page needs to begin."""
        from lilims.core import version

        web = self.web
        models = await asyncio.to_thread(web.cards)
        return JSONResponse({
            "version": version(),
            "models": models,
            "default_model": web.default_model,
            "safety": web.safety.state() | {"available": moderation.available()},
            "ranges": {name: [kind.__name__, least, most] for name, (kind, least, most) in RANGES.items()},
        })  # fmt: skip

    async def models(self, request: Request) -> Response:
        """The models that are here, those that can be brought, and the room for them."""
        here, offered, room = await asyncio.gather(
            asyncio.to_thread(self.web.cards), asyncio.to_thread(shelf.offers), asyncio.to_thread(shelf.room)
        )
        return JSONResponse({"models": here, "room": room, "pulls": self.web.pulls.all(), **offered})

    async def session(self, request: Request) -> Response:
        """Takes the API key, gives a cookie."""
        given = await body(request)
        response = JSONResponse({})
        if not self.web.sessions.begin(str(given.get("key", "")), response, secure=request.url.scheme == "https"):
            raise NotAllowedError("the API key is wrong", code="key_wrong", hint="try again")
        return response

    # conversations

    async def conversations(self, request: Request) -> Response:
        """The list, or what a query finds."""
        query = request.query_params.get("q", "")[: _TEXT["query"]]
        return JSONResponse({"conversations": await asyncio.to_thread(self.web.store.conversations, query)})

    async def create(self, request: Request) -> Response:
        """A new conversation."""
        given = await body(request)
        id_ = await asyncio.to_thread(self.web.store.create, **_conversation(given))
        return JSONResponse(self.web.store.conversation(id_), 201)

    async def conversation(self, request: Request) -> Response:
        """One, with its messages."""
        return JSONResponse(await asyncio.to_thread(self.web.store.conversation, request.path_params["id"]))

    async def change(self, request: Request) -> Response:
        """Changes title, model, system prompt, controls or the branch that is shown."""
        id_, values = request.path_params["id"], _conversation(await body(request))
        await asyncio.to_thread(self.web.store.change, id_, **values)
        return JSONResponse(await asyncio.to_thread(self.web.store.conversation, id_))

    async def delete(self, request: Request) -> Response:
        """Removes a conversation, and ends its answer."""
        id_ = request.path_params["id"]
        await self.web.answers.stop_all(id_)
        await asyncio.to_thread(self.web.store.delete, id_)
        return JSONResponse({})

    async def export(self, request: Request) -> Response:
        """One conversation, or all of them, as a file."""
        store, id_ = self.web.store, request.path_params.get("id")
        ids = [id_] if id_ else [row["id"] for row in store.conversations(limit=1_000_000)]
        found = [await asyncio.to_thread(store.conversation, one) for one in ids]
        if request.query_params.get("format") == "markdown" and id_:
            name = file_name(found[0]["title"], "md")
            response: Response = PlainTextResponse(as_markdown(found[0]), media_type="text/markdown")
        else:
            name = file_name(found[0]["title"] if id_ else "lilims conversations", "json")
            response = PlainTextResponse(json.dumps(as_json(found), indent=1, ensure_ascii=False))
            response.headers["Content-Type"] = "application/json"
        response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
        return response

    async def import_(self, request: Request) -> Response:
        """Takes an export: `{"json": …}` or `{"markdown": "…"}`."""
        given = await body(request, limit=_IMPORT)
        if isinstance(text := given.get("markdown"), str):
            ids = await asyncio.to_thread(import_markdown, self.web.store, text)
        else:
            ids = await asyncio.to_thread(import_json, self.web.store, given.get("json"))
        return JSONResponse({"conversations": ids}, 201)

    # messages

    async def ask(self, request: Request) -> Response:
        """Adds a question below `parent` and begins its answer."""
        given = await body(request, limit=8 << 20)
        content, files = _text(given, "content"), _files(given.get("attachments"))
        if not content.strip() and not files:
            raise RequestError("the question is empty", hint="write something first")
        parent = _parent(given)
        return JSONResponse(await self.web.answers.ask(request.path_params["id"], parent, content, files), 201)

    async def answer(self, request: Request) -> Response:
        """Begins another answer to a question."""
        parent = _parent(await body(request))
        message = self.web.store.message(parent or "")
        if message["role"] != "user" or message["conversation"] != request.path_params["id"]:
            raise RequestError("only a question of this conversation can be answered")
        return JSONResponse({"answer": await self.web.answers.answer(request.path_params["id"], message["id"])}, 201)

    async def go_on(self, request: Request) -> Response:
        """Goes on with an answer that ended early."""
        await body(request)
        return JSONResponse({"answer": await self.web.answers.go_on(request.path_params["id"])}, 201)

    async def stop(self, request: Request) -> Response:
        """Ends an answer within a token."""
        await body(request)
        return JSONResponse({"stopped": self.web.answers.stop(request.path_params["id"])})

    async def follow(self, request: Request) -> Response:
        """An answer as server-sent events, from `Last-Event-ID` (or `after`) on."""
        id_ = request.path_params["id"]
        await asyncio.to_thread(self.web.store.message, id_)  # 404 where there is none
        after = request.headers.get("last-event-id") or request.query_params.get("after") or "0.0"
        content, _, reasoning = after[:40].partition(".")
        start = [int(part) if part.isdecimal() else 0 for part in (content, reasoning)]
        events = _events(self.web.answers.follow(id_, *start))
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(events, media_type="text/event-stream", headers=headers)

    # models and safety

    async def pull(self, request: Request) -> Response:
        """Begins a pull, or with `dry_run` asks what it would bring."""
        given = await body(request)
        source = _text(given, "source").strip()
        if not source:
            raise RequestError("no model is named", hint="such as hf:org/name or https://example.org/tiny/")
        pull = await self.web.pulls.start(source, dry_run=given.get("dry_run") is True)
        return JSONResponse(pull.as_dict(), 201)

    async def pulled(self, request: Request) -> Response:
        """How far a pull is."""
        return JSONResponse(self.web.pulls.get(request.path_params["id"]).as_dict())

    async def cancel(self, request: Request) -> Response:
        """Ends a pull; what it has fetched stays."""
        return JSONResponse((await self.web.pulls.cancel(request.path_params["id"])).as_dict())

    async def safety(self, request: Request) -> Response:
        """Changes the age band, the guardian's choice or PIN, or moderation."""
        given, safety = await body(request), self.web.safety
        pin = given.get("pin")
        if pin is not None and not isinstance(pin, str):
            raise RequestError("a PIN is text")
        steps: dict[str, Callable[[Any], None]] = {
            "new_pin": lambda value: safety.set_pin(value, pin),
            "band": lambda value: safety.choose_band(value, pin),
            "guardian": lambda value: safety.choose(value, pin),
            "moderation": lambda value: safety.moderate(value is True),
        }
        for name, step in steps.items():
            if name in given:
                await asyncio.to_thread(step, given[name])
        return JSONResponse(safety.state() | {"available": moderation.available()})


def api_routes(web: Web) -> list[BaseRoute]:
    """Every address of the API."""
    api = Api(web)
    table: list[tuple[str, str, Callable[[Request], Awaitable[Response]]]] = [
        ("GET", "/state", api.state),
        ("GET", "/models", api.models),
        ("GET", "/conversations", api.conversations),
        ("POST", "/conversations", api.create),
        ("GET", "/conversations/{id}", api.conversation),
        ("PATCH", "/conversations/{id}", api.change),
        ("DELETE", "/conversations/{id}", api.delete),
        ("GET", "/conversations/{id}/export", api.export),
        ("GET", "/export", api.export),
        ("POST", "/import", api.import_),
        ("POST", "/conversations/{id}/messages", api.ask),
        ("POST", "/conversations/{id}/answers", api.answer),
        ("POST", "/messages/{id}/continue", api.go_on),
        ("POST", "/messages/{id}/stop", api.stop),
        ("GET", "/messages/{id}/events", api.follow),
        ("POST", "/pulls", api.pull),
        ("GET", "/pulls/{id}", api.pulled),
        ("DELETE", "/pulls/{id}", api.cancel),
        ("PUT", "/safety", api.safety),
    ]
    allowed = web.sessions.allowed
    routes = [Route(f"/web/api{path}", endpoint(call, allowed), methods=[method]) for method, path, call in table]
    return [Route("/web/api/session", endpoint(api.session, lambda _: True), methods=["POST"]), *routes]


async def _events(parts: AsyncIterator[dict[str, Any]]) -> AsyncIterator[str]:
    """Parts of an answer as server-sent events, with a comment now and then where there is none."""
    following = parts.__aiter__()
    waiting: asyncio.Future[dict[str, Any]] | None = None
    try:
        while True:
            waiting = waiting or asyncio.ensure_future(anext(following))
            done, _ = await asyncio.wait({waiting}, timeout=_ALIVE)
            if not done:
                yield ": alive\n\n"
                continue
            try:
                part = waiting.result()
            except StopAsyncIteration:
                return
            except NotThereError:  # deleted meanwhile
                part = {"message": None}
            waiting = None
            name = f"id: {part.pop('offset')}\nevent: part" if "offset" in part else "event: done"
            yield f"{name}\ndata: {json.dumps(part)}\n\n"
    finally:
        if waiting is not None:
            waiting.cancel()
            with contextlib.suppress(asyncio.CancelledError, StopAsyncIteration, Exception):
                await waiting


def _text(given: dict[str, Any], name: str) -> str:
    value = given.get(name, "")
    if not isinstance(value, str):
        raise RequestError(f"{name} has to be text")
    if len(value) > _TEXT[name]:
        raise RequestError(f"{name} has {len(value)} characters, {_TEXT[name]} is the most", hint="make it shorter")
    return value


def _parent(given: dict[str, Any]) -> str | None:
    parent = given.get("parent")
    if parent is not None and not isinstance(parent, str):
        raise RequestError("parent has to be a message's id")
    return parent


def _conversation(given: dict[str, Any]) -> dict[str, Any]:
    """What of a conversation a request sets."""
    found: dict[str, Any] = {
        name: _text(given, name) for name in ("title", "model", "system") if given.get(name) is not None
    }
    if "settings" in given:
        found["settings"] = checked(given["settings"])
    if isinstance(given.get("leaf"), str):
        found["leaf"] = given["leaf"]
    return found


def _files(given: Any) -> list[dict[str, str]]:
    """Attached text files."""
    if given is None:
        return []
    if not isinstance(given, list) or len(given) > _FILES:
        raise RequestError(f"at most {_FILES} files can be attached")
    found = []
    for file in given:
        name, text = (file.get("name"), file.get("text")) if isinstance(file, dict) else (None, None)
        if not isinstance(name, str) or not isinstance(text, str):
            raise RequestError("an attached file has a name and a text")
        if len(text) > _FILE:
            raise RequestError(f"{name[:100]} has more than {_FILE} characters", hint="attach a part of it")
        found.append({"name": " ".join(name.split())[:200], "text": text})
    return found
