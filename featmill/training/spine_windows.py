"""Windows at the spine's own times, beside what a lookup finds: evaluated from the events, not from a snapshot.

A snapshot answers what batch serving would have answered at a row's time; the window as it is declared ends at that
time itself. Both are asked for: `--windows snapshot` and `--windows spine`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from featmill.errors import UsageError
from featmill.training.output import write_parquet
from featmill.training.spine import MOMENT
from featmill.training.windows_at import WindowsRequest, windows_at
from featmill.warehouse.columns import literal, quote
from featmill.warehouse.event_log import event_log_of
from featmill.warehouse.lake import relation_sql

if TYPE_CHECKING:
    import duckdb
    import pyarrow as pa

    from featmill.contract.catalog import Feature, FeatureTable
    from featmill.training.request import Recipe
    from featmill.training.spine import Spine
    from featmill.warehouse.model import Snapshot

_BATCH_ROWS = 65_536


@dataclass(frozen=True, slots=True)
class WindowsOf:
    """The windows of one table at the spine's times, kept as Parquet; `engine` made them, `why` says where from.

    `known_until` is the moment up to which the events are known, `stale` how many rows lie after it.
    """

    table: FeatureTable
    path: Path
    engine: str
    why: str
    known_until: datetime
    stale: int


def at_spine(recipe: Recipe, table: FeatureTable) -> tuple[Feature, ...]:
    """The features of a table that a recipe evaluates at the spine's times."""
    if recipe.windows != "spine":
        return ()
    return tuple(feature for feature in table.features if feature.window is not None)


def evaluate_windows(
    connection: duckdb.DuckDBPyConnection,
    recipe: Recipe,
    snapshots: Mapping[str, Sequence[Snapshot]],
    spine: Spine,
    scratch: Path,
) -> list[WindowsOf]:
    """Evaluate every window that is to be evaluated at the spine's times.

    The events are those of the snapshot read that was learnt last (a correction of an older as_of may be it), up to its
    cut-off: what was learnt later is no part of it. After that, and after the newest as_of, a window is `stale`.

    Raises:
        UsageError: a table has windows and keeps no events.
        LakeError: its event log cannot be read.
    """
    found = []
    for number, table in enumerate(recipe.tables):
        features = at_spine(recipe, table)
        if not features:
            continue
        read = snapshots[table.name]
        log = event_log_of(_learnt_last(read))
        if log is None:
            raise UsageError(
                f"{table.name} keeps no events, so its windows cannot be evaluated at the spine's times",
                hint="declare keep_events: true under its meta.feature_table and build, or use --windows snapshot",
            )
        request = WindowsRequest(
            table.name,
            spine.sql,
            MOMENT,
            table.key_names,
            log,
            features,
            status=True,
            entities=_entities(table, read),
        )
        windows = windows_at(connection, request)
        path = scratch / f"windows_{number}.parquet"
        # Kept, since the connection streams one result at a time.
        write_parquet(windows.reader(), path)
        # A snapshot says at its as_of that it is whole, also where the last event was learnt some time before.
        until = max(log.cut_off, *(snapshot.as_of for snapshot in read))
        path, stale = _marked_stale(connection, spine, f"{table.name}__status", (path, until))
        found.append(WindowsOf(table, path, windows.engine, windows.why, until, stale))
    return found


def _learnt_last(snapshots: Sequence[Snapshot]) -> Snapshot:
    return max(snapshots, key=lambda snapshot: (snapshot.cut_off, snapshot.published_at))


def _marked_stale(
    connection: duckdb.DuckDBPyConnection, spine: Spine, status: str, staged: tuple[Path, datetime]
) -> tuple[Path, int]:
    """The staged windows with `stale` for `ok` (rule 18) in the spine's rows after a moment, and how many such rows.

    What happened between that moment and the row's is not known, so its 0 is none that was counted.
    """
    path, until = staged
    is_after = f"{quote(MOMENT)} > TIMESTAMPTZ {literal(until.isoformat(sep=' '))}"
    rows = connection.execute(
        f"SELECT count(*) FROM ({spine.sql}) AS asked WHERE {is_after}"
    ).fetchall()
    stale = int(rows[0][0])
    if not stale:
        return path, 0
    column = quote(status)
    sql = (
        f"SELECT staged.* REPLACE (CASE WHEN {column} = 'ok' AND is_after THEN 'stale' ELSE {column} END AS {column}) "
        f"FROM read_parquet({literal(str(path))}) AS staged "
        f"POSITIONAL JOIN (SELECT {is_after} AS is_after FROM ({spine.sql}) AS asked) AS asked"
    )
    marked = path.with_name(f"{path.stem}_marked.parquet")
    write_parquet(connection.sql(sql).to_arrow_reader(_BATCH_ROWS), marked)
    return marked, stale


def _entities(table: FeatureTable, snapshots: Sequence[Snapshot]) -> str:
    """The entities that the snapshots read know, also without an event (rule 20): each from its first row's time on."""
    keys = ", ".join(quote(key) for key in table.key_names)
    # A row is found from its very time on, an event only after it.
    first = f"make_timestamp(epoch_us(min({quote(table.event_time)})) - 1)"
    return f"SELECT {keys}, {first} AS known_at FROM ({relation_sql(snapshots)}) GROUP BY ALL"


def window_types(staged: Sequence[WindowsOf]) -> dict[str, pa.DataType]:
    """The type of each `view__feature` that is staged."""
    import pyarrow.parquet as pq

    found = {}
    for windows in staged:
        for field in pq.read_schema(windows.path):
            if field.name != f"{windows.table.name}__status":
                found[field.name] = field.type
    return found


class Beside:
    """Staged columns, given in step with the batches that they stand beside."""

    def __init__(self, staged: Sequence[WindowsOf]) -> None:
        self._staged = staged
        self._rows = [_rows_of(windows.path) for windows in staged]

    def next(self, count: int) -> dict[str, pa.Array]:
        """The next `count` rows of every column: `view__feature`, and `view__` for the status of the windows."""
        found: dict[str, pa.Array] = {}
        for windows, rows in zip(self._staged, self._rows, strict=True):
            table = rows.take(count)
            status = f"{windows.table.name}__status"
            for name in table.schema.names:
                column = table.column(name).combine_chunks()
                found[f"{windows.table.name}__" if name == status else name] = column
        return found


class _Rows:
    """A Parquet file's rows, in portions of any size."""

    def __init__(self, batches: Iterator[pa.RecordBatch], empty: pa.Table) -> None:
        self._batches = batches
        self._left = empty

    def take(self, count: int) -> pa.Table:
        import pyarrow as pa

        parts, wanted = [self._left], count - self._left.num_rows
        while wanted > 0:
            batch = next(self._batches)
            parts.append(pa.Table.from_batches([batch]))
            wanted -= batch.num_rows
        table = pa.concat_tables(parts)
        self._left = table.slice(count)
        return table.slice(0, count)


def _rows_of(path: Path) -> _Rows:
    import pyarrow.parquet as pq

    file = pq.ParquetFile(path)
    return _Rows(file.iter_batches(), file.schema_arrow.empty_table())
