"""A client of `featmill serve`: typed answers, typed errors, and retries that end with the deadline.

A read changes nothing, so it may be asked again: where the connection fails, where the server is too busy (429, 503),
and where a proxy lost it (502, 504). Waiting doubles from try to try, or is what Retry-After says; no try begins after
the deadline. Needs the extra `client`.
"""

from __future__ import annotations

import asyncio
import base64
import json
import math
import random
import threading
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Self, TypeVar
from uuid import UUID

from featmill.contract.types import FeatureType, parse_type
from featmill.errors import (
    ContractError,
    FeatmillError,
    NotAllowed,
    OnlineUnreachable,
    RequestError,
    ServerRefused,
    TooBusy,
)
from featmill.serving.answer import WORDS, FeatureVectors, ViewAnswer
from featmill.serving.asked import sequence_of
from featmill.serving.moments import micros_of

if TYPE_CHECKING:
    from types import TracebackType

    import httpx

_T = TypeVar("_T")
_JSON = None | bool | int | float | str
_AGAIN = frozenset({429, 502, 503, 504})
_FIRST_WAIT, _LONGEST_WAIT = 0.02, 1.0
_VERSION_HEADER = "x-featmill-service-version"
#: Reads of a service whose types change meanwhile; while workers are replaced two versions answer.
_ATTEMPTS = 4
_STATUS = {word: number for number, word in enumerate(WORDS)}


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
        self._types: dict[str, _Types] = {}

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
                    types = self._types[service] = _types_of(found.json())
            answer = await self._asked(
                tries, "POST", "/features", _body(service, keys, request, types)
            )
            if _is_of(answer, types):
                with _understood():
                    return _vectors(answer.json(), types)
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


def _body(
    service: str, keys: Mapping[str, Any], request: Mapping[str, Any] | None, types: _Types
) -> bytes:
    body: dict[str, Any] = {"service": service, "keys": _sendable("keys", keys, types)}
    if request is not None:
        body["request"] = _sendable("request", request, types)
    return json.dumps(body, separators=(",", ":")).encode()


def _sendable(where: str, columns: Mapping[str, Any], types: _Types) -> dict[str, Any]:
    done: dict[str, Any] = {}
    for name, given in columns.items():
        column, kind = sequence_of(given), types.sent.get(name, "")
        field = f"{where}.{name}"
        done[name] = (
            _told(given, kind, field)
            if column is None
            else [_told(value, kind, field) for value in column]
        )
    return done


def _told(value: object, kind: str, field: str) -> object:
    """A value as JSON has it."""
    if not isinstance(value, _JSON | date | bytes | UUID | Decimal):
        # NumPy's and Arrow's scalars know what they are in Python.
        convert = getattr(value, "item", None) or getattr(value, "as_py", None)
        value = value if convert is None else convert()
    if isinstance(value, Decimal):
        value = float(value) if kind == "float" else str(value)
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        raise RequestError(f"{field}: {value} has no form in JSON", field=field, hint="send null")
    if isinstance(value, _JSON):
        return value
    raise RequestError(
        f"{field}: a {type(value).__name__} has no form in JSON",
        field=field,
        hint="a list, or one value for all rows, of what GET /services/{name} says",
    )


@dataclass(frozen=True, slots=True)
class _Types:
    """What a service's features are, what makes values of the texts among them, and which view each is of."""

    version: str
    sent: Mapping[str, str]
    types: Mapping[str, FeatureType]
    readers: Mapping[str, Callable[[str], Any]]
    views: Mapping[str, str | None]


def _types_of(said: Mapping[str, Any]) -> _Types:
    columns = [*said["keys"], *said["features"]]
    readers = {
        one["name"]: _READERS[one["json_type"]] for one in columns if one["json_type"] in _READERS
    }
    types = {one["name"]: parse_type(one["type"]) for one in said["features"]}
    views = {one["name"]: one["view"] for one in said["features"]}
    sent = {one["name"]: one["json_type"] for one in (*said["request"], *said["keys"])}
    return _Types(said["version"], sent, types, readers, views)


def _is_of(answer: httpx.Response, types: _Types) -> bool:
    """Whether the answer is of the service that the types are of."""
    return bool(answer.headers.get(_VERSION_HEADER) == types.version)


def _keeps_changing(service: str) -> OnlineUnreachable:
    return OnlineUnreachable(
        f"the service {service} was another one at each of {_ATTEMPTS} reads",
        hint="servers of two versions answer; read again when all are of one",
    )


_READERS: Mapping[str, Callable[[str], Any]] = {
    "moment": datetime.fromisoformat,
    "date": date.fromisoformat,
    "bytes": lambda text: base64.b64decode(text),
    "float": float,
}


def _vectors(said: Mapping[str, Any], types: _Types) -> FeatureVectors:
    names = tuple(said["values"])
    views = tuple(_view(name, view) for name, view in said["views"].items())
    places: dict[str | None, int] = {view.view: at for at, view in enumerate(views)}
    keys = {name: _read(column, types.readers.get(name)) for name, column in said["keys"].items()}
    return FeatureVectors(
        service=said["service"],
        keys=keys,
        rows=len(next(iter(said["keys"].values()), [])),
        names=names,
        values=tuple(_read(said["values"][name], types.readers.get(name)) for name in names),
        statuses=tuple(_numbers(said["statuses"][name]) for name in names),
        view_of=tuple(places.get(types.views[name]) for name in names),
        views=views,
        as_of=datetime.fromisoformat(said["as_of"]),
        degraded=said["degraded"],
        types=tuple(types.types[name] for name in names),
    )


def _view(name: str, said: Mapping[str, Any]) -> ViewAnswer:
    return ViewAnswer(
        view=name,
        snapshot=said["snapshot"],
        release=said["release"],
        statuses=_numbers(said["statuses"]),
        event_at=[
            None if moment is None else micros_of(datetime.fromisoformat(moment))
            for moment in said["event_at"]
        ],
    )


def _numbers(words: list[str]) -> bytes:
    return bytes([_STATUS[word] for word in words])


def _read(column: list[Any], reader: Callable[[str], Any] | None) -> list[Any]:
    if reader is None:
        return column
    return [
        [None if one is None else reader(one) for one in value]
        if isinstance(value, list)
        else None
        if value is None
        else reader(value)
        for value in column
    ]
