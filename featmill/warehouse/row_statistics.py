"""What the rows of a feature table look like, from one cheap pass over two columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from featmill.warehouse.columns import quote
from featmill.warehouse.lake import PUBLISHED_AT_COLUMN, SNAPSHOT_COLUMN

if TYPE_CHECKING:
    import duckdb


@dataclass(frozen=True, slots=True)
class SnapshotRows:
    """A snapshot's rows: how many, and their earliest and latest event time in microseconds since the epoch."""

    snapshot_id: str
    rows: int
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class RowStatistics:
    """A table's rows by snapshot, earliest first."""

    snapshots: tuple[SnapshotRows, ...]

    @property
    def rows(self) -> int:
        """How many rows there are."""
        return sum(s.rows for s in self.snapshots)

    @property
    def is_disjoint(self) -> bool:
        """Whether no two snapshots share an event time, nor interleave.

        The gate lets a snapshot hold one row per key and time; so where this holds, rule 13 has nothing to settle.
        """
        return all(
            a.last < b.first for a, b in zip(self.snapshots, self.snapshots[1:], strict=False)
        )

    @property
    def is_dense(self) -> bool:
        """Whether each snapshot has one event time, its own: its as_of, say."""
        return self.is_disjoint and all(s.first == s.last for s in self.snapshots)


def row_statistics(
    connection: duckdb.DuckDBPyConnection, relation: str, event_time: str
) -> RowStatistics:
    """Count the rows of a relation by snapshot. Rows without a time are nobody's."""
    time = quote(event_time)
    found = connection.execute(
        f"SELECT {SNAPSHOT_COLUMN}, count(*), epoch_us(min({time})::TIMESTAMPTZ), "
        f"epoch_us(max({time})::TIMESTAMPTZ) FROM {relation} WHERE {time} IS NOT NULL GROUP BY ALL ORDER BY 3, 4, 1"
    ).fetchall()
    return RowStatistics(
        tuple(SnapshotRows(str(r[0]), int(r[1]), int(r[2]), int(r[3])) for r in found)
    )


def newest_rows_sql(relation: str, key_and_time: Sequence[str]) -> str:
    """One row per key and time: of ties the later published, then the higher snapshot id (rule 13)."""
    by = ", ".join(quote(name) for name in key_and_time)
    return (
        f"SELECT * FROM {relation} QUALIFY row_number() OVER (PARTITION BY {by} "
        f"ORDER BY {PUBLISHED_AT_COLUMN} DESC, {SNAPSHOT_COLUMN} DESC) = 1"
    )
