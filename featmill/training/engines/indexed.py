"""The indexed engine: labels find their rows by binary search in a table's row index, and values are gathered.

A label becomes one number, as the index numbers rows: key number x span + time. The last row whose number is not
greater is the newest at or before the label's moment, if it is of the same key.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from featmill.training.engines.bulk_search import last_not_after
from featmill.warehouse.columns import quote

if TYPE_CHECKING:
    import duckdb
    import numpy as np
    import pyarrow as pa

    from featmill.warehouse.row_index import RowIndex

#: How a key column of the spine is read: as the index holds it. What does not fit finds nothing.
KEY_SQL = {"integer": "try_cast({} AS BIGINT)", "text": "{}::VARCHAR"}

_STATUSES = ("ok", "expired", "missing")


@dataclass(frozen=True, slots=True)
class Found:
    """Where labels found their rows, in the labels' order.

    `row` and `is_visible` say which row, and whether it may be seen (rule 12); `is_found` whether there is any;
    `key_start` is the number at which the label's key begins, and `time` the row's event time (of no meaning where
    none was found).
    """

    row: np.ndarray[Any, Any]
    key_start: np.ndarray[Any, Any]
    time: np.ndarray[Any, Any]
    is_found: np.ndarray[Any, Any]
    is_visible: np.ndarray[Any, Any]


class IndexedView:
    """One view's lookups in its index."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, index: RowIndex, view: Mapping[str, Any]
    ) -> None:
        """Open what the view needs of the index.

        Raises:
            IndexUnusable: a column is not in the index, or is not as it was written.
        """
        self._index, self._view = index, view
        self._keys = [index.key_values(i) for i in range(len(index.header.keys))]
        self._pairs = [index.combinations(i) for i in range(1, len(index.header.keys))]
        self._moments = index.moments() if index.header.moments is not None else None
        self._columns = {f["name"]: index.column(f["name"]) for f in view["features"]}
        self._filled: dict[str, np.ndarray[Any, Any]] = {}
        self._defaults = _defaults(connection, view)

    def columns(
        self, keys: Sequence[pa.Array], times: pa.Array, *, status: bool
    ) -> dict[str, pa.Array]:
        """The view's columns for some labels, named as in a training set.

        `keys` are the join keys as `KEY_SQL` reads them, `times` the labels' moments (TIMESTAMPTZ).
        """
        found = self._find(keys, times)
        name = self._view["name"]
        columns = {
            f"{name}__{feature['name']}": self._values(found, feature)
            for feature in self._view["features"]
        }
        if status:
            columns[f"{name}__status"] = _status(found)
            columns[f"{name}__{self._view['event_time']}"] = self._found_times(found)
        return columns

    def _find(self, keys: Sequence[pa.Array], times: pa.Array) -> Found:
        import numpy as np

        header, order = self._index.header, self._index.order
        key = self._numbers_of(keys)
        at, is_known = _plain(times)
        is_absent = key < 0 if is_known is None else (key < 0) | ~is_known
        # Beyond the last key there is no row: what is absent finds one of another key, like any that has none yet.
        start = np.where(is_absent, header.distinct_keys, key)
        start *= header.span
        if self._moments is None:
            needle = np.clip(at, header.first - 1, header.last + 1)
            needle -= header.first
        else:
            needle = np.searchsorted(self._moments, at, side="right")
            needle -= 1
        needle += start
        row = last_not_after(order, needle)
        is_found = row >= 0
        np.maximum(row, 0, out=row)
        time = order.take(row) if len(order) else needle
        is_found &= time >= start
        time -= start
        time = self._times(time)
        is_visible = is_found
        ttl = self._view["ttl_us"]
        if ttl is not None:
            # Unsigned: a label may be at infinity, and the difference is never negative where a row was found.
            age = at.view(np.uint64) - time.view(np.uint64)
            is_visible = is_found & (age < np.uint64(ttl))
        return Found(row, start, time, is_found, is_visible)

    def _numbers_of(self, keys: Sequence[pa.Array]) -> np.ndarray[Any, Any]:
        """The number of each label's key, -1 where the table has no such key."""
        import numpy as np

        number = _position(self._keys[0], keys[0])
        for values, wanted, existing in zip(self._keys[1:], keys[1:], self._pairs, strict=True):
            own = _position(values, wanted)
            combined = np.where((number < 0) | (own < 0), -1, number * len(values) + own)
            number = _search(existing, combined)
        return number

    def _times(self, offset: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """The event times, in microseconds since the epoch, of rows so far from their key's first number."""
        import numpy as np

        if self._moments is None:
            offset += self._index.header.first
            return offset
        return np.take(self._moments, offset, mode="clip")

    def _values(self, found: Found, feature: Mapping[str, Any]) -> pa.Array:
        import pyarrow as pa
        import pyarrow.compute as pc

        column, default = self._columns[feature["name"]], self._defaults[feature["name"]]
        row, has_value = found.row, found.is_visible
        if feature["ignore_nulls"] and column.null_count:
            row, has_value = self._carried(found, feature["name"])
        taken = _taken(column, row, has_value)
        if taken.type != default.type:
            taken = taken.cast(default.type)
        if not default.is_valid:
            return taken
        return pc.if_else(pa.array(found.is_visible), taken, default)

    def _carried(
        self, found: Found, name: str
    ) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """The last row with a value, of those still visible when the found row began (rule 14)."""
        import numpy as np

        if name not in self._filled:
            self._filled[name] = np.flatnonzero(np.asarray(self._columns[name].is_valid()))
        filled = self._filled[name]
        if not len(filled):
            return found.row, np.zeros(len(found.row), bool)
        position = last_not_after(filled, found.row)
        row = filled[np.maximum(position, 0)]
        has_value = found.is_visible & (position >= 0)
        has_value &= self._index.order[row] >= found.key_start
        if self._view["ttl_us"] is not None:
            time = self._times(self._index.order[row] - found.key_start)
            has_value &= found.time - time < self._view["ttl_us"]
        return row, has_value

    def _found_times(self, found: Found) -> pa.Array:
        import pyarrow as pa

        times = pa.array(found.time, pa.int64(), mask=~found.is_found)
        return times.cast(pa.timestamp("us", "UTC"))


def _taken(
    column: pa.Array, row: np.ndarray[Any, Any], has_value: np.ndarray[Any, Any]
) -> pa.Array:
    """The column's values at these rows, NULL where there is none.

    Of fixed widths all are taken and those that are not seen are hidden after: Arrow takes three times as long where
    positions may be NULL.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if has_value.all():
        return pc.take(column, pa.array(row), boundscheck=False)
    if not pa.types.is_primitive(column.type) or not len(column):
        return pc.take(column, pa.array(row, mask=~has_value), boundscheck=False)
    taken = pc.take(column, pa.array(row), boundscheck=False)
    return _hidden(taken, has_value)


def _hidden(taken: pa.Array, has_value: np.ndarray[Any, Any]) -> pa.Array:
    """An array of a fixed width with NULLs also where there is no value, over the same buffer of values."""
    import numpy as np
    import pyarrow as pa

    valid, values = taken.buffers()
    bits = np.packbits(has_value, bitorder="little")
    if valid is not None:
        bits &= np.frombuffer(valid, np.uint8, len(bits))
    return pa.Array.from_buffers(taken.type, len(taken), [pa.py_buffer(bits), values])


def _status(found: Found) -> pa.Array:
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    number = np.where(found.is_visible, 0, np.where(found.is_found, 1, 2))
    return pc.take(pa.array(_STATUSES), pa.array(number))


def _position(values: pa.Array, wanted: pa.Array) -> np.ndarray[Any, Any]:
    """Where each wanted value stands among distinct, sorted ones; -1 where it does not or is NULL."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    if not pa.types.is_integer(values.type):
        if wanted.type != values.type:
            wanted = wanted.cast(values.type)
        found = pc.index_in(wanted, value_set=values, skip_nulls=True)
        return np.array(found.fill_null(-1), dtype=np.int64)
    plain, is_known = _plain(wanted)
    number = _number(np.asarray(values), plain)
    return number if is_known is None else np.where(is_known, number, -1)


def _number(values: np.ndarray[Any, Any], wanted: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Positions in sorted distinct integers, -1 where absent; without a search where none between them is missing."""
    import numpy as np

    if not len(values) or int(values[-1]) - int(values[0]) + 1 != len(values):
        return _search(values, wanted)
    number = wanted - values[0]
    # Unsigned: what lies below the least, or wraps around, is beyond the most.
    return np.where(number.view(np.uint64) < len(values), number, -1)


def _search(values: np.ndarray[Any, Any], wanted: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Positions in sorted distinct values, -1 where absent."""
    import numpy as np

    if not len(values):
        return np.full(len(wanted), -1, np.int64)
    position = np.minimum(np.searchsorted(values, wanted), len(values) - 1)
    return np.where(values[position] == wanted, position, -1)


def _plain(array: pa.Array) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any] | None]:
    """An array of integers or moments as int64, and which of it is not NULL (None: all)."""
    import numpy as np
    import pyarrow as pa

    numbers = array.view(pa.int64()) if pa.types.is_timestamp(array.type) else array
    if not numbers.null_count:
        return np.asarray(numbers), None
    return np.asarray(numbers.fill_null(0)), np.asarray(numbers.is_valid())


def _defaults(
    connection: duckdb.DuckDBPyConnection, view: Mapping[str, Any]
) -> dict[str, pa.Scalar]:
    """Each feature's default in the type that SQL gives a column of its values and this default."""
    if not view["features"]:
        return {}  # only its status is asked for
    columns = ", ".join(
        f"CASE WHEN false THEN {quote(f['name'])} ELSE {f['default_sql']} END AS {quote(f['name'])}"
        for f in view["features"]
    )
    sql = f"SELECT {columns} FROM (SELECT 1) LEFT JOIN (SELECT * FROM {view['relation']} LIMIT 0) ON true"
    found = connection.sql(sql).to_arrow_table()
    return {f["name"]: found.column(i)[0] for i, f in enumerate(view["features"])}
