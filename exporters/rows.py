"""The rows of a release as they stand online: one per entity, what a lookup at the release's as_of finds.

Rule 12 makes online and offline one: the newest row of an entity over the table's released snapshots up to the as_of,
if it is still within its ttl. Almost all of these are rows of the release's own snapshot, so it is read whole; of
earlier ones first only keys and times, then no more than the rows that serve.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from featmill.contract.types import OnlineKind
from featmill.errors import LakeError
from featmill.training.served import history, reach
from featmill.training.templates import feature_rows_sql
from featmill.warehouse.columns import literal, quote
from featmill.warehouse.lake import PUBLISHED_AT_COLUMN, SNAPSHOT_COLUMN, relation_sql
from featmill.warehouse.snapshot_log import SnapshotLog

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

    from exporters.selection import SelectionReport
    from featmill.contract.catalog import Feature, FeatureTable
    from featmill.warehouse.model import Snapshot

_BATCH_ROWS = 65_536
_MICROSECOND = timedelta(microseconds=1)

#: What DuckDB may hold of a sort or a join; the rest waits on disk. More threads would each want a share of it.
_MEMORY = "512MB"
_THREADS = 4

#: Numbers the working tables of all that reads on one connection.
_NUMBERS = itertools.count()


@contextmanager
def visible_rows(
    table: FeatureTable, snapshot: Snapshot, released: Sequence[Snapshot]
) -> Iterator[VisibleRows]:
    """What a lookup at the snapshot's as_of finds.

    Args:
        table: the feature table.
        snapshot: what the release holds of it.
        released: the table's released snapshots, of each as_of one; those after the snapshot's are left out.

    Raises:
        LakeError: a published file cannot be read, or the snapshot lacks a declared column.
    """
    import os

    import duckdb

    threads = min(_THREADS, os.cpu_count() or 1)
    with (
        tempfile.TemporaryDirectory(prefix="featmill-rows-") as scratch,
        duckdb.connect(
            config={"memory_limit": _MEMORY, "threads": threads, "temp_directory": scratch}
        ) as connection,
    ):
        yield VisibleRows(connection, table, snapshot, history(table, snapshot, released))


class VisibleRows:
    """The rows of one table that serve, as long as its connection is open.

    `count` is how many there are, `visible` how many there would be without the table's selection. `holds` names the
    snapshots they come from, `content` is a digest of all that decides what is
    written: where it is the same, so is every value online.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        table: FeatureTable,
        snapshot: Snapshot,
        history: Sequence[Snapshot],
    ) -> None:
        self.connection = connection
        number = next(_NUMBERS)
        self._earlier, self._gaps = f"_featmill_earlier_{number}", f"_featmill_gaps_{number}"
        self._selected, self._newest = f"_featmill_selected_{number}", f"_featmill_newest_{number}"
        self._table = table
        self._snapshot = snapshot
        self._history = history
        self._own = f"({relation_sql([snapshot])})"
        self._keys = ", ".join(quote(key) for key in table.key_names)
        self._time = quote(table.event_time)
        #: Rule 13: the greatest of these is the newest row.
        self._order = (self._time, PUBLISHED_AT_COLUMN, SNAPSHOT_COLUMN)
        self._columns = ", ".join(
            [self._keys, self._time, *(_stored(feature) for feature in table.features)]
        )
        with translated_reads(table):
            _check_declared(connection, table, snapshot)
            connection.execute("SET TimeZone = 'UTC'")
            self._find_newest()
            serving = self._find_earlier()
            self._serving = [s for s in history if s.snapshot_id in serving]
            rows, keys, earlier = self._counts()
            self._is_history = rows > keys
            has_gaps = self._find_gaps()
        self.visible = keys + earlier
        self.holds = tuple(s.snapshot_id for s in (*self._serving, snapshot))
        # A gap is filled from any snapshot in reach; any other value is of a row that serves.
        read = [*history, snapshot] if has_gaps else [*self._serving, snapshot]
        self._filled_from = read if has_gaps else []
        with translated_reads(table):
            self.count = self._select() if table.selection is not None else self.visible
        self.content = _content(table, read)

    def reader(self) -> pa.RecordBatchReader:
        """The rows in key order, streamed: keys, event time, features.

        Raises:
            LakeError: now or while it is read: a published file cannot be read.
        """
        return self.query(f"{self.sql()} ORDER BY {self._keys}")

    def sql(self) -> str:
        """The rows as they are stored online, for a query on `connection`: keys, event time, features."""
        rows = f"SELECT {self._columns} FROM {self._rows_sql()}"
        if self._table.selection is not None:
            rows = f"{rows} SEMI JOIN {self._selected} USING ({self._keys})"
        return rows

    def selection(self, requests: str | None = None) -> SelectionReport:
        """What the selection covers, and of the reads in `requests`: a Parquet or CSV file with the keys.

        Raises:
            UsageError: the file cannot be read or lacks a key.
        """
        from exporters.selection import measured

        cursor = self._cursor()
        if requests is not None:
            cursor.execute(
                f"CREATE OR REPLACE TEMP TABLE _featmill_entities AS "
                f"SELECT {self._keys} FROM {self._rows_sql()} WHERE {self._has_key_sql()}"
            )
        online = "_featmill_entities" if self._table.selection is None else self._selected
        return measured(cursor, self._table, online, (self.visible, self.count), requests)

    def vanished(self, before: Sequence[Snapshot]) -> pa.RecordBatchReader:
        """The keys that these snapshots have and that no visible row has, in order.

        Raises:
            LakeError: now or while it is read: a published file cannot be read.
        """
        # The lake may know none of them: it was started anew beside a store that was not.
        relation = f"({relation_sql(before)})" if before else self._own
        online = self._selected
        if self._table.selection is None:
            online = (
                f"(SELECT {self._keys} FROM {self._newest} WHERE _featmill_rows > 0 "
                f"UNION ALL SELECT {self._keys} FROM {self._earlier})"
            )
        return self.query(
            f"SELECT DISTINCT {self._keys} FROM (SELECT * FROM {relation} WHERE {self._has_key_sql()}) "
            f"ANTI JOIN {online} USING ({self._keys}) ORDER BY {self._keys}"
        )

    def _select(self) -> int:
        """Make the table of the keys of the entities that go online. Returns how many there are."""
        from exporters.selection import select

        rows = f"(SELECT *, {self._moment_sql()} AS as_of FROM {self._rows_sql()})"
        return select(self.connection, self._table, rows, self._selected)

    def _find_earlier(self) -> set[str]:
        """Make the table of the rows of earlier snapshots that serve. Returns the ids of those snapshots.

        An entity that the snapshot lacks is gone from its as_of on (rules 11 and 20). It may hold one with an older
        row than an earlier snapshot does, or with none that is visible.
        """
        history = relation_sql(self._history or [self._snapshot])
        own = f"_featmill_time, _featmill_published_at, {literal(self._snapshot.snapshot_id)}"
        self.connection.execute(
            f"CREATE TABLE {self._earlier} AS "
            f"SELECT {self._keys}, {self._time}, {SNAPSHOT_COLUMN} "
            f"FROM ({history}) AS history JOIN {self._newest} USING ({self._keys}) "
            f"WHERE {self._visible_sql() if self._history else 'false'} AND {self._has_key_sql()} "
            f"AND (_featmill_time IS NULL OR ({', '.join(self._order)}) > ({own})) {self._newest_only_sql(self._order)}"
        )
        held = f"SELECT DISTINCT {SNAPSHOT_COLUMN} FROM {self._earlier}"
        return {str(row[0]) for row in self.connection.execute(held).fetchall()}

    def _find_gaps(self) -> bool:
        """Make the table of the keys whose row has a NULL that an older row may fill. Returns whether there are any.

        Most have none, and for all the others history need not be read.
        """
        carried = [quote(feature.name) for feature in self._table.features if feature.ignore_nulls]
        if not carried:
            return False
        missing = " OR ".join(f"{name} IS NULL" for name in carried)
        self.connection.execute(
            f"CREATE TABLE {self._gaps} AS SELECT {self._keys} FROM ({self._serving_sql()}) "
            f"WHERE ({missing}) AND {self._has_key_sql()}"
        )
        return bool(self.connection.execute(f"SELECT 1 FROM {self._gaps} LIMIT 1").fetchall())

    def _counts(self) -> tuple[int, int, int]:
        """Visible rows and keys of the snapshot, and keys that only earlier ones have."""
        found = self.connection.execute(
            f"SELECT coalesce(sum(_featmill_rows), 0), count(*) FILTER (_featmill_rows > 0), "
            f"(SELECT count(*) FROM {self._earlier} "
            f"SEMI JOIN (FROM {self._newest} WHERE _featmill_rows = 0) USING ({self._keys})) FROM {self._newest}"
        ).fetchall()
        rows, keys, earlier = found[0]
        return int(rows), int(keys), int(earlier)

    def _find_newest(self) -> None:
        """Make the table of the snapshot's keys, each with what orders its newest visible row, and how many it has."""
        visible = f"FILTER ({self._visible_sql()})"
        self.connection.execute(
            f"CREATE TABLE {self._newest} AS SELECT {self._keys}, max({self._time}) {visible} AS _featmill_time, "
            f"count(*) {visible} AS _featmill_rows, max({PUBLISHED_AT_COLUMN}) {visible} AS _featmill_published_at "
            f"FROM {self._own} GROUP BY {self._keys}"
        )

    def _newest_only_sql(self, order: Sequence[str]) -> str:
        newest_first = ", ".join(f"{column} DESC" for column in order)
        return f"QUALIFY row_number() OVER (PARTITION BY {self._keys} ORDER BY {newest_first}) = 1"

    def _serving_sql(self) -> str:
        """The rows that serve, one per key, with NULLs as they are."""
        own = f"SELECT * FROM {self._own} WHERE {self._visible_sql()}"
        if self._is_history:
            own = f"{own} {self._newest_only_sql(self._order)}"
        if not self._serving:
            return own
        return (
            f"SELECT * FROM ({own}) ANTI JOIN {self._earlier} USING ({self._keys}) UNION ALL BY NAME "
            f"SELECT * FROM ({relation_sql(self._serving)}) "
            f"SEMI JOIN {self._earlier} USING ({self._keys}, {self._time}, {SNAPSHOT_COLUMN})"
        )

    def _rows_sql(self) -> str:
        """The rows that serve, with what rule 14 carries."""
        if not self._filled_from:
            return f"({self._serving_sql()})"
        within_reach = (
            f"SELECT * FROM ({relation_sql(self._filled_from)}) SEMI JOIN {self._gaps} USING ({self._keys}) "
            f"WHERE {self._visible_sql(reach(self._table))}"
        )
        columns = ", ".join(
            [self._keys, self._time, *(quote(feature.name) for feature in self._table.features)]
        )
        return (
            f"(SELECT {columns} FROM ({self._serving_sql()}) ANTI JOIN {self._gaps} USING ({self._keys}) "
            f"UNION ALL SELECT {columns} FROM ({_feature_rows_sql(self._table, f'({within_reach})')}) "
            f"WHERE {self._visible_sql()} {self._newest_only_sql([self._time])})"
        )

    def _visible_sql(self, within: timedelta | None = None) -> str:
        """Rule 12 at the as_of; `within` instead of the ttl looks further back."""
        moment = self._moment_sql()
        within = within if within is not None else self._table.ttl
        begun = f"{self._time} <= {moment}"
        if within is None:
            return begun
        return f"{begun} AND {self._time} > {moment} - to_microseconds({within // _MICROSECOND})"

    def _moment_sql(self) -> str:
        return f"TIMESTAMPTZ {literal(self._snapshot.as_of.isoformat(sep=' '))}"

    def _has_key_sql(self) -> str:
        """No lookup finds a NULL key, and none is online."""
        return " AND ".join(f"{quote(key)} IS NOT NULL" for key in self._table.key_names)

    def _cursor(self) -> duckdb.DuckDBPyConnection:
        """A connection of its own for each result: another query on the same one would end its stream."""
        cursor = self.connection.cursor()
        cursor.execute("SET TimeZone = 'UTC'")
        return cursor

    def query(self, sql: str) -> pa.RecordBatchReader:
        """What a query over `sql()` answers, streamed.

        Raises:
            LakeError: now or while it is read: a published file cannot be read.
        """
        import pyarrow as pa

        with translated_reads(self._table):
            reader = self._cursor().sql(sql).to_arrow_reader(_BATCH_ROWS)
        return pa.RecordBatchReader.from_batches(reader.schema, _batches(self._table, reader))


def _check_declared(
    cursor: duckdb.DuckDBPyConnection, table: FeatureTable, snapshot: Snapshot
) -> None:
    """Refuse a snapshot from before a column was declared: its values are not known.

    Raises:
        LakeError: the message names table, columns and snapshot.
    """
    described = cursor.execute(f"DESCRIBE {relation_sql([snapshot])}").fetchall()
    has = {str(row[0]).lower() for row in described}
    declared = (*table.key_names, table.event_time, *(feature.name for feature in table.features))
    missing = [name for name in declared if name.lower() not in has]
    if missing:
        raise LakeError(
            f"{table.name} declares {', '.join(missing)}, which its snapshot {snapshot.snapshot_id} does not have",
            hint="the snapshot is older than the declaration: build again",
        )


def _stored(feature: Feature) -> str:
    """A moment that is declared `online_type: int64` is stored as microseconds since 1970."""
    name = quote(feature.name)
    is_moment = feature.type.sql.startswith("TIMESTAMP")
    if is_moment and feature.type.kind is OnlineKind.INT64:
        return f"epoch_us({name}) AS {name}"
    return name


def _feature_rows_sql(table: FeatureTable, relation: str) -> str:
    return feature_rows_sql(
        {
            "relation": relation,
            "keys": list(table.key_names),
            "event_time": table.event_time,
            "ttl_us": None if table.ttl is None else table.ttl // _MICROSECOND,
            "features": [
                {"name": feature.name, "ignore_nulls": feature.ignore_nulls}
                for feature in table.features
            ],
        }
    )


def _content(table: FeatureTable, read: Sequence[Snapshot]) -> str:
    said: dict[str, object] = {
        "snapshots": [s.snapshot_id for s in read],
        "keys": [[key.name, key.type.sql, key.type.kind] for key in table.join_keys],
        "event_time": table.event_time,
        "ttl_us": None if table.ttl is None else table.ttl // _MICROSECOND,
        "features": [
            [f.name, f.type.sql, f.type.kind, f.type.is_list, f.ignore_nulls]
            for f in table.features
        ],
    }
    erased = SnapshotLog.of(Path(read[-1].location)).erased
    if here := {s.snapshot_id: erased[s.snapshot_id] for s in read if s.snapshot_id in erased}:
        said["erased"] = here
    if table.selection is not None:
        said["selection"] = table.selection.model_dump()
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def _batches(table: FeatureTable, reader: pa.RecordBatchReader) -> Iterator[pa.RecordBatch]:
    with translated_reads(table):
        yield from reader


@contextmanager
def translated_reads(table: FeatureTable) -> Iterator[None]:
    """Turn what DuckDB and Arrow raise inside the block into featmill's error."""
    import duckdb
    import pyarrow as pa

    try:
        yield
    except (duckdb.Error, pa.ArrowException, OSError) as error:
        raise LakeError(
            f"the published rows of {table.name} cannot be read: {error}",
            hint="a file of the lake is missing or damaged: restore it; what is online stays",
        ) from error
