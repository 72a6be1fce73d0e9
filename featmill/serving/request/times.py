"""Moments and days in request-time expressions: parts, truncation, spans; in UTC, as whole microseconds and days.

Only the years 1 to 9999 are here: those of Python's calendar, which is DuckDB's own (proleptic Gregorian).
"""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING

from featmill.serving.request.casts import DAYS, MOMENTS, TIMES, within

if TYPE_CHECKING:
    from collections.abc import Callable

_SECOND = 1_000_000
_MINUTE = 60 * _SECOND
_HOUR = 60 * _MINUTE
_DAY = 24 * _HOUR
#: The ordinal of 1970-01-01, a Thursday.
_FIRST = 719_163
_THURSDAY = 3

_LENGTHS = {
    "microsecond": 1,
    "microseconds": 1,
    "second": _SECOND,
    "seconds": _SECOND,
    "minute": _MINUTE,
    "minutes": _MINUTE,
    "hour": _HOUR,
    "hours": _HOUR,
    "day": _DAY,
    "days": _DAY,
}

_moment = within(*MOMENTS)
_day = within(*DAYS)


def part_of(name: str, given: str) -> Callable[[int], int | float] | None:
    """A function of one moment (or day) such as `hour`, None where DuckDB has to compute it."""
    if given == "DATE":
        return _OF_DAYS.get(name)
    if name == "epoch" and given != "TIMESTAMP":
        # Of a TIMESTAMPTZ DuckDB divides otherwise, and the last bit differs.
        return None
    found = _OF_MOMENTS.get(name)
    if found is not None:
        return found
    of_day = _OF_DAYS.get(name)
    if of_day is None:
        return None
    return lambda moment: of_day(_moment(moment) // _DAY)


def truncated(part: str, types: tuple[str, ...], given: str) -> Callable[[str, int], int] | None:
    """`date_trunc` of a moment to a part that is always as long, to a week, month, quarter or year."""
    if len(types) != 1 or types[0] not in TIMES or given != types[0]:
        return None
    if part in _LENGTHS:
        length = _LENGTHS[part]
        return lambda _, moment: _moment(moment) // length * length
    first = _FIRST_DAYS.get(part)
    if first is None:
        return None
    return lambda _, moment: first(_moment(moment) // _DAY) * _DAY


def span_between(
    part: str, types: tuple[str, ...], _: str
) -> Callable[[str, int, int], int] | None:
    """`date_diff`: how many borders of a part lie between two moments or days."""
    if types == ("DATE", "DATE") and part in ("day", "days"):
        return lambda _, begin, end: end - begin
    if types != ("TIMESTAMP", "TIMESTAMP") or part not in _LENGTHS:
        return None
    length = _LENGTHS[part]
    return lambda _, begin, end: _moment(end) // length - _moment(begin) // length


def shifted(operation: Callable[[int, int], int]) -> Callable[[int, int], int]:
    """A moment and an interval without months: microseconds."""
    return lambda moment, micros: _moment(operation(_moment(moment), micros))


def _date(day: int) -> date:
    return date.fromordinal(_day(day) + _FIRST)


def _ordinal(found: date) -> int:
    return found.toordinal() - _FIRST


def _first_of_quarter(day: int) -> int:
    found = _date(day)
    return _ordinal(found.replace(month=(found.month - 1) // 3 * 3 + 1, day=1))


_FIRST_DAYS: dict[str, Callable[[int], int]] = {
    "week": lambda day: _day(day) - (day + _THURSDAY) % 7,
    "month": lambda day: _ordinal(_date(day).replace(day=1)),
    "quarter": _first_of_quarter,
    "year": lambda day: _ordinal(_date(day).replace(month=1, day=1)),
}

_OF_DAYS: dict[str, Callable[[int], int]] = {
    "year": lambda day: _date(day).year,
    "quarter": lambda day: (_date(day).month + 2) // 3,
    "month": lambda day: _date(day).month,
    "day": lambda day: _date(day).day,
    "dayofmonth": lambda day: _date(day).day,
    "dayofyear": lambda day: _date(day).timetuple().tm_yday,
    "isodow": lambda day: (_day(day) + _THURSDAY) % 7 + 1,
    "dayofweek": lambda day: (_day(day) + _THURSDAY + 1) % 7,
    "weekday": lambda day: (_day(day) + _THURSDAY + 1) % 7,
}

_OF_MOMENTS: dict[str, Callable[[int], int | float]] = {
    "epoch_us": _moment,
    # As DuckDB: first rounded to a DOUBLE, then divided.
    "epoch": lambda moment: float(_moment(moment)) / _SECOND,
    "hour": lambda moment: _moment(moment) // _HOUR % 24,
    "minute": lambda moment: _moment(moment) // _MINUTE % 60,
    "second": lambda moment: _moment(moment) // _SECOND % 60,
}
