"""A client of `featmill serve`: typed answers, typed errors, and retries that end with the deadline.

A read changes nothing, so it may be asked again: where the connection fails, where the server is too busy (429, 503),
and where a proxy lost it (502, 504). Waiting doubles from try to try, or is what Retry-After says; no try begins after
the deadline. Needs the extra `client`.
"""

from __future__ import annotations

import asyncio
import base64
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Self

from featmill.contract.types import FeatureType, parse_type
from featmill.errors import NotAllowed, OnlineUnreachable, ServerRefused, TooBusy
from featmill.serving.answer import WORDS, FeatureVectors, ViewAnswer
from featmill.serving.moments import micros_of

if TYPE_CHECKING:
    from types import TracebackType

    import httpx

_AGAIN = frozenset({429, 502, 503, 504})
_FIRST_WAIT, _LONGEST_WAIT = 0.02, 1.0
_VERSION_HEADER = "x-featmill-service-version"
#: Reads of a service whose types change meanwhile; while workers are replaced two versions answer.
_ATTEMPTS = 4
_STATUS = {word: number for number, word in enumerate(WORDS)}


class FeatureClient:
    """Reads features over HTTP; may be shared by threads.

    Args:
        url: where the server is.
        key: the API key, None where the server asks for none.
        deadline: seconds that a read may take, its retries included.
    """

    def __init__(self, url: str, key: str | None = None, *, deadline: float = 1.0) -> None:
        import httpx

        self._client = httpx.Client(base_url=url, headers=_headers(key), timeout=deadline)
        self._deadline = deadline
        self._types: dict[str, _Types] = {}

    def read(
        self, service: str, keys: Mapping[str, Any], request: Mapping[str, Any] | None = None
    ) -> FeatureVectors:
        """Read one service for n rows, as `FeatureReader.read` does.

        Raises:
            ServerRefused: the request is wrong; `field` says where.
            NotAllowed: the key does not open the service.
            TooBusy: the server had no time until the deadline.
            OnlineUnreachable: there was no server until the deadline, or its services kept changing.
        """
        body = _body(service, keys, request)
        for _ in range(_ATTEMPTS):
            types = self._types.get(service)
            if types is None:
                path = f"/services/{_quoted(service)}"
                types = self._types[service] = _types_of(self._asked("GET", path).json())
            answer = self._asked("POST", "/features", body)
            if _is_of(answer, types):
                return _vectors(answer.json(), types)
            self._types.pop(service, None)
        raise _keeps_changing(service)

    def services(self) -> list[dict[str, Any]]:
        """The services that the key opens; raises as `read` does."""
        found: list[dict[str, Any]] = self._asked("GET", "/services").json()["services"]
        return found

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _asked(
        self, method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> httpx.Response:
        tries = _Tries(self._deadline)
        while True:
            try:
                answer = self._client.request(method, path, json=body, timeout=tries.left())
            except _transport_error() as error:
                wait = tries.after_error(error)
            else:
                if answer.status_code == 200:
                    return answer
                wait = tries.after(answer)
            time.sleep(wait)


class AsyncFeatureClient:
    """The same for asyncio."""

    def __init__(self, url: str, key: str | None = None, *, deadline: float = 1.0) -> None:
        import httpx

        self._client = httpx.AsyncClient(base_url=url, headers=_headers(key), timeout=deadline)
        self._deadline = deadline
        self._types: dict[str, _Types] = {}

    async def read(
        self, service: str, keys: Mapping[str, Any], request: Mapping[str, Any] | None = None
    ) -> FeatureVectors:
        """See `FeatureClient.read`."""
        body = _body(service, keys, request)
        for _ in range(_ATTEMPTS):
            types = self._types.get(service)
            if types is None:
                path = f"/services/{_quoted(service)}"
                types = self._types[service] = _types_of((await self._asked("GET", path)).json())
            answer = await self._asked("POST", "/features", body)
            if _is_of(answer, types):
                return _vectors(answer.json(), types)
            self._types.pop(service, None)
        raise _keeps_changing(service)

    async def services(self) -> list[dict[str, Any]]:
        """See `FeatureClient.services`."""
        found: list[dict[str, Any]] = (await self._asked("GET", "/services")).json()["services"]
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

    async def _asked(
        self, method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> httpx.Response:
        tries = _Tries(self._deadline)
        while True:
            try:
                answer = await self._client.request(method, path, json=body, timeout=tries.left())
            except _transport_error() as error:
                wait = tries.after_error(error)
            else:
                if answer.status_code == 200:
                    return answer
                wait = tries.after(answer)
            await asyncio.sleep(wait)


class _Tries:
    """The tries of one request: how long is left, and how long to wait for the next."""

    def __init__(self, seconds: float) -> None:
        self._until = time.monotonic() + seconds
        self._wait = _FIRST_WAIT

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
            raise OnlineUnreachable(
                f"no feature server answered in time: {str(error) or type(error).__name__}",
                hint="is `featmill serve` running there?",
            ) from error
        return wait

    def _next(self) -> float:
        """Twice as long as the last, and varied, so that clients that failed together do not return together."""
        wait, self._wait = self._wait, min(self._wait * 2, _LONGEST_WAIT)
        return wait * random.uniform(0.5, 1.0)  # noqa: S311 - no secret


def _transport_error() -> type[Exception]:
    import httpx

    return httpx.TransportError


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
        hint=said.get("expected"),
        request_id=str(said.get("request_id") or ""),
    )


def _headers(key: str | None) -> dict[str, str]:
    return {} if key is None else {"Authorization": f"Bearer {key}"}


def _quoted(name: str) -> str:
    from urllib.parse import quote

    return quote(name, safe="")


def _body(
    service: str, keys: Mapping[str, Any], request: Mapping[str, Any] | None
) -> dict[str, Any]:
    body: dict[str, Any] = {"service": service, "keys": _sendable(keys)}
    return body if request is None else body | {"request": _sendable(request)}


def _sendable(columns: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: [_told(value) for value in column]
        if isinstance(column, list | tuple)
        else _told(column)
        for name, column in columns.items()
    }


def _told(value: object) -> object:
    if isinstance(value, date):
        return value.isoformat()
    return base64.b64encode(value).decode() if isinstance(value, bytes) else value


@dataclass(frozen=True, slots=True)
class _Types:
    """What a service's features are, what makes values of the texts among them, and which view each is of."""

    version: str
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
    return _Types(said["version"], types, readers, views)


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
