"""Which entities a selection chooses, how much of a table that is, and how many reads find their entity online."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from featmill.contract.catalog import OnlineSelection
from featmill.errors import ContractError, UsageError
from featmill.warehouse.columns import literal, quote

if TYPE_CHECKING:
    import duckdb

    from featmill.contract.catalog import FeatureTable


_TIMES = "coalesce(sum(_featmill_times), 0)"


@dataclass(frozen=True, slots=True)
class SelectionReport:
    """One table: `selected` of `visible` entities go online.

    Of `requests` reads, `known` ask for an entity that has a row at all, and `hits` for one that is selected; of the
    `asked` different entities `asked_hits` are selected. All four are None where no requests were given.
    """

    view: str
    visible: int
    selected: int
    requests: int | None = None
    known: int | None = None
    hits: int | None = None
    asked: int | None = None
    asked_hits: int | None = None

    @property
    def share(self) -> float:
        """The selected share of the visible entities; 1 where there are none."""
        return self.selected / self.visible if self.visible else 1.0

    @property
    def hit_rate(self) -> float | None:
        """The share of the reads of known entities that find one; an unknown one would be missing anyhow."""
        if self.hits is None or not self.known:
            return None
        return self.hits / self.known


def select(connection: duckdb.DuckDBPyConnection, table: FeatureTable, rows: str, into: str) -> int:
    """Make the table `into` of the keys of the `rows` that the table's selection chooses. Returns how many there are.

    Among equals by `by` the smallest keys go, so that the same snapshot selects the same entities again.

    Raises:
        ContractError: an expression cannot be computed, or fails for a row.
        duckdb.Error: the rows cannot be read.
    """
    import duckdb

    chosen = table.selection or OnlineSelection()
    keys = ", ".join(quote(key) for key in table.key_names)
    has_key = " AND ".join(f"{quote(key)} IS NOT NULL" for key in table.key_names)
    most = ""
    if chosen.top is not None:
        most = f"ORDER BY ({chosen.by}) DESC NULLS LAST, {keys} LIMIT {chosen.top}"
    try:
        connection.execute(
            f"CREATE TABLE {into} AS SELECT {keys} FROM {rows} "
            f"WHERE ({chosen.where or 'true'}) AND {has_key} {most}"
        )
    except duckdb.Error as error:
        # Where it is the rows that cannot be read, this cannot either, and says so.
        connection.execute(f"SELECT count(COLUMNS(*)) FROM {rows}").fetchall()
        raise ContractError(
            f"the selection of {table.name} cannot be computed: {error}",
            hint="selection.where is a condition over the published columns, selection.by a value of them; "
            "where one fails for some rows, say try_cast or leave them out",
        ) from error
    found = connection.execute(f"SELECT count(*) FROM {into}").fetchall()
    return int(found[0][0])


def measured(
    connection: duckdb.DuckDBPyConnection,
    table: FeatureTable,
    online: str,
    counts: tuple[int, int],
    requests: str | None,
) -> SelectionReport:
    """Count; the connection holds `_featmill_entities`, all visible keys, and `online`, those selected of them.

    `counts` are how many are visible and how many selected.

    Raises:
        UsageError: the file of requests cannot be read or lacks a key.
    """
    import duckdb

    visible, selected = counts
    if requests is None:
        return SelectionReport(table.name, visible, selected)
    keys = ", ".join(quote(key) for key in table.key_names)
    file = literal(requests)
    try:
        connection.execute(
            f"CREATE TEMP TABLE _featmill_asked AS "
            f"SELECT {keys}, count(*) AS _featmill_times FROM {file} GROUP BY ALL"
        )
        found = connection.execute(
            f"SELECT {_TIMES}, count(*), "
            f"(SELECT {_TIMES} FROM _featmill_asked SEMI JOIN _featmill_entities USING ({keys})), "
            f"(SELECT {_TIMES} FROM _featmill_asked SEMI JOIN {online} USING ({keys})), "
            f"(SELECT count(*) FROM _featmill_asked SEMI JOIN {online} USING ({keys})) "
            f"FROM _featmill_asked"
        ).fetchall()
    except duckdb.Error as error:
        raise UsageError(
            f"{requests} cannot be read as requests of {table.name}: {error}",
            hint=f"a Parquet or CSV file with the columns {', '.join(table.key_names)}",
        ) from error
    total, asked, known, hits, asked_hits = (int(number) for number in found[0])
    return SelectionReport(table.name, visible, selected, total, known, hits, asked, asked_hits)
