"""Values on their way into request-time expressions and out of them.

In: what a caller sends, or what was read online, as the value of its contract type that training has; NaN is no value,
since online it is none. Out: the online form. Between, a DECIMAL is its digits as an integer, a moment microseconds and
a day days since 1970.
"""

from __future__ import annotations

import re
import struct
from datetime import UTC, date, datetime, timedelta
from decimal import Context, Decimal, InvalidOperation
from typing import TYPE_CHECKING, Any
from uuid import UUID

from featmill.contract.types import OnlineKind
from featmill.serving.moments import micros_of
from featmill.serving.request.casts import INTEGERS

if TYPE_CHECKING:
    from collections.abc import Callable

    from featmill.contract.types import FeatureType

    Reader = Callable[[Any], Any]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIRST = 719_163
_DECIMAL = re.compile(r"DECIMAL\((\d+)(?:, ?(\d+))?\)")
_MEMBER = re.compile(r"'((?:[^']|'')*)'")
_EXACT_DIGITS = 15
#: Enough for 38 digits; decimal's default context has 28.
_CONTEXT = Context(prec=80)
#: The spellings of sqlglot, which the contract keeps, and of DuckDB.
_INTEGERS = INTEGERS | {"INT": INTEGERS["INTEGER"]}
_FLOAT = struct.Struct("<f")


class WrongValue(ValueError):
    """Not shown as it is: says what was expected of a value, to whoever knows its name."""


def reader_of(kind: FeatureType) -> Reader:
    """A function of a value that is not None, which raises WrongValue where it is none of the type."""
    if not kind.is_list:
        return _scalar(kind.sql, is_element=False)
    element = _scalar(kind.sql.rpartition("[")[0], is_element=True)

    def read(value: Any) -> Any:  # noqa: ANN401 - what was sent
        if not isinstance(value, list | tuple):
            raise WrongValue(f"a list, of {kind.sql}")
        return [None if one is None else element(one) for one in value]

    return read


def _scalar(sql: str, *, is_element: bool) -> Reader:
    decimal = _DECIMAL.fullmatch(sql)
    if decimal is not None:
        return _decimal(int(decimal[1]), int(decimal[2] or 0))
    if sql in _INTEGERS:
        return _integer(*_INTEGERS[sql])
    if sql in ("REAL", "DOUBLE"):
        return _real(sql, is_element=is_element)
    if sql.startswith("ENUM"):
        members = frozenset(one.replace("''", "'") for one in _MEMBER.findall(sql))
        return _member(members)
    if sql.startswith("TIMESTAMP"):
        return _moment
    return {"BOOLEAN": _truth, "DATE": _day, "UUID": _uuid, "BLOB": _bytes}.get(sql, _text)


def _python(value: Any) -> Any:  # noqa: ANN401
    """A number or truth value of NumPy's as Python's own; anything else as it is."""
    if type(value).__module__ == "numpy" and getattr(value, "dtype", None) is not None:
        return value.item() if value.dtype.kind in "biuf" and value.ndim == 0 else value
    return value


def _truth(value: Any) -> bool:  # noqa: ANN401
    value = _python(value)
    if value is True or value is False:
        return bool(value)
    raise WrongValue("true or false")


def _integer(low: int, high: int) -> Reader:
    def read(value: Any) -> int:  # noqa: ANN401
        found = value if type(value) is int else _python(value)
        if type(found) is int and low <= found <= high:
            return found
        raise WrongValue(f"a whole number from {low} to {high}")

    return read


def _real(sql: str, *, is_element: bool) -> Reader:
    def read(value: Any) -> float | None:  # noqa: ANN401
        if type(value) is not float:
            value = _python(value)
        if type(value) is not float:
            if not isinstance(value, int) or isinstance(value, bool):
                raise WrongValue("a number")
            try:
                value = float(value)
            except OverflowError as error:
                raise WrongValue("a number that a DOUBLE can hold") from error
        # Online a NaN is stored as no value; within a list it stays one.
        if value != value and not is_element:
            return None
        return value if sql == "DOUBLE" else _single(value)

    return read


def _single(value: float) -> float:
    try:
        found: float = _FLOAT.unpack(_FLOAT.pack(value))[0]
    except OverflowError as error:
        raise WrongValue("a number that a FLOAT can hold") from error
    return found


def _decimal(width: int, scale: int) -> Reader:
    unit, limit = int(10**scale), int(10**width)
    expected = f"a number of at most {width} digits, {scale} of them after the point"

    def read(value: Any) -> int:  # noqa: ANN401
        value = _python(value)
        if type(value) is float and width <= _EXACT_DIGITS:
            # Fifteen digits survive a DOUBLE: one decimal is nearest to it, and it has to be that one's.
            found = round(float(value) * unit) if abs(value) * unit < limit else limit
            if found / unit != value:
                raise WrongValue(expected)
        else:
            found = _unscaled(value, scale, expected)
        if abs(found) < limit:
            return found
        raise WrongValue(expected)

    return read


def _unscaled(value: Any, scale: int, expected: str) -> int:  # noqa: ANN401
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        raise WrongValue(expected)
    try:
        number = Decimal(str(value))
    except InvalidOperation as error:
        raise WrongValue(expected) from error
    if not number.is_finite() or number.adjusted() > 60:
        raise WrongValue(expected)
    found = _CONTEXT.scaleb(number, scale)
    if found != found.to_integral_value():
        raise WrongValue(expected)
    return int(found)


def _member(members: frozenset[str]) -> Reader:
    def read(value: Any) -> str:  # noqa: ANN401
        if isinstance(value, str) and (found := str.__str__(value)) in members:
            return found
        raise WrongValue(f"one of {', '.join(sorted(members))}")

    return read


def _text(value: Any) -> str:  # noqa: ANN401
    if not isinstance(value, str):
        raise WrongValue("a text")
    # Not str(): of a member of an enumeration of texts that is its name.
    found = str.__str__(value)
    if not found.isascii():
        try:
            found.encode()
        except UnicodeEncodeError as error:
            raise WrongValue("a text of whole Unicode characters") from error
    return found


def _uuid(value: Any) -> str:  # noqa: ANN401
    try:
        return str(value if isinstance(value, UUID) else UUID(_text(value)))
    except ValueError as error:
        raise WrongValue("a UUID, as text") from error


def _bytes(value: Any) -> bytes:  # noqa: ANN401
    if isinstance(value, bytes):
        return value
    raise WrongValue("bytes")


def _day(value: Any) -> int:  # noqa: ANN401
    try:
        found = date.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        found = None
    if isinstance(found, date) and not isinstance(found, datetime):
        return found.toordinal() - _FIRST
    raise WrongValue("a day such as 2026-01-31")


def _moment(value: Any) -> int:  # noqa: ANN401
    try:
        found = datetime.fromisoformat(value) if isinstance(value, str) else value
    except ValueError:
        found = None
    if not isinstance(found, datetime):
        raise WrongValue("a moment such as 2026-01-31T06:00:00Z")
    if found.tzinfo is None:
        raise WrongValue("a moment with its zone, such as 2026-01-31T06:00:00Z (rule 1)")
    return micros_of(found)


def sent_form(kind: FeatureType) -> tuple[str, str, Callable[[Any], Any] | None]:
    """How a column is handed to DuckDB: the type of the parameter, SQL that makes its own type of it, and the value.

    The SQL has a place `{}` for the parameter; the function, where there is one, is of values that are not None.
    """
    sql = kind.sql
    decimal = _DECIMAL.fullmatch(sql)
    if kind.is_list:
        return _sent_list(sql.rpartition("[")[0])
    if decimal is not None:
        scale = int(decimal[2] or 0)
        return "VARCHAR", f"CAST({{}} AS {sql})", lambda number: decimal_text(number, scale)
    if sql == "DATE":
        return "INTEGER", "(DATE '1970-01-01' + {})", None
    if sql.startswith("TIMESTAMP"):
        return "BIGINT", f"CAST(make_timestamp({{}}) AS {sql})", None
    if sql == "UUID" or sql.startswith("ENUM"):
        return "VARCHAR", "{}", None
    return sql, "{}", None


def _sent_list(element: str) -> tuple[str, str, Callable[[Any], Any] | None]:
    from featmill.contract.types import parse_type

    kind, sql, form = sent_form(parse_type(element))
    made = f"list_transform({{}}, lambda one: {sql.format('one')})" if sql != "{}" else "{}"
    if form is None:
        return f"{kind}[]", made, None
    return f"{kind}[]", made, lambda values: [None if v is None else form(v) for v in values]


def decimal_text(number: int, scale: int) -> str:
    """A DECIMAL's digits as DuckDB prints them."""
    digits = str(abs(number)).rjust(scale + 1, "0")
    sign = "-" if number < 0 else ""
    return f"{sign}{digits[:-scale]}.{digits[-scale:]}" if scale else f"{sign}{digits}"


def found_sql(kind: FeatureType) -> str:
    """SQL with a place `{}` that brings a value of the type to what `online_form` takes."""
    sql = kind.sql
    if kind.is_list:
        element = sql.rpartition("[")[0]
        inner = _found_scalar(element)
        return "{}" if inner == "{}" else f"list_transform({{}}, lambda one: {inner.format('one')})"
    return _found_scalar(sql)


def _found_scalar(sql: str) -> str:
    if sql.startswith("DECIMAL"):
        return "CAST({} AS VARCHAR)"
    if sql == "DATE":
        return "({} - DATE '1970-01-01')"
    return "epoch_us({})" if sql.startswith("TIMESTAMP") else "{}"


def read_found(kind: FeatureType) -> Callable[[Any], Any] | None:
    """From what `found_sql` gives to the form between; None where it is that already."""
    decimal = _DECIMAL.match(kind.sql)
    if decimal is None:
        return None
    scale = int(decimal[2] or 0)
    of_text = lambda text: int(_CONTEXT.scaleb(Decimal(text), scale))  # noqa: E731
    return _each(of_text) if kind.is_list else of_text


def online_form(kind: FeatureType) -> Callable[[Any], Any] | None:
    """From the form between to the online form; None where it is that already."""
    decimal = _DECIMAL.match(kind.sql)
    form: Callable[[Any], Any] | None = None
    if decimal is not None:
        scale = int(decimal[2] or 0)
        unit = 10**scale
        is_text = kind.kind is OnlineKind.STRING
        form = (lambda number: decimal_text(number, scale)) if is_text else lambda n: n / unit
    elif kind.sql.startswith("DATE"):
        form = lambda day: date.fromordinal(day + _FIRST)  # noqa: E731
    elif kind.sql.startswith("TIMESTAMP"):
        form = lambda moment: _EPOCH + timedelta(microseconds=moment)  # noqa: E731
    return _each(form) if form is not None and kind.is_list else form


def _each(form: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda values: [None if value is None else form(value) for value in values]
