"""Whether a declared default is a value of its column's type, exactly.

A default is written twice: by SQL into the published table, and by the reader of a missing value
online. A value that either would round or refuse is an error, not a near miss.
"""

from __future__ import annotations

import math
import re
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING
from uuid import UUID

from featmill.contract.types import FeatureType, OnlineKind

if TYPE_CHECKING:
    from collections.abc import Callable

_DECIMAL = re.compile(r"DECIMAL\((\d+), (\d+)\)")
_MEMBER = re.compile(r"'((?:[^']|'')*)'")
_INTEGERS = {
    "TINYINT": (-(2**7), 2**7 - 1),
    "SMALLINT": (-(2**15), 2**15 - 1),
    "INT": (-(2**31), 2**31 - 1),
    "BIGINT": (-(2**63), 2**63 - 1),
    "UTINYINT": (0, 2**8 - 1),
    "USMALLINT": (0, 2**16 - 1),
    "UINTEGER": (0, 2**32 - 1),
}


def expected_default(value: object, column_type: FeatureType) -> str | None:
    """What a default of this type looks like, or None where `value` is one."""
    if not column_type.is_list:
        return _expected(value, column_type.sql, column_type)
    element = column_type.sql.rpartition("[")[0]
    if not isinstance(value, list):
        return f"a list of {element}"
    found = (_expected(item, element, column_type) for item in value if item is not None)
    return next((expected for expected in found if expected is not None), None)


def _expected(value: object, sql: str, column_type: FeatureType) -> str | None:
    decimal = _DECIMAL.fullmatch(sql)
    if decimal is not None:
        return _expected_decimal(value, int(decimal[1]), int(decimal[2]))
    if sql in _INTEGERS:
        low, high = _INTEGERS[sql]
        is_one = isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
        return None if is_one else f"a whole number from {low} to {high}"
    if sql.startswith("ENUM"):
        members = _MEMBER.findall(sql)
        return None if value in members else f"one of {', '.join(members)}"
    if sql in _TEXTS:
        expected, read = _TEXTS[sql]
        return None if isinstance(value, str) and _reads(read, value) else expected
    if sql.startswith("TIMESTAMP"):
        return _expected_moment(value, column_type.kind)
    if column_type.kind is OnlineKind.BOOL:
        return None if isinstance(value, bool) else "true or false"
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return None if is_number and math.isfinite(float(str(value))) else "a number"


def _expected_decimal(value: object, precision: int, scale: int) -> str | None:
    expected = f"a number of at most {precision} digits, {scale} of them after the point"
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return expected
    try:
        number = Decimal(str(value))
        fits = number.is_finite() and abs(number) < Decimal(10) ** (precision - scale)
        return None if fits and number == round(number, scale) else expected
    except InvalidOperation:
        return expected


def _expected_moment(value: object, kind: OnlineKind) -> str | None:
    if not isinstance(value, str) or not _reads(datetime.fromisoformat, value):
        return "a moment such as 2026-01-31T06:00:00"
    # An online UnixTimestamp has no place for a fraction of a second.
    if kind is OnlineKind.UNIX_TIMESTAMP and datetime.fromisoformat(value).microsecond:
        return "a whole second, or online_type: int64"
    return None


def _reads(read: Callable[[str], object], value: str) -> bool:
    try:
        read(value)
    except ValueError:
        return False
    return True


_TEXTS: dict[str, tuple[str, Callable[[str], object]]] = {
    "TEXT": ("a text", str),
    "BLOB": ("a text", str),
    "UUID": ("a UUID, as text", UUID),
    "DATE": ("a day such as 2026-01-31", date.fromisoformat),
}
