"""The rows that historical features are asked for: a DataFrame, a query, or every key and time that a view has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from featmill.errors import SpineError, UsageError
from featmill.training.spine_source import open_source, sql_spine
from featmill.warehouse.columns import literal, quote

if TYPE_CHECKING:
    import duckdb
    import pandas as pd

#: What Feast calls the time, unless there is another column that only can be it.
TIME = "event_timestamp"


@dataclass(frozen=True, slots=True)
class EntityRows:
    """The rows as they were given, in order, and their time column. `sql` is the query that gives them, if one did."""

    rows: pa.Table
    time: str
    sql: str | None = None

    @property
    def bounds(self) -> tuple[datetime | None, datetime | None]:
        """The earliest and the latest time; None of no rows."""
        import pyarrow.compute as pc

        found = pc.min_max(self.rows.column(self.time).cast(pa.timestamp("us"), safe=False))
        return found["min"].as_py(), found["max"].as_py()


def frame_rows(frame: pd.DataFrame) -> EntityRows:
    """A DataFrame's rows.

    Raises:
        SpineError: a column holds values of more than one kind, or no column is the time.
    """
    try:
        rows = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata()
    except (pa.ArrowException, TypeError) as error:
        raise SpineError(
            f"the entity_df cannot be read: {error}", hint="give each column one type"
        ) from error
    return EntityRows(rows, _time_column(rows))


def query_rows(connection: duckdb.DuckDBPyConnection, sql: str, database: Path) -> EntityRows:
    """The rows of a SELECT over the views of the features database, or over files.

    Raises:
        SpineError: the query fails, or no column is the time.
    """
    with TemporaryDirectory(prefix="featmill-") as scratch:
        relation = open_source(connection, sql_spine(sql, database), Path(scratch))
        rows = connection.sql(f"SELECT * FROM {relation}").to_arrow_table()
    return EntityRows(rows, _time_column(rows), sql.strip().rstrip(";"))


def range_rows(
    connection: duckdb.DuckDBPyConnection,
    views: Sequence[tuple[Mapping[str, Any], Mapping[str, str]]],
    start: datetime,
    end: datetime,
) -> EntityRows:
    """Every key and time that the views have rows of, from `start` to `end`, in order of key and time.

    `views` are a view as the planner takes it, and which column each of its keys shall be called.

    Raises:
        UsageError: the views have different keys, so there are no rows of all of them.
    """
    keys = [tuple(sorted(called.values())) for _, called in views]
    if len(set(keys)) != 1:
        listed = "; ".join(dict.fromkeys(", ".join(key) for key in keys))
        raise UsageError(
            f"without an entity_df the views must have the same keys; they have: {listed}",
            hint="give an entity_df, or ask for the views one by one",
        )
    bounds = " AND ".join(
        f"moment {sign} TIMESTAMPTZ {literal(moment.isoformat(sep=' '))}"
        for sign, moment in ((">=", start), ("<=", end))
    )
    selects = [
        f"SELECT {', '.join(f'{quote(key)} AS {quote(name)}' for key, name in sorted(called.items()))}, "
        f"{quote(view['event_time'])} AS moment FROM {view['relation']}"
        for view, called in views
    ]
    columns = ", ".join(quote(name) for name in keys[0])
    sql = (
        f"SELECT DISTINCT {columns}, moment AS {TIME} FROM ({' UNION ALL BY NAME '.join(selects)}) "
        f"WHERE {bounds} ORDER BY {columns}, {TIME}"
    )
    return EntityRows(connection.sql(sql).to_arrow_table(), TIME, sql)


def _time_column(rows: pa.Table) -> str:
    """Feast's rule: `event_timestamp`, or the one column that is a timestamp."""
    if TIME in rows.column_names:
        return TIME
    moments = [field.name for field in rows.schema if pa.types.is_timestamp(field.type)]
    if len(moments) == 1:
        return str(moments[0])
    raise SpineError(
        f"the entity_df has no column {TIME}, and {len(moments)} other timestamps"
        f"{': ' if moments else ''}{', '.join(moments)}",
        hint=f"call the time of each row {TIME}",
    )
