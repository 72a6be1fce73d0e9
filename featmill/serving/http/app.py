"""The application: one hot route in plain ASGI, the others in Starlette behind it."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING

import orjson
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from featmill.errors import FeatmillError, RequestError, RequestRefused
from featmill.serving.http.access import require_everything
from featmill.serving.http.description import described
from featmill.serving.http.document import document
from featmill.serving.http.features import (
    FeaturesRoute,
    Message,
    Receive,
    Reply,
    Send,
    mistake,
    refusal_json,
    respond,
)
from featmill.serving.http.readiness import ages, readiness
from featmill.serving.http.request_body import unknown_service
from featmill.serving.http.status_page import status_page

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import FrameType

    from starlette.requests import Request

    from featmill.serving.api_keys import ApiKey
    from featmill.serving.http.meters import Meters
    from featmill.serving.http.served_services import OfferedService
    from featmill.serving.http.server_parts import ServerParts

Answer = Callable[["Request"], Awaitable[Response]]
App = Callable[[Message, Receive, Send], Awaitable[None]]


class FeaturesApp:
    """The ASGI application of one server; `build` makes its parts when it starts, in the loop that will use them."""

    def __init__(self, build: Callable[[], Awaitable[ServerParts]]) -> None:
        self._build = build
        self._parts: ServerParts | None = None
        #: The hot route, once the server has started: the protocol calls it without asking the application.
        self.features: FeaturesRoute | None = None
        self._others: App = _not_started

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Answer a request, or the server's own start and end."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        elif (
            scope["path"] == "/features" and scope["method"] == "POST" and self.features is not None
        ):
            await self.features(scope, receive, send)
        else:
            await self._others(scope, receive, send)

    async def start(self) -> ServerParts:
        """Make the parts; they are what the routes share."""
        self._parts = parts = await self._build()
        self.features = features = FeaturesRoute(parts)
        self._others = _Others(parts, features).starlette()
        return parts

    async def stop(self) -> None:
        """Close what was opened."""
        if self._parts is None:
            return
        await self._parts.reader.close()
        if self._parts.served is not None:
            await asyncio.to_thread(self._parts.served.close)
        if self._parts.traces is not None:
            await asyncio.to_thread(self._parts.traces.close)

    def _drain_first(self) -> None:
        """On SIGTERM say where readiness is asked that the server ends, before what listens ends it."""
        if threading.current_thread() is not threading.main_thread():
            return
        before, loop, parts = (
            signal.getsignal(signal.SIGTERM),
            asyncio.get_running_loop(),
            self._parts,
        )
        if not callable(before) or parts is None:
            return

        def ending(number: int, frame: FrameType | None) -> None:
            seconds, was_stopping = parts.options.drain_seconds, parts.is_stopping
            parts.is_stopping = True
            if seconds == 0 or was_stopping:
                before(number, frame)
            else:
                loop.call_soon_threadsafe(loop.call_later, seconds, before, number, frame)

        signal.signal(signal.SIGTERM, ending)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        try:
            parts = await self.start()
        except FeatmillError as error:
            await send({"type": "lifespan.startup.failed", "message": error.message})
            return
        self._drain_first()
        parts.log.say("info", "started", services=len(parts.services), pid=os.getpid())
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self.stop()
        parts.log.say("info", "stopped", pid=os.getpid())
        await send({"type": "lifespan.shutdown.complete"})


async def _not_started(_scope: Message, _receive: Receive, send: Send) -> None:
    body = b'{"error":"the server has not started","field":null,"expected":null,"request_id":""}'
    await respond(send, Reply(503, [(b"content-type", b"application/json")], body))


class _Others:
    """The routes that people, orchestrators and monitors ask."""

    def __init__(self, parts: ServerParts, features: FeaturesRoute) -> None:
        self._parts = parts
        self._features = features
        self._document = orjson.dumps(document(parts.services, parts.options))

    def starlette(self) -> Starlette:
        """The routes as an application."""
        routes = [
            Route("/", self._noted(self.status_page), methods=["GET"]),
            # In front of the framework; here so that other methods are refused as they should be.
            Route("/features", self._noted(self.openapi), methods=["POST"]),
            Route("/healthz", self._noted(self.healthz), methods=["GET"]),
            Route("/openapi.json", self._noted(self.openapi), methods=["GET"]),
            Route("/readyz", self._noted(self.readyz), methods=["GET"]),
            Route("/services", self._noted(self.services), methods=["GET"]),
            Route("/services/{name}", self._noted(self.service), methods=["GET"]),
        ]
        meters = self._parts.meters
        if meters is not None:
            answer = self._noted(partial(self.metrics, meters))
            routes.append(Route("/metrics", answer, methods=["GET"]))
        return Starlette(routes=routes, exception_handlers={HTTPException: self._no_route})

    async def healthz(self, _request: Request) -> Response:
        """The process lives."""
        return _json({"status": "alive"})

    async def readyz(self, request: Request) -> Response:
        """Whether requests should be sent here."""
        is_known, key = self._parts.access.recognised(dict(request.scope["headers"]))
        is_ready, said = await readiness(self._parts, self._visible(key))
        if not is_known:
            said = {
                "status": said["status"],
                "problem": said["problem"] and "the store does not answer",
            }
        return _json(said, 200 if is_ready else 503)

    async def openapi(self, request: Request) -> Response:
        """The document, of what the key opens."""
        visible = self._visible(self._admitted(request))
        if visible is self._parts.services:
            return Response(self._document, media_type="application/json")
        return _json(document(visible, self._parts.options))

    async def services(self, request: Request) -> Response:
        """The services that the key opens."""
        visible = self._visible(self._admitted(request))
        return _json({"services": [described(service) for service in visible.values()]})

    async def service(self, request: Request) -> Response:
        """One service."""
        name = request.path_params["name"]
        found = self._visible(self._admitted(request)).get(name)
        if found is None:
            raise unknown_service(name)
        return _json(described(found))

    async def metrics(self, meters: Meters, request: Request) -> Response:
        """What Prometheus reads."""
        require_everything(self._admitted(request))
        text = meters.text(await ages(self._parts))
        return Response(text, headers={"content-type": "text/plain; version=0.0.4; charset=utf-8"})

    async def status_page(self, request: Request) -> Response:
        """The page for people."""
        visible = self._visible(self._admitted(request))
        return HTMLResponse(await status_page(self._parts, visible))

    def _admitted(self, request: Request) -> ApiKey | None:
        return self._parts.access.admit(dict(request.scope["headers"]))

    def _visible(self, key: ApiKey | None) -> Mapping[str, OfferedService]:
        return self._parts.access.visible(key, self._parts.services)

    def _noted(self, answer: Answer) -> Answer:
        """The route with a request id, refusals as JSON, and a line in the log."""

        async def noted(request: Request) -> Response:
            started = time.perf_counter()
            request_id = self._features.request_id(dict(request.scope["headers"]))
            try:
                response = await answer(request)
            except RequestError as error:
                response = _refused(error, request_id)
            except Exception:
                self._parts.log.say("exception", "failed", request_id=request_id.decode())
                response = _refused(mistake(), request_id)
            response.headers["x-request-id"] = request_id.decode("latin-1")
            self._log(request, response.status_code, request_id, started)
            return response

        return noted

    async def _no_route(self, request: Request, error: Exception) -> Response:
        """404 and 405 as JSON like every other refusal."""
        request_id = self._features.request_id(dict(request.scope["headers"]))
        status = getattr(error, "status_code", 404)
        words = "there is no such path" if status == 404 else "the path has no such method"
        response = _refused(RequestRefused(status, words, field="path"), request_id)
        response.headers.update(getattr(error, "headers", None) or {})
        response.headers["x-request-id"] = request_id.decode("latin-1")
        self._log(request, status, request_id, time.perf_counter())
        return response

    def _log(self, request: Request, status: int, request_id: bytes, started: float) -> None:
        route = getattr(request.scope.get("route"), "path", "")
        if self._parts.meters is not None:
            self._parts.meters.ended(route, status)
        if self._parts.options.access_log:
            self._parts.log.say(
                "info",
                "request",
                request_id=request_id.decode("latin-1"),
                route=route,
                status=status,
                ms=round((time.perf_counter() - started) * 1_000, 3),
            )


def _json(value: object, status: int = 200) -> Response:
    return Response(orjson.dumps(value), status, media_type="application/json")


def _refused(error: RequestError, request_id: bytes) -> Response:
    status = error.status if isinstance(error, RequestRefused) else 422
    extra = error.headers if isinstance(error, RequestRefused) else ()
    response = Response(refusal_json(error, request_id), status, media_type="application/json")
    for name, value in extra:
        response.headers[name.decode()] = value.decode()
    return response
