"""Casts that a request-time expression may make outside of DuckDB, each equal to DuckDB's to the bit.

What would round, or overflow, or need DuckDB's own text of a number is not here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

#: Whole numbers up to here are exact in a DOUBLE.
_EXACT = 2**53

_MICROS_A_DAY = 86_400_000_000

#: The moments and days that Python can tell: of the years 1 to 9999.
MOMENTS = (-62_135_596_800_000_000, 253_402_300_799_999_999)
DAYS = (-719_162, 2_932_896)

INTEGERS = {
    "TINYINT": (-(2**7), 2**7 - 1),
    "SMALLINT": (-(2**15), 2**15 - 1),
    "INTEGER": (-(2**31), 2**31 - 1),
    "BIGINT": (-(2**63), 2**63 - 1),
    "UTINYINT": (0, 2**8 - 1),
    "USMALLINT": (0, 2**16 - 1),
    "UINTEGER": (0, 2**32 - 1),
}

TIMES = frozenset({"TIMESTAMP", "TIMESTAMP WITH TIME ZONE"})


def decimal_of(name: str) -> tuple[int, int] | None:
    """Width and scale of a DECIMAL, None of any other type."""
    if not name.startswith("DECIMAL("):
        return None
    width, scale = (int(part) for part in name[8:-1].split(","))
    return width, scale


def within(low: int, high: int) -> Callable[[int], int]:
    """The number, where it is of its type."""

    def checked(number: int) -> int:
        if low <= number <= high:
            return number
        raise OverflowError(number)

    return checked


def cast_of(given: str, wanted: str) -> Callable[[Any], Any] | None:
    """The cast of values that are not NULL, None where DuckDB has to make it.

    Types as DuckDB spells them in a bound tree.
    """
    if given == wanted or (given in TIMES and wanted in TIMES):
        # TIMESTAMP and TIMESTAMPTZ are the same microseconds where the session's zone is UTC.
        return _same
    if wanted in INTEGERS:
        return _to_integer(given, wanted)
    if wanted == "DOUBLE":
        return _to_double(given)
    if wanted == "BOOLEAN":
        return bool if given in INTEGERS or given == "DOUBLE" else None
    if wanted == "VARCHAR":
        return _truth if given == "BOOLEAN" else str if given in INTEGERS else None
    if wanted == "DATE" or wanted in TIMES:
        return _to_time(given, wanted)
    return _to_decimal(given, wanted)


def _same(value: Any) -> Any:  # noqa: ANN401 - of any type
    return value


def _truth(value: bool) -> str:
    return "true" if value else "false"


def _to_integer(given: str, wanted: str) -> Callable[[Any], int] | None:
    low, high = INTEGERS[wanted]
    if given == "BOOLEAN":
        return int
    if given in INTEGERS:
        return within(low, high)
    if given != "DOUBLE":
        return None
    low, high = max(low + 1, -_EXACT), min(high - 1, _EXACT)

    def rounded(number: float) -> int:
        # Python rounds half to even, as DuckDB does; what is at the edge of the type is left to it.
        if low <= number <= high:
            return round(number)
        raise OverflowError(number)

    return rounded


def _to_double(given: str) -> Callable[[Any], float] | None:
    if given in INTEGERS or given == "BOOLEAN":
        return float
    if given == "FLOAT":
        return _same
    found = decimal_of(given)
    if found is None:
        return None
    unit = int(10 ** found[1])

    def quotient(number: int) -> float:
        # One correctly rounded division of two exact numbers.
        if -_EXACT <= number <= _EXACT:
            return number / unit
        raise OverflowError(number)

    return quotient


def _to_time(given: str, wanted: str) -> Callable[[int], int] | None:
    if given == "DATE":
        return lambda day: day * _MICROS_A_DAY
    if given in TIMES and wanted == "DATE":
        return lambda moment: moment // _MICROS_A_DAY
    return None


def _to_decimal(given: str, wanted: str) -> Callable[[int], int] | None:
    found = decimal_of(wanted)
    of = (0, 0) if given in INTEGERS else decimal_of(given)
    if found is None or of is None or of[1] > found[1]:
        return None
    width, scale = found
    factor, fits = 10 ** (scale - of[1]), within(1 - 10**width, 10**width - 1)
    return lambda number: fits(number * factor)
