"""The way of POST /features past ASGI: from uvicorn's parser to the route, and one write back.

Measured, half of what a small request cost was not its features: a scope, a cycle of messages and their checks. So for
this route alone uvicorn's own protocol is extended: a whole request goes to the route as headers and body. Connections,
keep-alive, graceful shutdown and every other route stay uvicorn's; what is unusual (HTTP/1.0, `Expect`, a request sent
before the last was answered) takes its way too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from featmill.serving.http.app import FeaturesApp
from featmill.serving.http.features import too_long, too_slow

if TYPE_CHECKING:
    import asyncio

    from featmill.errors import RequestError
    from featmill.serving.http.features import FeaturesRoute, Headers, Reply


class FeaturesProtocol(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 over httptools, with a short way for one route."""

    #: The request that is read or answered the short way; None while it is uvicorn's turn.
    _short: _ShortCycle | None = None
    _timer: asyncio.TimerHandle | None = None

    def on_message_begin(self) -> None:
        """Begin a request; what the long way wants beside is made when it is chosen."""
        self.url = b""
        self.expect_100_continue = False
        self.headers = []

    def on_headers_complete(self) -> None:
        """Choose the way."""
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
        short = self._short
        if short is None:
            super().on_message_complete()
        elif not short.response_complete:
            short.is_whole = True
            task = self.loop.create_task(short.answer())
            self.tasks.add(task)
            task.add_done_callback(self.tasks.discard)

    def data_received(self, data: bytes) -> None:
        """Read on; a body that is not whole yet has so much time."""
        super().data_received(data)
        short = self._short
        if short is None or short.is_whole:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
        elif self._timer is None and not short.response_complete:
            seconds = short.route.options.body_seconds
            self._timer = self.loop.call_later(seconds, self._give_up, short, seconds)

    def write_reply(self, short: _ShortCycle, reply: Reply) -> None:
        """Write a whole answer at once."""
        if short.response_complete or short.disconnected or self.transport.is_closing():
            short.response_complete = True
            return
        is_last = not short.keep_alive or any(
            name == b"connection" and value == b"close" for name, value in reply.headers
        )
        pieces = [STATUS_LINE[reply.status]]
        for name, value in (*self.server_state.default_headers, *reply.headers):
            pieces += (name, b": ", value, b"\r\n")
        if not short.keep_alive:
            pieces.append(b"connection: close\r\n")
        pieces += (b"content-length: %d\r\n\r\n" % len(reply.body), reply.body)
        self.transport.write(b"".join(pieces))
        short.response_complete = True
        if is_last:
            self.transport.close()
        self.on_response_complete()

    def _route(self) -> FeaturesRoute | None:
        """The route where a request may take the short way."""
        if self.url != b"/features" or self.parser.get_method() != b"POST":
            return None
        before: Any = self.cycle  # None before the first, whatever its type says
        is_waiting = before is not None and not before.response_complete
        if is_waiting or self.expect_100_continue or self.parser.get_http_version() != "1.1":
            return None
        app: Any = self.app
        if self.parser.should_upgrade() or not isinstance(app, FeaturesApp):
            return None
        return app.features

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


class _NobodyWaits:
    """Stands in for the event that uvicorn sets when a connection is lost."""

    def set(self) -> None:
        """Nobody waits for it."""


_NOBODY_WAITS = _NobodyWaits()
