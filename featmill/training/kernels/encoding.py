"""How DuckDB's values are held as 64-bit integers, and made values again: exact both ways, and in the order DuckDB has.

| DuckDB type | integer |
|---|---|
| BOOLEAN, integers up to 64 bits signed | itself |
| DECIMAL | its digits without the point |
| DATE | days since the Unix epoch |
| TIMESTAMP, TIMESTAMP WITH TIME ZONE | microseconds since the Unix epoch |
| FLOAT, DOUBLE | its bits, those of the exponent and fraction flipped where it is negative |
| VARCHAR, UUID | its place among the sorted distinct values |

What has no such form (HUGEINT, LIST, a DECIMAL beyond 64 bits) is refused; SQL computes it instead.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from featmill.errors import KernelRefused
from featmill.warehouse.columns import quote

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

_INTEGERS = frozenset(
    {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "BOOLEAN"}
)
_TIMES = frozenset({"TIMESTAMP", "TIMESTAMP WITH TIME ZONE"})
_FLOATS = frozenset({"FLOAT", "DOUBLE"})
_DECIMAL = re.compile(r"DECIMAL\((\d+),\s*(\d+)\)")
_MAGNITUDE = np.int64(0x7FFF_FFFF_FFFF_FFFF)
_NAN = np.float64("nan").view(np.int64) & _MAGNITUDE


@dataclass(frozen=True, slots=True)
class Column:
    """Values as integers, in the events' order; `nulls` marks the NULLs, None where there is none.

    `sql_type` is DuckDB's; `words` are the sorted distinct values of a VARCHAR, whose codes are 32 bits wide.
    """

    codes: NDArray[Any]
    nulls: NDArray[np.bool_] | None
    sql_type: str
    words: pa.Array | None = None


def scale_of(sql_type: str) -> int:
    """The decimal places of a DECIMAL; 0 of what has none."""
    found = _DECIMAL.fullmatch(sql_type)
    return 0 if found is None else int(found[2])


def readable(expression: str, sql_type: str) -> str:
    """The SQL that reads an expression so that `encode` takes it.

    Raises:
        KernelRefused: the type has no integer form.
    """
    if sql_type in _INTEGERS:
        return f"CAST({expression} AS BIGINT)"
    if sql_type == "DATE":
        return f"({expression} - DATE '1970-01-01')"
    if sql_type in _TIMES:
        # epoch_us answers NULL for an infinite time, which would be another value.
        refusal = "error('an infinite time has no integer form')::BIGINT"
        return f"CASE WHEN isinf({expression}) THEN {refusal} ELSE epoch_us({expression}) END"
    if sql_type in _FLOATS:
        return f"CAST({expression} AS DOUBLE)"
    if sql_type == "UUID":
        return f"CAST({expression} AS VARCHAR)"  # in the same order
    if sql_type == "VARCHAR" or _DECIMAL.fullmatch(sql_type):
        return expression
    raise KernelRefused(f"{expression} is {sql_type}, which has no 64-bit integer form")


class Growing:
    """An array that is filled from its begin on. `rows` is how long it is expected to become."""

    def __init__(self, dtype: type[np.generic], rows: int) -> None:
        self._held: NDArray[Any] = np.empty(rows, dtype)
        self._filled = 0

    def add(self, values: NDArray[Any]) -> None:
        """Append some values."""
        end = self._filled + len(values)
        if end > len(self._held):
            self._held.resize(max(end, 2 * len(self._held)), refcheck=False)
        self._held[self._filled : end] = values
        self._filled = end

    def add_arrow(self, values: pa.Array) -> None:
        """Append some values without NULLs."""
        self.add(values.to_numpy(zero_copy_only=False))

    def array(self) -> NDArray[Any]:
        """What was appended."""
        return self._held[: self._filled]


class Encoder:
    """One column that comes in chunks, as `readable` reads it: what was encoded of a chunk needs the chunk no more."""

    def __init__(self, sql_type: str, rows: int) -> None:
        self._sql_type = sql_type
        self._is_text = sql_type in ("VARCHAR", "UUID")
        self._codes = Growing(np.int64, 0 if self._is_text else rows)
        self._texts: list[pa.Array] = []
        self._valid: list[pa.Array] = []
        self._has_nulls = False

    def add(self, chunk: pa.Array) -> None:
        """Encode the next chunk.

        Raises:
            KernelRefused: a DECIMAL is beyond 64 bits.
        """
        self._has_nulls |= chunk.null_count > 0
        self._valid.append(chunk.is_valid())
        if not self._is_text:
            self._codes.add(_integers(chunk, self._sql_type))
        elif self._texts and not hasattr(self._texts[0], "dictionary"):
            self._texts.append(chunk)
        else:
            coded = chunk.dictionary_encode()
            # Ids are hardly ever the same: to collect a dictionary for each chunk would cost more than the texts.
            is_shorter = self._texts or 2 * len(coded.dictionary) <= len(chunk)
            self._texts.append(coded if is_shorter else chunk)

    def column(self) -> Column:
        """All of it."""
        import pyarrow as pa

        nulls = None
        if self._has_nulls:
            nulls = np.concatenate([~part.to_numpy(zero_copy_only=False) for part in self._valid])
        if self._is_text:
            kind = None if self._texts else pa.string()
            return _words(pa.chunked_array(self._texts, kind), nulls, self._sql_type)
        return Column(self._codes.array(), nulls, self._sql_type)


def encode(chunks: Sequence[pa.Array], sql_type: str) -> Column:
    """The chunks of one column, read as `readable` says, as one column of integers.

    Raises:
        KernelRefused: a DECIMAL is beyond 64 bits.
    """
    encoder = Encoder(sql_type, sum(map(len, chunks)))
    for chunk in chunks:
        encoder.add(chunk)
    return encoder.column()


def decode(
    codes: NDArray[np.int64], valid: NDArray[np.bool_], sql_type: str, words: pa.Array | None = None
) -> pa.Array:
    """Integers as values again, NULL where not `valid`; `restored` casts them to the very type."""
    import pyarrow as pa

    mask = None if valid.all() else ~valid
    if words is not None:
        places = pa.array(np.where(valid, codes, 0), mask=mask)
        return words.take(places) if len(words) else pa.nulls(len(codes), pa.string())
    if sql_type in _FLOATS:
        return pa.array(_flipped(codes).view(np.float64), mask=mask)
    if sql_type == "DATE":
        return pa.array(np.where(valid, codes, 0).astype(np.int32), pa.int32(), mask=mask).cast(
            pa.date32()
        )
    if sql_type in _TIMES:
        zone = None if sql_type == "TIMESTAMP" else "UTC"
        return pa.array(codes, mask=mask).cast(pa.timestamp("us", zone))
    if _DECIMAL.fullmatch(sql_type):
        return _decimals(codes, valid, scale_of(sql_type))
    return pa.array(codes, mask=mask)


def restored(name: str, sql_type: str) -> str:
    """The SQL of a decoded column as the type it came in."""
    return f"CAST({quote(name)} AS {sql_type})"


def _integers(chunk: pa.Array, sql_type: str) -> NDArray[np.int64]:
    if _DECIMAL.fullmatch(sql_type):
        return _digits(chunk, sql_type)
    filled = chunk.fill_null(0) if chunk.null_count else chunk
    numbers: NDArray[np.int64] = filled.to_numpy(zero_copy_only=False)
    if sql_type not in _FLOATS:
        return numbers.astype(np.int64, copy=False)
    bits = np.ascontiguousarray(numbers, dtype=np.float64).view(np.int64)
    # Which NaN it is has no meaning, and DuckDB has them all above infinity.
    return _flipped(np.where(np.isnan(numbers), _NAN, bits))


def _flipped(bits: NDArray[np.int64]) -> NDArray[np.int64]:
    """A float's bits in the order of floats, and back again."""
    return np.where(bits < 0, bits ^ _MAGNITUDE, bits)


def _digits(chunk: pa.Array, sql_type: str) -> NDArray[np.int64]:
    """Arrow's 128-bit decimals are two 64-bit halves, low first; what fits into it repeats its sign above."""
    import pyarrow as pa

    wide = pa.decimal128(38, scale_of(sql_type))
    filled = chunk.cast(wide) if chunk.type.bit_width != wide.bit_width else chunk
    if filled.null_count:
        filled = filled.fill_null(0)
    halves = np.frombuffer(filled.buffers()[1], np.int64).reshape(-1, 2)
    halves = halves[filled.offset : filled.offset + len(filled)]
    low = np.ascontiguousarray(halves[:, 0])
    if bool((halves[:, 1] != low >> 63).any()):
        raise KernelRefused(f"a {sql_type} is beyond 64 bits")
    return low


def _decimals(codes: NDArray[np.int64], valid: NDArray[np.bool_], scale: int) -> pa.Array:
    import pyarrow as pa

    halves = np.empty((len(codes), 2), np.int64)
    halves[:, 0] = codes
    halves[:, 1] = codes >> 63
    present = None if valid.all() else pa.py_buffer(np.packbits(valid, bitorder="little"))
    buffers = [present, pa.py_buffer(halves)]
    return pa.Array.from_buffers(pa.decimal128(38, scale), len(codes), buffers)


def _words(values: pa.ChunkedArray, nulls: NDArray[np.bool_] | None, sql_type: str) -> Column:
    """Codes in DuckDB's order of text, which is that of its UTF-8 bytes."""
    import pyarrow as pa
    import pyarrow.compute as pc

    coded = values.dictionary_encode().unify_dictionaries()
    if not coded.num_chunks:
        return Column(np.empty(0, np.int32), nulls, sql_type, pa.array([], pa.string()))
    words = coded.chunk(0).dictionary
    order = pc.sort_indices(words).to_numpy()
    # One place more: that of NULLs where there is no word.
    place = np.zeros(len(order) + 1, np.int32)
    place[order] = np.arange(len(order), dtype=np.int32)
    codes = Growing(np.int32, len(coded))
    for chunk in coded.chunks:
        codes.add(place.take(chunk.indices.fill_null(0).to_numpy()))
    return Column(codes.array(), nulls, sql_type, words.take(order))
