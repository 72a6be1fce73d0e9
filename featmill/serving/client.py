"""A client of `featmill serve`: typed answers, typed errors, and retries that end with the deadline.

A read changes nothing, so it may be asked again: where the connection fails, where the server is too busy (429, 503),
and where a proxy lost it (502, 504). Waiting doubles from try to try, or is what Retry-After says; no try begins after
the deadline. Needs the extra `client`.
"""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self, TypeVar

from featmill.errors import (
    ContractError,
    FeatmillError,
    NotAllowed,
    OnlineUnreachable,
    ServerRefused,
    TooBusy,
)
from featmill.serving.answer import FeatureVectors
from featmill.serving.client_forms import ServiceTypes, body_of, types_of, vectors_of

if TYPE_CHECKING:
    from types import TracebackType

    import httpx

_T = TypeVar("_T")
_AGAIN = frozenset({429, 502, 503, 504})
_FIRST_WAIT, _LONGEST_WAIT = 0.02, 1.0
_VERSION_HEADER = "x-featmill-service-version"
#: Reads of a service whose types change meanwhile; while workers are replaced two versions answer.
_ATTEMPTS = 4


class AsyncFeatureClient:
    """Reads features over HTTP with asyncio.

    Args:
        url: where the server is.
        key: the API key, None where the server asks for none.
        deadline: seconds that a read may take, with its retries and all that is asked beside.
    """

    def __init__(self, url: str, key: str | None = None, *, deadline: float = 1.0) -> None:
        import httpx

        self._client = httpx.AsyncClient(base_url=url, headers=_headers(key), timeout=deadline)
        self._deadline = deadline
        self._types: dict[str, ServiceTypes] = {}

    async def read(
        self, service: str, keys: Mapping[str, Any], request: Mapping[str, Any] | None = None
    ) -> FeatureVectors:
        """Read one service for n rows, as `FeatureReader.read` does.

        Raises:
            RequestError: a value has no form in a request; `field` says which.
            ServerRefused: the request is wrong; `field` says where.
            NotAllowed: there is no key, or none that opens anything.
            TooBusy: the server had no time until the deadline.
            OnlineUnreachable: no server answered in time, what answered is none, or its services kept changing.
        """
        tries = _Tries(self._deadline)
        return await self._in_time(tries, self._read(tries, service, keys, request))

    async def services(self) -> list[dict[str, Any]]:
        """The services that the key opens; raises as `read` does."""
        tries = _Tries(self._deadline)
        answer = await self._in_time(tries, self._asked(tries, "GET", "/services"))
        with _understood():
            found: list[dict[str, Any]] = answer.json()["services"]
        return found

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def _in_time(self, tries: _Tries, asking: Coroutine[Any, Any, _T]) -> _T:
        """All of it within the deadline: httpx's own is for each piece that comes, and a server may drip."""
        try:
            async with asyncio.timeout(tries.left()):
                return await asking
        except TimeoutError as error:
            raise tries.late(error) from error

    async def _read(
        self,
        tries: _Tries,
        service: str,
        keys: Mapping[str, Any],
        request: Mapping[str, Any] | None,
    ) -> FeatureVectors:
        for _ in range(_ATTEMPTS):
            types = self._types.get(service)
            if types is None:
                found = await self._asked(tries, "GET", f"/services/{_quoted(service)}")
                with _understood():
                    types = self._types[service] = types_of(found.json())
            answer = await self._asked(
                tries, "POST", "/features", body_of(service, keys, request, types)
            )
            if _is_of(answer, types):
                with _understood():
                    return vectors_of(answer.json(), types)
            self._types.pop(service, None)
        raise _keeps_changing(service)

    async def _asked(
        self, tries: _Tries, method: str, path: str, body: bytes | None = None
    ) -> httpx.Response:
        import httpx

        kind = {} if body is None else {"content-type": "application/json"}
        while True:
            try:
                answer = await self._client.request(
                    method, path, content=body, headers=kind, timeout=tries.left()
                )
            except httpx.RequestError as error:
                wait = tries.after_error(error)
            else:
                if answer.status_code == 200:
                    return answer
                wait = tries.after(answer)
            await asyncio.sleep(wait)


class FeatureClient:
    """The same for code without asyncio; may be shared by threads. A thread of its own asks; `close` ends it."""

    def __init__(self, url: str, key: str | None = None, *, deadline: float = 1.0) -> None:
        self._client = AsyncFeatureClient(url, key, deadline=deadline)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="featmill-client", daemon=True
        )
        self._thread.start()

    def read(
        self, service: str, keys: Mapping[str, Any], request: Mapping[str, Any] | None = None
    ) -> FeatureVectors:
        """See `AsyncFeatureClient.read`."""
        return self._done(self._client.read(service, keys, request))

    def services(self) -> list[dict[str, Any]]:
        """See `AsyncFeatureClient.services`."""
        return self._done(self._client.services())

    def close(self) -> None:
        """Close the connections."""
        if self._loop.is_closed():
            return
        self._done(self._client.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _done(self, asking: Coroutine[Any, Any, _T]) -> _T:
        future = asyncio.run_coroutine_threadsafe(asking, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise


class _Tries:
    """The tries of one request: how long is left, and how long to wait for the next."""

    def __init__(self, seconds: float) -> None:
        self._until = time.monotonic() + seconds
        self._wait = _FIRST_WAIT
        self._busy: TooBusy | None = None

    def left(self) -> float:
        """Seconds until the deadline; a little more than none, for none means for ever to some."""
        return max(self._until - time.monotonic(), 0.001)

    def after(self, answer: httpx.Response) -> float:
        """Seconds to wait after an answer that is none.

        Raises:
            ServerRefused: asking again would not help, or would be too late.
        """
        error = _refusal(answer)
        if not isinstance(error, TooBusy):
            raise error
        self._busy = error
        wait = self._next()
        said = answer.headers.get("retry-after", "")
        wait = max(wait, float(said)) if said.isdecimal() else wait
        if time.monotonic() + wait >= self._until:
            raise error
        return wait

    def after_error(self, error: Exception) -> float:
        """Seconds to wait after a connection that failed.

        Raises:
            OnlineUnreachable: the deadline would be over by then.
        """
        wait = self._next()
        if time.monotonic() + wait >= self._until:
            raise _nobody(error) from error
        return wait

    def late(self, error: Exception) -> FeatmillError:
        """What to raise when the deadline is over: what was said last, where something was."""
        return self._busy or _nobody(error)

    def _next(self) -> float:
        """Twice as long as the last, and varied, so that clients that failed together do not return together."""
        wait, self._wait = self._wait, min(self._wait * 2, _LONGEST_WAIT)
        return wait * random.uniform(0.5, 1.0)  # noqa: S311 - no secret


def _nobody(error: Exception) -> OnlineUnreachable:
    return OnlineUnreachable(
        f"no feature server answered in time: {str(error) or type(error).__name__}",
        hint="is `featmill serve` running there?",
    )


@contextmanager
def _understood() -> Iterator[None]:
    """Reads an answer, which may be somebody else's: a proxy's page, or another server's JSON."""
    try:
        yield
    except (ValueError, LookupError, TypeError, AttributeError, ContractError) as error:
        raise OnlineUnreachable(
            f"what answered is no feature server: {type(error).__name__} in its answer",
            hint="does the URL lead to `featmill serve`?",
        ) from error


def _refusal(answer: httpx.Response) -> ServerRefused:
    try:
        said = answer.json()
    except ValueError:
        said = {}
    kind = {401: NotAllowed, 403: NotAllowed}.get(answer.status_code, ServerRefused)
    if answer.status_code in _AGAIN:
        kind = TooBusy
    if not isinstance(said, dict):
        said = {}
    return kind(
        answer.status_code,
        str(said.get("error") or f"the server answered {answer.status_code}"),
        field=str(said.get("field") or ""),
        hint=str(said.get("expected") or "") or None,
        request_id=str(said.get("request_id") or ""),
    )


def _headers(key: str | None) -> dict[str, str]:
    return {} if key is None else {"Authorization": f"Bearer {key}"}


def _quoted(name: str) -> str:
    from urllib.parse import quote

    return quote(name, safe="")


def _is_of(answer: httpx.Response, types: ServiceTypes) -> bool:
    """Whether the answer is of the service that the types are of."""
    return bool(answer.headers.get(_VERSION_HEADER) == types.version)


def _keeps_changing(service: str) -> OnlineUnreachable:
    return OnlineUnreachable(
        f"the service {service} was another one at each of {_ATTEMPTS} reads",
        hint="servers of two versions answer; read again when all are of one",
    )
