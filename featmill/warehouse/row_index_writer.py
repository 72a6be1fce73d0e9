"""Building a row index: DuckDB sorts the rows and streams them, numpy numbers them, in bounded memory."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from featmill.errors import IndexUnusable
from featmill.warehouse.columns import literal, quote
from featmill.warehouse.identity import only_row
from featmill.warehouse.lake import PUBLISHED_AT_COLUMN, SNAPSHOT_COLUMN
from featmill.warehouse.row_index import (
    FORMAT,
    MOST,
    Header,
    KeyColumn,
    fingerprint,
    index_root,
    write_header,
)
from featmill.warehouse.row_index_columns import ColumnWriter, file_sum, is_storable
from featmill.warehouse.row_statistics import newest_rows_sql, row_statistics

if TYPE_CHECKING:
    import duckdb
    import numpy as np
    import pyarrow as pa

    from featmill.warehouse.model import Snapshot

_BATCH_ROWS = 131_072
#: What DuckDB may take to sort; the rest of the build needs the distinct keys and one batch.
_MEMORY = "2GB"
_INTEGERS = frozenset(
    {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER"}
)
_ZONED = "TIMESTAMP WITH TIME ZONE"
_TIME = "_featmill_time"


@dataclass(frozen=True, slots=True)
class IndexSource:
    """What an index is built of: the released snapshots of one table, as `lake.relation_sql` reads them."""

    snapshots: Sequence[Snapshot]
    relation: str
    keys: tuple[str, ...]
    event_time: str


def build_index(source: IndexSource) -> Path:
    """Build the index of these released snapshots of one table, and drop those of others; returns its folder.

    Raises:
        IndexUnusable: a key is neither integer nor text, the time is not a moment, or the folder cannot be written.
    """
    import duckdb

    root = index_root(source.snapshots)
    wanted = fingerprint(source.snapshots, source.relation)
    aside = root / f".building-{os.getpid()}-{uuid4().hex[:8]}"
    table = source.snapshots[0].table
    try:
        aside.mkdir(parents=True)
        with duckdb.connect(config={"memory_limit": _MEMORY}) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            connection.execute(f"SET temp_directory = {literal(str(aside / 'sort'))}")
            header = _Build(connection, aside, source).run(wanted)
        shutil.rmtree(aside / "sort", ignore_errors=True)
        write_header(aside, header)
        return _install(root, aside, wanted)
    except IndexUnusable as error:
        raise IndexUnusable(f"{table} has no index: {error.message}") from error
    except (duckdb.Error, OSError) as error:
        raise IndexUnusable(f"{table} has no index: it could not be built: {error}") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _install(root: Path, aside: Path, wanted: str) -> Path:
    """Give the finished index its name, then drop what it replaces; readers keep what they have mapped."""
    folder = root / wanted[:16]
    if folder.exists():
        folder.rename(root / f".building-{os.getpid()}-{uuid4().hex[:8]}")
    aside.rename(folder)
    for other in root.iterdir():
        if other != folder and not _is_being_built(other):
            shutil.rmtree(other, ignore_errors=True)
    return folder


def _is_being_built(path: Path) -> bool:
    """Whether another process that lives is writing it."""
    _, is_building, rest = path.name.partition(".building-")
    number = rest.partition("-")[0]
    if not is_building or not number.isdigit() or int(number) == os.getpid():
        return False
    with suppress(ProcessLookupError, PermissionError):
        os.kill(int(number), 0)
        return True
    return False


class _Build:
    """One build into a folder."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, folder: Path, source: IndexSource
    ) -> None:
        self.connection, self.folder, self.source = connection, folder, source
        self.relation = f"({source.relation})"
        self.keys, self.event_time = source.keys, source.event_time

    def run(self, wanted: str) -> Header:
        """Write every file but the header."""
        types = self._types()
        bounds = self._bounds()
        reader = self._sorted(types)
        features = sorted(set(reader.schema.names) - {*self.keys, _TIME})
        schema = reader.schema.remove_metadata()
        (self.folder / "schema").write_bytes(schema.serialize().to_pybytes())
        writers = [
            ColumnWriter(self.folder, f"column{position}", schema.field(name).type)
            for position, name in enumerate(features)
        ]
        numbering = _Numbering(len(self.keys), bounds)
        rows = 0
        with (self.folder / "order").open("wb") as order:
            for batch in reader:
                order.write(numbering.of(batch).tobytes())
                for name, writer in zip(features, writers, strict=True):
                    writer.append(batch.column(name))
                rows += batch.num_rows
        files = {n: tuple(w.close()) for n, w in zip(features, writers, strict=True)}
        kinds = ["text" if types[key] == "VARCHAR" else "integer" for key in self.keys]
        keys, pairs = self._write_keys(numbering.tuples(schema), kinds)
        return Header(
            format=FORMAT,
            fingerprint=wanted,
            table=self.source.snapshots[0].table,
            snapshots=tuple(s.snapshot_id for s in self.source.snapshots),
            rows=rows,
            keys=keys,
            pairs=pairs,
            event_time=self.event_time,
            first=bounds.first,
            last=bounds.last,
            span=bounds.span,
            moments=None if bounds.moments is None else len(bounds.moments),
            columns=files,
            sums={p.name: file_sum(p) for p in sorted(self.folder.iterdir()) if p.is_file()},
        )

    def _types(self) -> dict[str, str]:
        described = self.connection.execute(f"DESCRIBE SELECT * FROM {self.relation}").fetchall()
        types = {str(row[0]): str(row[1]) for row in described}
        for key in self.keys:
            if types[key] not in _INTEGERS and types[key] != "VARCHAR":
                raise IndexUnusable(
                    f"key {key} is {types[key]}: only integer and text keys have an index"
                )
        if types[self.event_time] != _ZONED:
            raise IndexUnusable(
                f"{self.event_time} is {types[self.event_time]}: only moments have an index"
            )
        return types

    def _bounds(self) -> _Bounds:
        """How rows are numbered: by key and time, or by key and the time's rank where 64 bits are too few."""
        import numpy as np

        keys = ", ".join(quote(key) for key in self.keys)
        moment = f"epoch_us({quote(self.event_time)})"
        sql = (
            f"SELECT (SELECT count(*) FROM (SELECT DISTINCT {keys} FROM {self.relation})), "
            f"min({moment}), max({moment}), bool_and(isfinite({quote(self.event_time)})) FROM {self.relation}"
        )
        distinct, first, last, is_finite = only_row(self.connection, sql)
        if first is None:
            return _Bounds(0, 0, 2, None)
        if not is_finite:
            raise IndexUnusable(f"{self.event_time} is infinite in some rows")
        span = last - first + 2
        if (distinct + 1) * span < MOST:
            return _Bounds(first, last, span, None)
        ranked = self.connection.execute(
            f"SELECT DISTINCT {moment} AS moment FROM {self.relation} ORDER BY moment"
        ).fetchnumpy()["moment"]
        moments = np.ascontiguousarray(ranked, dtype=np.int64)
        moments.tofile(self.folder / "moments")
        return _Bounds(first, last, len(moments) + 1, moments)

    def _sorted(self, types: dict[str, str]) -> pa.RecordBatchReader:
        statistics = row_statistics(self.connection, self.relation, self.event_time)
        rows = self.relation
        if not statistics.is_disjoint:
            rows = f"({newest_rows_sql(self.relation, [*self.keys, self.event_time])})"
        given = {*self.keys, self.event_time, PUBLISHED_AT_COLUMN, SNAPSHOT_COLUMN}
        features = [name for name in types if name not in given and self._is_storable(name)]
        columns = ", ".join(
            [
                *(
                    quote(k) if types[k] == "VARCHAR" else f"{quote(k)}::BIGINT AS {quote(k)}"
                    for k in self.keys
                ),
                f"epoch_us({quote(self.event_time)}) AS {_TIME}",
                *(quote(name) for name in features),
            ]
        )
        where = " AND ".join(f"{quote(n)} IS NOT NULL" for n in [*self.keys, self.event_time])
        by = ", ".join([*(quote(key) for key in self.keys), _TIME])
        return self.connection.sql(
            f"SELECT {columns} FROM {rows} WHERE {where} ORDER BY {by}"
        ).to_arrow_reader(_BATCH_ROWS)

    def _is_storable(self, name: str) -> bool:
        sql = f"SELECT {quote(name)} FROM {self.relation} LIMIT 0"
        return is_storable(self.connection.sql(sql).to_arrow_table().schema.field(0).type)

    def _write_keys(
        self, tuples: list[pa.Array], kinds: Sequence[str]
    ) -> tuple[tuple[KeyColumn, ...], tuple[int, ...]]:
        """The distinct values of each key column and, of several columns, their combinations."""
        import numpy as np
        import pyarrow as pa
        import pyarrow.compute as pc

        columns, pairs = [], []
        combined = np.zeros(len(tuples[0]), np.int64)
        for position, (values, name, kind) in enumerate(zip(tuples, self.keys, kinds, strict=True)):
            distinct = values if len(tuples) == 1 else self._ordered(values)
            writer = ColumnWriter(self.folder, f"key{position}", distinct.type)
            writer.append(distinct)
            writer.close()
            columns.append(KeyColumn(name, kind, len(distinct)))
            own = np.asarray(pc.index_in(values, value_set=distinct).cast(pa.int64()))
            combined = combined * len(distinct) + own
            if position > 0:
                existing = np.unique(combined)
                existing.tofile(self.folder / f"pairs{position}")
                combined = np.searchsorted(existing, combined)
                pairs.append(len(existing))
        if not np.array_equal(combined, np.arange(len(combined))):
            raise IndexUnusable("its keys do not sort one after the other")
        return tuple(columns), tuple(pairs)

    def _ordered(self, values: pa.Array) -> pa.Array:
        import pyarrow as pa

        table = pa.table({"key": values})
        self.connection.register("featmill_keys", table)
        sql = "SELECT DISTINCT key FROM featmill_keys ORDER BY key"
        found = self.connection.sql(sql).to_arrow_table().column(0)
        self.connection.unregister("featmill_keys")
        return pa.concat_arrays(found.chunks) if found.num_chunks else pa.array([], values.type)


@dataclass(frozen=True, slots=True)
class _Bounds:
    """How times are numbered: `span` numbers per key from `first` on, or the ranks among `moments`."""

    first: int
    last: int
    span: int
    moments: np.ndarray[Any, Any] | None


class _Numbering:
    """Numbers rows that come sorted by key and time, and collects the distinct keys."""

    def __init__(self, key_columns: int, bounds: _Bounds) -> None:
        self._count = key_columns
        self._bounds = bounds
        self._keys = 0
        self._found: list[list[pa.Array]] = [[] for _ in range(key_columns)]
        self._last: list[pa.Scalar] | None = None

    def of(self, batch: pa.RecordBatch) -> np.ndarray[Any, Any]:
        """The rows' numbers; the key columns come first in the batch, then the time."""
        import numpy as np

        columns = [batch.column(position) for position in range(self._count)]
        times = np.asarray(batch.column(self._count))
        is_new = self._changes(columns)
        for found, column in zip(self._found, columns, strict=True):
            found.append(column.filter(is_new))
        key = self._keys - 1 + np.cumsum(is_new, dtype=np.int64)
        self._keys += int(is_new.sum())
        bounds = self._bounds
        ranks = bounds.moments
        at = times - bounds.first if ranks is None else np.searchsorted(ranks, times)
        return np.asarray(key * bounds.span + at, dtype=np.int64)

    def tuples(self, schema: pa.Schema) -> list[pa.Array]:
        """The distinct keys, column by column, in order."""
        import pyarrow as pa

        kinds = [schema.field(position).type for position in range(self._count)]
        return [
            pa.concat_arrays(parts) if parts else pa.array([], kind)
            for parts, kind in zip(self._found, kinds, strict=True)
        ]

    def _changes(self, columns: list[pa.Array]) -> np.ndarray[Any, Any]:
        """Where a row's key is not the one before's."""
        import numpy as np
        import pyarrow.compute as pc

        is_new = np.zeros(len(columns[0]), bool)
        for position, column in enumerate(columns):
            is_new[1:] |= np.asarray(pc.not_equal(column[1:], column[:-1]))
            if self._last is not None and len(is_new):
                is_new[0] |= column[0].as_py() != self._last[position].as_py()
        if len(is_new):
            is_new[0] |= self._last is None
            self._last = [column[len(column) - 1] for column in columns]
        return is_new
