"""What a selection leaves out: how much of a table goes online, and how many reads find their entity there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from featmill.errors import UsageError
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
