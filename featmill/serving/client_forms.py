"""What a client sends and what it makes of an answer: JSON on the way, Python values of the contract's types here."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from featmill.contract.types import FeatureType, parse_type
from featmill.errors import RequestError
from featmill.serving.answer import WORDS, FeatureVectors, ViewAnswer
from featmill.serving.asked import sequence_of
from featmill.serving.moments import micros_of

_JSON = None | bool | int | float | str
_STATUS = {word: number for number, word in enumerate(WORDS)}


def body_of(
    service: str, keys: Mapping[str, Any], request: Mapping[str, Any] | None, types: ServiceTypes
) -> bytes:
    """The body of POST /features.

    Raises:
        RequestError: a value has no form in JSON; `field` says which.
    """
    body: dict[str, Any] = {"service": service, "keys": _sendable("keys", keys, types)}
    if request is not None:
        body["request"] = _sendable("request", request, types)
    return json.dumps(body, separators=(",", ":")).encode()


def _sendable(where: str, columns: Mapping[str, Any], types: ServiceTypes) -> dict[str, Any]:
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
class ServiceTypes:
    """What a service's features are, what makes values of the texts among them, and which view each is of."""

    version: str
    sent: Mapping[str, str]
    types: Mapping[str, FeatureType]
    readers: Mapping[str, Callable[[str], Any]]
    views: Mapping[str, str | None]


def types_of(said: Mapping[str, Any]) -> ServiceTypes:
    """What GET /services/{name} says."""
    columns = [*said["keys"], *said["features"]]
    readers = {
        one["name"]: _READERS[one["json_type"]] for one in columns if one["json_type"] in _READERS
    }
    types = {one["name"]: parse_type(one["type"]) for one in said["features"]}
    views = {one["name"]: one["view"] for one in said["features"]}
    sent = {one["name"]: one["json_type"] for one in (*said["request"], *said["keys"])}
    return ServiceTypes(said["version"], sent, types, readers, views)


_READERS: Mapping[str, Callable[[str], Any]] = {
    "moment": datetime.fromisoformat,
    "date": date.fromisoformat,
    "bytes": lambda text: base64.b64decode(text),
    "float": float,
}


def vectors_of(said: Mapping[str, Any], types: ServiceTypes) -> FeatureVectors:
    """The answer to POST /features."""
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
