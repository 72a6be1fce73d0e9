"""The body of POST /features: checked by hand, for a validator would cost more than the read it guards.

What is checked here is the form and the size; names, lengths and types of keys and request fields are the reader's to
check, against the compiled service.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from featmill.errors import RequestRefused
from featmill.serving.echo import echoed, shown
from featmill.serving.http.served_services import EXPECTED_TEXT, OfferedService, kind_of

_MEMBERS = frozenset({"service", "keys", "request", "format"})
_FORMATS = ("columns", "rows")
_BODY = '{"service": name, "keys": {join key: [...]}, "request": {field: [...]}, "format": "columns" or "rows"}'
_COLUMNS = "an object: of each name a list, or one value for all rows"


@dataclass(frozen=True, slots=True)
class Asked:
    """What a body asks for; `keys` and `request` are columns, lists or one value."""

    service: OfferedService
    keys: Mapping[str, Any]
    request: Mapping[str, Any] | None
    by_row: bool


def read_body(body: bytes, services: Mapping[str, OfferedService], entities: int) -> Asked:
    """Read a body of at most so many entities.

    Raises:
        RequestRefused: 400 no JSON, 404 no such service, 413 too many entities, 422 anything else; with the field.
    """
    try:
        found = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RequestRefused(
            400, f"the body is no JSON: {error}", field="body", expected=_BODY
        ) from None
    if type(found) is not dict:
        raise RequestRefused(422, "the body is no object", field="body", expected=_BODY)
    if not found.keys() <= _MEMBERS:
        unknown = min(found.keys() - _MEMBERS)
        raise RequestRefused(
            422, f"unknown field {shown(unknown)}", field=echoed(unknown), expected=_BODY
        )
    service = _service(found.get("service"), services)
    keys = _columns("keys", found.get("keys"), entities)
    request = found.get("request")
    if "request" in found:
        request = _columns("request", request, entities)
    if service.from_json:
        keys = _converted("keys", keys, service)
        request = None if request is None else _converted("request", request, service)
    form = found.get("format", "columns")
    if form not in _FORMATS:
        raise RequestRefused(
            422, "there is no such format", field="format", expected='"columns" or "rows"'
        )
    return Asked(service, keys, request, form == "rows")


def _service(name: object, services: Mapping[str, OfferedService]) -> OfferedService:
    if type(name) is not str:
        expected = "the name of a service, as GET /services lists them"
        raise RequestRefused(422, "no service is named", field="service", expected=expected)
    found = services.get(name)
    if found is None:
        raise unknown_service(name)
    return found


def unknown_service(name: str) -> RequestRefused:
    """404: nothing of that name is declared."""
    return RequestRefused(
        404,
        f"there is no service {shown(name)}",
        field="service",
        expected="one that GET /services lists",
    )


def _columns(where: str, found: object, entities: int) -> dict[str, Any]:
    if type(found) is not dict:
        raise RequestRefused(422, f"{where} is no object", field=where, expected=_COLUMNS)
    for name, column in found.items():
        if type(column) is not list:
            continue
        if not column:
            place = f"{where}.{name}"
            raise RequestRefused(
                422, f"{place} is empty", field=place, expected="at least one value"
            )
        if len(column) > entities:
            raise RequestRefused(
                413,
                f"{len(column):,} entities are more than {entities:,}",
                field=f"{where}.{name}",
                expected=f"at most {entities:,} a request",
            )
    return found


def _converted(where: str, columns: Mapping[str, Any], service: OfferedService) -> dict[str, Any]:
    """The columns with the values that JSON holds as text made of it."""
    done = dict(columns)
    for name, of_text in service.from_json.items():
        if name not in columns:
            continue
        column = columns[name]
        types = service.keys if where == "keys" else service.request
        expected = EXPECTED_TEXT[kind_of(types[name])]
        if type(column) is list:
            done[name] = [
                _value(value, of_text, (where, name, at), expected)
                for at, value in enumerate(column)
            ]
        else:
            done[name] = _value(column, of_text, (where, name, None), expected)
    return done


def _value(
    value: object, of_text: Callable[[str], Any], where: tuple[str, str, int | None], expected: str
) -> object:
    if value is None:
        return None
    place = ".".join(where[:2]) + ("" if where[2] is None else f"[{where[2]}]")
    try:
        if type(value) is str:
            return of_text(value)
    except (ValueError, OverflowError):
        pass
    raise RequestRefused(422, f"{place} is not {expected}", field=place, expected=expected)
