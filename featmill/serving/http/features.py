"""POST /features: the one route where a microsecond counts, so no framework is in its way."""

from __future__ import annotations

import asyncio
import itertools
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from featmill.errors import RequestError, RequestRefused
from featmill.serving.http.answer_body import columns_json, rows_json
from featmill.serving.http.description import VERSION_HEADER, version_of
from featmill.serving.http.refusal import too_busy
from featmill.serving.http.request_body import Asked, read_body

if TYPE_CHECKING:
    from featmill.serving.answer import FeatureVectors
    from featmill.serving.api_keys import ApiKey
    from featmill.serving.http.refusal import Header
    from featmill.serving.http.server_parts import ServerParts

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = Mapping[bytes, bytes]

ARROW = "application/vnd.apache.arrow.stream"
_ROUTE = "/features"
_JSON = b"application/json"
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:/+=-]{1,128}")
_JSON_HEADER: Header = (b"content-type", _JSON)
_ARROW_HEADER: Header = (b"content-type", ARROW.encode())


@dataclass(frozen=True, slots=True)
class Reply:
    """What goes back: a status, headers without the length, and a body."""

    status: int
    headers: list[Header]
    body: bytes


class FeaturesRoute:
    """Answers requests for features, whichever way they came in."""

    def __init__(self, parts: ServerParts) -> None:
        self._parts = parts
        self.options = parts.options
        self._versions: dict[str, Header] = {
            name: (VERSION_HEADER, version_of(service)) for name, service in parts.services.items()
        }
        self._in_flight = 0
        self._id_prefix = secrets.token_hex(6).encode()
        self._ids = itertools.count(1)

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer one request as an ASGI application does."""
        headers: Headers = dict(scope["headers"])
        try:
            body = await self._body(headers, receive)
        except RequestRefused as error:
            reply = self.refusal(headers, error)
        else:
            reply = await self.reply(headers, body)
        await respond(send, reply)

    async def reply(self, headers: Headers, body: bytes) -> Reply:
        """The answer to a whole request; whatever happens it has a request id."""
        try:
            return await self._traced(headers, body)
        except Exception:
            # Not of the features: something that watches them broke. Nothing that may have caused it is asked again.
            request_id = self.request_id(headers)
            self._failed(request_id)
            told = [_JSON_HEADER, (b"x-request-id", request_id), (b"connection", b"close")]
            return Reply(500, told, refusal_json(mistake(), request_id))

    async def _traced(self, headers: Headers, body: bytes) -> Reply:
        if self._parts.traces is None:
            return await self._reply(headers, body)
        with self._parts.traces.request(headers) as span:
            reply = await self._reply(headers, body)
            span.set_attribute("http.response.status_code", reply.status)
            return reply

    async def _reply(self, headers: Headers, body: bytes) -> Reply:
        started = time.perf_counter()
        request_id = self.request_id(headers)
        seen = _Seen()
        self._in_flight += 1
        try:
            text, kind = await self._features(headers, body, seen)
        except RequestError as error:
            return self._refused(error, request_id, seen, started)
        except Exception:
            self._failed(request_id)
            return self._refused(mistake(), request_id, seen, started)
        finally:
            self._in_flight -= 1
        answer = seen.answer
        extra = [kind, (b"x-request-id", request_id), self._versions[seen.service]]
        if answer is not None and answer.degraded is not None:
            extra.append((b"x-featmill-degraded", answer.degraded.encode("latin-1", "replace")))
        self._note(request_id, seen, started)
        return Reply(200, extra, text)

    async def _features(self, headers: Headers, body: bytes, seen: _Seen) -> tuple[bytes, Header]:
        parts = self._parts
        if self._in_flight > self.options.concurrency:
            raise too_busy(503, f"{self.options.concurrency:,} requests are being answered", 1)
        seen.key = key = parts.access.admit(headers)
        _require_json(headers)
        asked = read_body(body, parts.access.visible(key, parts.services), self.options.entities)
        seen.service = asked.service.name
        form = wanted_form(headers)
        seen.answer = answer = await self._read(asked)
        if parts.served is not None:
            parts.served.offer(answer)
        if form == ARROW:
            return _arrow(answer), _ARROW_HEADER
        return (rows_json if asked.by_row else columns_json)(answer), _JSON_HEADER

    async def _read(self, asked: Asked) -> FeatureVectors:
        parts, name = self._parts, asked.service.name
        as_of = self.options.as_of
        if parts.traces is None:
            return await parts.reader.read(name, asked.keys, asked.request, as_of=as_of)
        with parts.traces.store_read(name) as span:
            answer = await parts.reader.read(name, asked.keys, asked.request, as_of=as_of)
            span.set_attribute("featmill.entities", answer.rows)
            span.set_attribute("featmill.degraded", answer.degraded or "")
            return answer

    async def _body(self, headers: Headers, receive: Receive) -> bytes:
        limit = self.options.body_bytes
        if int(headers.get(b"content-length", b"0")) > limit:
            raise too_long(limit)
        try:
            async with asyncio.timeout(self.options.body_seconds):
                body, is_whole = b"", False
                while not is_whole:
                    message = await receive()
                    body += message.get("body", b"")
                    is_whole = not message.get("more_body", False)
                    if len(body) > limit:
                        raise too_long(limit)
        except TimeoutError:
            raise too_slow(self.options.body_seconds) from None
        return body

    def refusal(self, headers: Headers, error: RequestError, route: str = _ROUTE) -> Reply:
        """The answer to a request that was refused before it was whole; `route` is empty where it is not known yet."""
        seen = _Seen(route)
        return self._refused(error, self.request_id(headers), seen, time.perf_counter())

    def _refused(
        self, error: RequestError, request_id: bytes, seen: _Seen, started: float
    ) -> Reply:
        status = error.status if isinstance(error, RequestRefused) else 422
        extra = error.headers if isinstance(error, RequestRefused) else ()
        if self._parts.meters is not None:
            self._parts.meters.ended(seen.route, status, seen.service)
        if self.options.access_log:
            self._log(request_id, seen, started, status)
        body = refusal_json(error, request_id)
        return Reply(status, [_JSON_HEADER, (b"x-request-id", request_id), *extra], body)

    def _note(self, request_id: bytes, seen: _Seen, started: float) -> None:
        if self._parts.meters is not None and seen.answer is not None:
            self._parts.meters.answered(seen.answer, time.perf_counter() - started)
        if self.options.access_log:
            self._log(request_id, seen, started, 200)

    def _log(self, request_id: bytes, seen: _Seen, started: float, status: int) -> None:
        answer = seen.answer
        self._parts.log.say(
            "info",
            "request",
            request_id=request_id.decode("latin-1"),
            route=seen.route,
            status=status,
            ms=round((time.perf_counter() - started) * 1_000, 3),
            key=None if seen.key is None else seen.key.key_id,
            service=seen.service,
            rows=0 if answer is None else answer.rows,
            degraded=None if answer is None else answer.degraded,
        )

    def _failed(self, request_id: bytes) -> None:
        self._parts.log.say("exception", "failed", request_id=request_id.decode("latin-1"))

    def request_id(self, headers: Headers) -> bytes:
        """The caller's id where it is one, else a new one."""
        given = headers.get(b"x-request-id")
        if given is not None and _REQUEST_ID.fullmatch(given):
            return given
        return b"%b-%x" % (self._id_prefix, next(self._ids))


class _Seen:
    """What was found out about a request before it was answered or refused."""

    __slots__ = ("answer", "key", "route", "service")

    def __init__(self, route: str = _ROUTE) -> None:
        self.route = route
        self.key: ApiKey | None = None
        self.service = ""
        self.answer: FeatureVectors | None = None


def _require_json(headers: Headers) -> None:
    kind = headers.get(b"content-type", _JSON)
    if kind != _JSON and kind.partition(b";")[0].strip().lower() != _JSON:
        raise RequestRefused(
            415, "the body is not JSON", field="header.content-type", expected="application/json"
        )


def mistake() -> RequestRefused:
    """500: what no request should be able to cause."""
    return RequestRefused(500, "the server made a mistake", expected="the server's log says more")


def wanted_form(headers: Headers) -> str:
    """The media type to answer in: Arrow where the caller names it first, JSON otherwise.

    Raises:
        RequestRefused: 406, the caller takes neither.
    """
    accept = headers.get(b"accept")
    if accept is None or accept == b"*/*" or accept == _JSON:
        return "application/json"
    for one in accept.decode("latin-1").split(","):
        kind = one.partition(";")[0].strip().lower()
        if kind in ("application/json", "*/*", "application/*"):
            return "application/json"
        if kind == ARROW:
            return ARROW
    raise RequestRefused(
        406,
        "there is no such form of an answer",
        field="header.accept",
        expected=f"application/json or {ARROW}",
    )


def refusal_json(error: RequestError, request_id: bytes) -> bytes:
    """The body that says what is wrong."""
    said = {
        "error": error.message,
        "field": error.field or None,
        "expected": error.hint or "what GET /services/{name} says",
        "request_id": request_id.decode("latin-1"),
    }
    return orjson.dumps(said)


async def respond(send: Send, reply: Reply) -> None:
    """Send a whole answer as an ASGI application does."""
    headers = [*reply.headers, (b"content-length", b"%d" % len(reply.body))]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})


def too_long(limit: int) -> RequestRefused:
    """413: the body is longer than may be."""
    return RequestRefused(
        413,
        f"the body is longer than {limit:,} bytes",
        field="body",
        expected=f"at most {limit:,} bytes",
        # What is still under way would be taken for the next request.
        headers=[(b"connection", b"close")],
    )


def too_slow(seconds: float) -> RequestRefused:
    """408: the body did not come in time."""
    return RequestRefused(
        408,
        "the body did not come in time",
        field="body",
        expected=f"the whole body within {seconds:g} s",
        headers=[(b"connection", b"close")],
    )


def too_long_head(limit: int) -> RequestRefused:
    """431: the headers are longer than may be."""
    return RequestRefused(
        431,
        "the headers are too long",
        field="header",
        expected=f"at most {limit:,} bytes of headers",
        headers=[(b"connection", b"close")],
    )


def too_slow_head(seconds: float) -> RequestRefused:
    """408: the headers did not come in time."""
    return RequestRefused(
        408,
        "the headers did not come in time",
        field="header",
        expected=f"all headers within {seconds:g} s",
        headers=[(b"connection", b"close")],
    )


def _arrow(answer: FeatureVectors) -> bytes:
    import pyarrow as pa

    table = answer.to_arrow()
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    found: bytes = sink.getvalue().to_pybytes()
    return found
