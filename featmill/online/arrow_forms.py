"""Arrow columns in the few shapes the codec writes: int64, floating point, binary.

The closed type table says which online kind a column has; here each Arrow type that such a column
can arrive in is brought to one shape, exactly or not at all (an `EncodingError` names the column).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from featmill.contract.types import OnlineKind
from featmill.errors import EncodingError
from featmill.online.row_bytes import binary_data

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Integers = NDArray[np.int64]
    Mask = NDArray[np.bool_]

#: Integers up to 2**53 are exact in a float64, and 10**22 is its largest exact power of ten: one
#: correctly rounded division then gives the double nearest to the decimal.
_EXACT_DECIMAL = 15

_PER_SECOND = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}

_SECONDS_A_DAY = 86_400

#: The moments that Python and so every reader of Feast knows: the years 1 to 9999, in seconds.
_FIRST_SECOND, _LAST_SECOND = -62_135_596_800, 253_402_300_799


def presence(column: pa.Array) -> Mask | None:
    """Which rows are not NULL; None where all are."""
    if column.null_count == 0:
        return None
    mask: Mask = column.is_valid().to_numpy(zero_copy_only=False)
    return mask


def plain(column: pa.Array) -> pa.Array:
    """The column without DuckDB's encodings: dictionaries (ENUM), one-byte booleans."""
    if pa.types.is_dictionary(column.type):
        return column.dictionary_decode()
    if isinstance(column.type, pa.Bool8Type):
        return column.storage.cast(pa.bool_())
    return column


def integers(column: pa.Array, kind: OnlineKind, name: str) -> Integers:
    """A BOOL, INT32, INT64 or UNIX_TIMESTAMP column as int64; 0 where NULL.

    Raises:
        EncodingError: the Arrow type does not fit the kind, or a value does not fit it.
    """
    if pa.types.is_null(column.type):
        return np.zeros(len(column), np.int64)
    if kind is OnlineKind.UNIX_TIMESTAMP:
        return _seconds(column, name)
    if kind is OnlineKind.INT64 and pa.types.is_timestamp(column.type):
        return _micros(column, name)
    if kind is OnlineKind.BOOL and pa.types.is_boolean(column.type):
        return _numbers(column.cast(pa.int8())).astype(np.int64)
    if kind is OnlineKind.BOOL or not pa.types.is_integer(column.type):
        raise _unfit(column, kind, name)
    narrow = pa.int32() if kind is OnlineKind.INT32 else pa.int64()
    try:
        return _numbers(column.cast(narrow)).astype(np.int64)
    except pa.ArrowInvalid as error:
        raise EncodingError(f"column {name!r} does not fit {kind}: {error}") from error


def reals(column: pa.Array, kind: OnlineKind, name: str) -> NDArray[Any]:
    """A FLOAT or DOUBLE column as float32 or float64; 0 where NULL.

    Raises:
        EncodingError: the Arrow type does not fit the kind exactly.
    """
    is_double = kind is OnlineKind.DOUBLE
    if pa.types.is_null(column.type):
        return np.zeros(len(column), np.float64 if is_double else np.float32)
    if is_double and pa.types.is_decimal(column.type):
        return _decimal_reals(column, name)
    exact = ("float", "halffloat", "double") if is_double else ("float", "halffloat")
    if str(column.type) not in exact:
        raise _unfit(column, kind, name)
    return _numbers(column.cast(pa.float64() if is_double else pa.float32()))


def binaries(column: pa.Array, kind: OnlineKind, name: str) -> pa.LargeBinaryArray:
    """A STRING or BYTES column as Arrow binary; empty where NULL.

    Raises:
        EncodingError: the Arrow type does not fit the kind.
    """
    if pa.types.is_null(column.type):
        return pa.array([b""] * len(column), pa.large_binary())
    if kind is OnlineKind.BYTES:
        if not _is_binary(column.type):
            raise _unfit(column, kind, name)
        found = column
    elif isinstance(column.type, pa.UuidType):
        found = _uuid_text(column)
    elif pa.types.is_decimal(column.type):
        found = _decimal_text(column, name)
    elif _is_text(column.type):
        found = column
    else:
        raise _unfit(column, kind, name)
    return pc.fill_null(_large_binary(found), b"")


def event_micros(column: pa.Array, name: str) -> Integers:
    """An event-time column in microseconds since the epoch, UTC.

    Raises:
        EncodingError: it is not a timestamp, holds a NULL, or is finer than microseconds (rule 1).
    """
    if not pa.types.is_timestamp(column.type):
        raise EncodingError(f"event time {name!r} must be a TIMESTAMP, got {column.type}")
    if column.null_count > 0:
        raise EncodingError(f"event time {name!r} is NULL in {column.null_count} rows")
    try:
        exact = column.cast(pa.timestamp("us", column.type.tz))
    except pa.ArrowInvalid as error:
        raise EncodingError(f"event time {name!r} has no exact microseconds: {error}") from error
    return _numbers(exact.view(pa.int64()))


def _numbers(column: pa.Array) -> NDArray[Any]:
    filled = pc.fill_null(column, 0) if column.null_count else column
    numbers: NDArray[Any] = filled.to_numpy(zero_copy_only=False)
    return numbers


def _seconds(column: pa.Array, name: str) -> Integers:
    if pa.types.is_date32(column.type):
        days: Integers = _numbers(column.view(pa.int32())).astype(np.int64)
        return _known(days * _SECONDS_A_DAY, 1, name)
    if not pa.types.is_timestamp(column.type):
        raise _unfit(column, OnlineKind.UNIX_TIMESTAMP, name)
    ticks: Integers = _numbers(column.view(pa.int64()))
    seconds, rest = np.divmod(ticks, _PER_SECOND[column.type.unit])
    finer = int(np.count_nonzero(rest))
    if finer:
        raise EncodingError(
            f"column {name!r} has {finer} values with a fraction of a second; "
            "online timestamps are whole seconds",
            hint=f"date_trunc('second', {name}), or publish epoch_us({name}) as a BIGINT",
        )
    return _known(seconds, 1, name)


def _micros(column: pa.Array, name: str) -> Integers:
    try:
        exact = column.cast(pa.timestamp("us", column.type.tz))
    except pa.ArrowInvalid as error:
        raise EncodingError(f"column {name!r} has no exact microseconds: {error}") from error
    return _known(_numbers(exact.view(pa.int64())), 1_000_000, name)


def _known(moments: Integers, a_second: int, name: str) -> Integers:
    """Refuse what no reader could make a moment of, such as DuckDB's infinity."""
    seconds = moments // a_second
    unknown = int(np.count_nonzero((seconds < _FIRST_SECOND) | (seconds > _LAST_SECOND)))
    if unknown:
        raise EncodingError(
            f"column {name!r} has {unknown} values outside of the years 1 to 9999",
            hint=f"publish NULL instead: CASE WHEN isfinite({name}) THEN {name} END",
        )
    return moments


def _unscaled(column: pa.Array, name: str) -> pa.Array:
    """The decimals' integers, that is their values times 10**scale, as decimal128 of scale 0."""
    if pa.types.is_decimal256(column.type):
        raise EncodingError(
            f"column {name!r} is {column.type}: more than 38 digits have no online form"
        )
    wide = column.cast(pa.decimal128(column.type.precision, column.type.scale))
    bare = pa.decimal128(wide.type.precision, 0)
    return pa.Array.from_buffers(bare, len(wide), wide.buffers(), offset=wide.offset)


def _decimal_reals(column: pa.Array, name: str) -> NDArray[np.float64]:
    if column.type.precision > _EXACT_DECIMAL:
        raise EncodingError(
            f"column {name!r} is {column.type}: a double is exact to {_EXACT_DECIMAL} digits",
            hint=f"declare the column in the contract as it is published, here {column.type}",
        )
    unscaled = _numbers(_unscaled(column, name).cast(pa.int64()))
    quotient: NDArray[np.float64] = unscaled.astype(np.float64) / 10.0**column.type.scale
    return quotient


def _decimal_text(column: pa.Array, name: str) -> pa.Array:
    """Decimals as DuckDB prints them: every declared digit, never an exponent.

    Arrow's own cast writes 1E-10 for a small number.
    """
    unscaled = _unscaled(column, name)
    scale = column.type.scale
    digits = pc.replace_substring(unscaled.cast(pa.string()), "-", "")
    if scale > 0:
        padded = pc.utf8_lpad(digits, scale + 1, "0")
        whole = pc.utf8_slice_codeunits(padded, 0, -scale)
        digits = pc.binary_join_element_wise(whole, pc.utf8_slice_codeunits(padded, -scale), ".")
    sign = pc.if_else(pc.less(unscaled, pa.scalar(0, unscaled.type)), "-", "")
    return pc.binary_join_element_wise(sign, digits, "")


def _uuid_text(column: pa.Array) -> pa.Array:
    """UUIDs as their usual text: 32 hexadecimal digits in groups of 8-4-4-4-12."""
    raw = binary_data(pc.fill_null(_large_binary(column.storage), bytes(16)))
    digits = np.frombuffer(b"0123456789abcdef", np.uint8)
    nibbles = np.stack([digits[raw >> 4], digits[raw & 15]], axis=-1).reshape(-1, 32)
    text = np.full((len(column), 36), ord("-"), np.uint8)
    for start, stop, at in ((0, 8, 0), (8, 12, 9), (12, 16, 14), (16, 20, 19), (20, 32, 24)):
        text[:, at : at + stop - start] = nibbles[:, start:stop]
    found = pa.FixedSizeBinaryArray.from_buffers(
        pa.binary(36), len(column), [None, pa.py_buffer(text)]
    )
    nothing = pa.scalar(None, pa.large_binary())
    return pc.if_else(column.is_valid(), _large_binary(found), nothing)


def _is_text(kind: pa.DataType) -> bool:
    text = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    return any(test(kind) for test in text)


def _is_binary(kind: pa.DataType) -> bool:
    binary = (
        pa.types.is_binary,
        pa.types.is_large_binary,
        pa.types.is_binary_view,
        pa.types.is_fixed_size_binary,
    )
    return any(test(kind) for test in binary)


def _large_binary(column: pa.Array) -> pa.Array:
    return column.cast(pa.large_binary())


def _unfit(column: pa.Array, kind: OnlineKind, name: str) -> EncodingError:
    return EncodingError(
        f"column {name!r} is stored online as {kind}, but its values are {column.type}",
        hint=f"cast {name} to the data_type its contract declares",
    )
