"""The way of POST /features past ASGI: from uvicorn's parser to the route, and one write back.

Measured, half of what a small request cost was not its features: a scope, a cycle of messages and their checks. So for
this route alone uvicorn's own protocol is extended: a whole request goes to the route as headers and body. Connections,
keep-alive, graceful shutdown and every other route stay uvicorn's; what is unusual (HTTP/1.0, `Expect`, a request sent
before the last was answered) takes its way too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from featmill.serving.http.app import FeaturesApp
from featmill.serving.http.features import (
    too_long,
    too_long_head,
    too_slow,
    too_slow_head,
)

if TYPE_CHECKING:
    import asyncio

    from featmill.errors import RequestError
    from featmill.serving.http.features import FeaturesRoute, Headers, Reply


#: A request's line and headers may be so long, in bytes: the parser has no limit of its own.
HEAD_BYTES = 64 * 1024
_HEAD_SECONDS = 5.0
#: How long what a refused client still sends is read, in seconds.
_LINGER_SECONDS = 1.0
_UPGRADE = frozenset({b"upgrade", b"http2-settings"})


class FeaturesProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 over httptools, with a short way for one route."""

    #: The request that is read or answered the short way; None while it is uvicorn's turn.
    _short: _ShortCycle | None = None
    _timer: asyncio.TimerHandle | None = None
    #: The bytes so far of a request whose headers are not whole, at least; None once they are.
    _head: int | None = 0
    _head_timer: asyncio.TimerHandle | None = None
    _is_refused = False

    def on_message_begin(self) -> None:
        """Begin a request; what the long way wants beside is made when it is chosen."""
        self.url = b""
        self.expect_100_continue = False
        self.headers = []
        self._head = self._head or 1

    def on_headers_complete(self) -> None:
        """Choose the way."""
        size, self._head = self._head, None
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
        if self._is_refused or self.parser.should_upgrade():
            # It comes again, without the offer.
            self._short = _IGNORED
            return
        if size is not None and size > HEAD_BYTES and self._head_size() > HEAD_BYTES:
            self._short = _IGNORED
            self._refuse_head(too_long_head(HEAD_BYTES))
            return
        route = self._route()
        if route is None:
            self._short = None
            url, headers, expects = self.url, self.headers, self.expect_100_continue
            super().on_message_begin()
            self.url, self.expect_100_continue = url, expects
            self.headers += headers
            super().on_headers_complete()
            return
        self.cycle = self._short = _ShortCycle(self, route)  # type: ignore[assignment]

    def on_body(self, body: bytes) -> None:
        """Collect the body, up to what may be."""
        short = self._short
        if short is None:
            super().on_body(body)
        elif not short.response_complete:
            short.size += len(body)
            if short.size > short.route.options.body_bytes:
                self._refuse(short, too_long(short.route.options.body_bytes))
            else:
                short.parts.append(body)

    def on_message_complete(self) -> None:
        """Answer."""
        self._head = 0
        short = self._short
        if short is None:
            super().on_message_complete()
        elif not short.response_complete:
            short.is_whole = True
            task = self.loop.create_task(short.answer())
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin; whoever sends nothing is kept no longer than between two requests."""
        super().connection_made(transport)
        self.timeout_keep_alive_task = self.loop.call_later(
            self.timeout_keep_alive, self.timeout_keep_alive_handler
        )

    def connection_lost(self, exc: Exception | None) -> None:
        """End, with whatever was waited for."""
        for timer in (self._timer, self._head_timer):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on; headers and a body that are not whole yet have so much time, and headers so much room."""
        if self._is_refused:
            return
        self._unset_keepalive_if_required()
        if self._head is not None:
            self._head += len(data)
        while data:
            data = self._fed(data)
        if self._head:
            self._head_waits(self._head)
        short = self._short
        if short is None or short.is_whole:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
        elif self._timer is None and not short.response_complete:
            seconds = short.route.options.body_seconds
            self._timer = self.loop.call_later(seconds, self._give_up, short, seconds)

    def _fed(self, data: bytes) -> bytes:
        """Parse; what is to be parsed again, where another protocol was offered that is not spoken here."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if self.parser.get_method() != b"CONNECT":
                return self._without_upgrade() + data[upgrade.args[0] :]
            self.send_400_response("There are no tunnels here.")
        except httptools.HttpParserError:
            self.send_400_response("Invalid HTTP request received.")
        return b""

    def _without_upgrade(self) -> bytes:
        """The head of the request without the offer, for a new parser: the old one takes what follows for no HTTP."""
        parser, self.parser = self.parser, httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        lines = [
            b"%b %b HTTP/%b" % (parser.get_method(), self.url, parser.get_http_version().encode())
        ]
        for name, value in self.headers:
            if name == b"connection":
                tokens = (token.strip() for token in value.split(b","))
                value = b", ".join(token for token in tokens if token.lower() not in _UPGRADE)
            if name not in _UPGRADE:
                lines.append(b"%b: %b" % (name, value))
        return b"\r\n".join((*lines, b"", b""))

    def _head_waits(self, size: int) -> None:
        if size > HEAD_BYTES:
            self._refuse_head(too_long_head(HEAD_BYTES))
        elif self._head_timer is None:
            app: Any = self.app
            route = app.features if isinstance(app, FeaturesApp) else None
            seconds = _HEAD_SECONDS if route is None else route.options.body_seconds
            self._head_timer = self.loop.call_later(
                seconds, self._refuse_head, too_slow_head(seconds)
            )

    def _refuse_head(self, error: RequestError) -> None:
        app: Any = self.app
        route = app.features if isinstance(app, FeaturesApp) else None
        before: Any = self.cycle
        if route is None or (before is not None and not before.response_complete):
            # Its answer would come in between.
            self.transport.abort()
        elif not self.transport.is_closing():
            self._write(route.refusal(dict(self.headers or ()), error, ""))
            self._refused()

    def write_reply(self, short: _ShortCycle, reply: Reply) -> None:
        """Write a whole answer at once."""
        if short.response_complete or short.disconnected or self.transport.is_closing():
            short.response_complete = True
            return
        is_last = not short.keep_alive or any(
            name == b"connection" and value == b"close" for name, value in reply.headers
        )
        self._write(reply, b"" if short.keep_alive else b"connection: close\r\n")
        short.response_complete = True
        if not short.is_whole:
            self._refused()
        elif is_last:
            self.transport.close()
        self.on_response_complete()

    def _write(self, reply: Reply, more: bytes = b"") -> None:
        pieces = [STATUS_LINE[reply.status]]
        for name, value in (*self.server_state.default_headers, *reply.headers):
            pieces += (name, b": ", value, b"\r\n")
        pieces += (more, b"content-length: %d\r\n\r\n" % len(reply.body), reply.body)
        self.transport.write(b"".join(pieces))

    def _refused(self) -> None:
        """End the connection of a request that is not whole: closed at once, its sender would not read why."""
        self._is_refused = True
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(_LINGER_SECONDS, self.transport.abort)

    def _route(self) -> FeaturesRoute | None:
        """The route where a request may take the short way."""
        if self.url != b"/features" or self.parser.get_method() != b"POST":
            return None
        before: Any = self.cycle  # None before the first, whatever its type says
        is_waiting = before is not None and not before.response_complete
        if is_waiting or self.expect_100_continue or self.parser.get_http_version() != "1.1":
            return None
        app: Any = self.app
        return app.features if isinstance(app, FeaturesApp) else None

    def _head_size(self) -> int:
        return len(self.url) + sum(len(name) + len(value) for name, value in self.headers)

    def _give_up(self, short: _ShortCycle, seconds: float) -> None:
        self._timer = None
        if not short.is_whole and not short.response_complete:
            self._refuse(short, too_slow(seconds))

    def _refuse(self, short: _ShortCycle, error: RequestError) -> None:
        self.write_reply(short, short.route.refusal(short.headers, error))


class _ShortCycle:
    """One request on the short way; what uvicorn's protocol wants to know of a cycle is here too."""

    __slots__ = (
        "disconnected",
        "headers",
        "is_whole",
        "keep_alive",
        "message_event",
        "parts",
        "protocol",
        "response_complete",
        "route",
        "size",
    )

    def __init__(self, protocol: FeaturesProtocol, route: FeaturesRoute) -> None:
        self.protocol = protocol
        self.route = route
        self.headers: Headers = dict(protocol.headers)
        self.keep_alive = protocol.parser.should_keep_alive()
        self.parts: list[bytes] = []
        self.size = 0
        self.is_whole = False
        self.response_complete = False
        self.disconnected = False
        self.message_event = _NOBODY_WAITS

    async def answer(self) -> None:
        """Have the request answered, and write that."""
        parts = self.parts
        reply = await self.route.reply(
            self.headers, parts[0] if len(parts) == 1 else b"".join(parts)
        )
        flow = self.protocol.flow
        if flow.write_paused and not self.disconnected:
            await flow.drain()
        self.protocol.write_reply(self, reply)


class _Ignored:
    """Stands in for a request that is not answered, or not yet."""

    is_whole = response_complete = True


_IGNORED: Any = _Ignored()


class _NobodyWaits:
    """Stands in for the event that uvicorn sets when a connection is lost."""

    def set(self) -> None:
        """Nobody waits for it."""


_NOBODY_WAITS = _NobodyWaits()
