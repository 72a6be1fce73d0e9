"""An answer as JSON: whole columns at a time, and what comes again and again is written once.

Statuses repeat: one answer's features share their views' patterns, and most rows are `ok`. Event times repeat where a
snapshot's rows are of one moment. Both are rendered once for each different one and put in as they are.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import orjson

from featmill.contract.types import OnlineKind
from featmill.serving.answer import WORDS
from featmill.serving.moments import micros_of

if TYPE_CHECKING:
    from featmill.contract.types import FeatureType
    from featmill.serving.answer import FeatureVectors, ViewAnswer

_OPTIONS = orjson.OPT_UTC_Z
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROS = 1_000_000
_QUOTED = tuple(f'"{word}"'.encode() for word in WORDS)
#: Up to so many rows a pattern of statuses is worth remembering across requests.
_REMEMBERED = 128
#: Up to so many rows a text is searched faster than its values are added.
_SHORT = 8
#: More services than one server has.
_SERVICES = 10_000


def columns_json(answer: FeatureVectors) -> bytes:
    """The columnar form."""
    return (
        b'{"service":%b,"as_of":%b,"degraded":%b,"keys":%b,"values":%b,"statuses":%b,"views":%b}'
        % (
            *_head(answer),
            _dumps(dict(answer.keys)),
            _values(answer),
            _statuses(answer.names, answer.statuses),
            _views(answer),
        )
    )


def rows_json(answer: FeatureVectors) -> bytes:
    """The row form: the same members, one object for each row."""
    views = {
        view.view: {"snapshot": view.snapshot, "release": view.release} for view in answer.views
    }
    return b'{"service":%b,"as_of":%b,"degraded":%b,"views":%b,"rows":%b}' % (
        *_head(answer),
        _dumps(views),
        _rows(answer),
    )


def _head(answer: FeatureVectors) -> tuple[bytes, bytes, bytes]:
    return _name(answer.service), _dumps(answer.as_of), _dumps(answer.degraded)


def _values(answer: FeatureVectors) -> bytes:
    columns = dict(zip(answer.names, answer.values, strict=True))
    text = _dumps(columns)
    # JSON has no infinite number and orjson writes null, which would be a value that is not there. In a short text
    # without a null there was none; of many rows a sum says so in less time than a search.
    if answer.rows <= _SHORT and b"null" not in text:
        return text
    places = [
        at for at in _floats(answer.types, len(answer.names)) if not _is_finite(answer.values[at])
    ]
    if not places:
        return text
    return _dumps(columns | {answer.names[at]: _spelt(answer.values[at]) for at in places})


#: Of each compiled service's types (by identity, for hashing them costs more than the rest) where the floats are.
_FLOATS: dict[int, tuple[tuple[FeatureType, ...], tuple[int, ...]]] = {}


def _floats(types: tuple[FeatureType, ...], columns: int) -> Sequence[int]:
    if not types:
        return range(columns)
    known = _FLOATS.get(id(types))
    if known is None or known[0] is not types:
        kinds = (OnlineKind.FLOAT, OnlineKind.DOUBLE)
        known = (types, tuple(at for at, column in enumerate(types) if column.kind in kinds))
        if len(_FLOATS) >= _SERVICES:
            _FLOATS.clear()
        _FLOATS[id(types)] = known
    return known[1]


def _is_finite(column: Sequence[Any]) -> bool:
    """Whether a column surely has no infinite number; sums that overflow and what is no number are looked at."""
    try:
        return math.isfinite(sum(filter(None, column)))
    except (TypeError, OverflowError):
        return False


def _spelt(column: Sequence[Any]) -> Sequence[Any]:
    """A column whose floats that JSON has no number for are words; in lists too."""
    return [
        [_word_of(one) for one in value] if isinstance(value, list) else _word_of(value)
        for value in column
    ]


def _word_of(value: object) -> object:
    if type(value) is not float or math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _statuses(names: tuple[str, ...], statuses: tuple[bytes, ...]) -> bytes:
    if len(statuses[0] if statuses else b"") <= _REMEMBERED:
        return _few_statuses(names, statuses)
    known: dict[bytes, bytes] = {}
    parts = []
    for name, column in zip(names, statuses, strict=True):
        text = known.get(column)
        if text is None:
            text = known[column] = _words(column)
        parts.append(b"%b:%b" % (_name(name), text))
    return b"{%b}" % b",".join(parts)


@lru_cache(maxsize=512)
def _few_statuses(names: tuple[str, ...], statuses: tuple[bytes, ...]) -> bytes:
    parts = zip(map(_name, names), map(_words, statuses), strict=True)
    return b"{%b}" % b",".join(b"%b:%b" % part for part in parts)


def _words(statuses: bytes) -> bytes:
    return b"[%b]" % b",".join([_QUOTED[status] for status in statuses])


@lru_cache(maxsize=65_536)
def _name(name: str) -> bytes:
    return orjson.dumps(name)


def _views(answer: FeatureVectors) -> bytes:
    at = micros_of(answer.as_of)
    return b"{%b}" % b",".join([_view(view, at) for view in answer.views])


def _view(view: ViewAnswer, at: int) -> bytes:
    moments, ages = _moments(view.event_at, at)
    return b'%b:{"snapshot":%b,"release":%b,"statuses":%b,"event_at":%b,"ages":%b}' % (
        _name(view.view),
        b"null" if view.snapshot is None else _name(view.snapshot),
        b"null" if view.release is None else _name(view.release),
        _words(view.statuses),
        moments,
        ages,
    )


def _moments(events: Sequence[int | None], at: int) -> tuple[bytes, bytes]:
    """When rows are from, and how old that is in seconds; each different moment is rendered once."""
    if len(events) == 1:
        return b"[%b]" % _moment(events[0]), b"[%b]" % _age(events[0], at)
    ages = {event: _age(event, at) for event in set(events)}
    moments = {event: _moment(event) for event in ages}
    return (
        b"[%b]" % b",".join([moments[event] for event in events]),
        b"[%b]" % b",".join([ages[event] for event in events]),
    )


@lru_cache(maxsize=65_536)
def _moment(event: int | None) -> bytes:
    return b"null" if event is None else orjson.dumps(moment_of(event), option=_OPTIONS)


def _age(event: int | None, at: int) -> bytes:
    return b"null" if event is None else repr((at - event) / _MICROS).encode()


def moment_of(micros: int) -> datetime:
    """Microseconds since 1970 as a moment."""
    return _EPOCH + timedelta(microseconds=micros)


def _rows(answer: FeatureVectors) -> bytes:
    at, names, key_names = micros_of(answer.as_of), answer.names, tuple(answer.keys)
    words = [[WORDS[status] for status in column] for column in answer.statuses]
    found = [
        {
            "keys": dict(zip(key_names, keys, strict=True)),
            "values": dict(zip(names, values, strict=True)),
            "statuses": dict(zip(names, statuses, strict=True)),
            "views": views,
        }
        for keys, values, statuses, views in zip(
            _turned(answer, list(answer.keys.values())),
            _turned(answer, [_spelt(column) for column in answer.values]),
            _turned(answer, words),
            _views_of_rows(answer, at),
            strict=True,
        )
    ]
    return _dumps(found)


def _views_of_rows(answer: FeatureVectors, at: int) -> list[dict[str, Mapping[str, Any]]]:
    return [
        {
            view.view: _view_of_row(view.statuses[row], view.event_at[row], at)
            for view in answer.views
        }
        for row in range(answer.rows)
    ]


def _view_of_row(status: int, event: int | None, at: int) -> dict[str, Any]:
    return {
        "status": WORDS[status],
        "event_at": None if event is None else moment_of(event),
        "age": None if event is None else (at - event) / _MICROS,
    }


def _turned(answer: FeatureVectors, columns: Sequence[Sequence[Any]]) -> list[tuple[Any, ...]]:
    return list(zip(*columns, strict=True)) if columns else [()] * answer.rows


def _dumps(value: object) -> bytes:
    return orjson.dumps(value, default=_plain, option=_OPTIONS)


def _plain(value: object) -> object:
    """What orjson does not know: bytes, as base64."""
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.b64encode(value).decode()
    if isinstance(value, tuple):
        return list(value)
    raise TypeError(f"{type(value).__name__} has no form in JSON")
