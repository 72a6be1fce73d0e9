"""Copies of source tables of which every row after a moment is altered, shuffled or deleted, made set by set."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from featmill.errors import SourceError
from featmill.leakage.static import columns_of
from featmill.warehouse.columns import literal, quote
from featmill.warehouse.identity import only_row
from featmill.warehouse.source_files import source_sql

if TYPE_CHECKING:
    import duckdb

    from featmill.leakage.project import SourceTable


class Mode(StrEnum):
    """Which rows are after the moment: those that happened then, or those that were learnt of then (rule 12)."""

    EVENT = "event"
    SERVED = "served"


class Alteration(StrEnum):
    """What becomes of the rows after the moment."""

    NONE = "as they are"
    ALTERED = "altered"
    SHUFFLED = "shuffled"
    DELETED = "deleted"


_POSITION = "_featmill_position"
_IS_AFTER = "_featmill_is_after"
_NUMBERS = re.compile(r"(U?(TINY|SMALL|BIG|HUGE)INT|U?INTEGER|FLOAT|DOUBLE|DECIMAL.*)")
_MOMENTS = re.compile(r"(DATE|TIMESTAMP.*)")
#: featmill_source('folder', 'name')
_RELATION = re.compile(r"featmill_source\('((?:[^']|'')*)',\s*'((?:[^']|'')*)'\)")


@dataclass(frozen=True, slots=True)
class Alterable:
    """A source table whose rows can be altered: the SQL that reads it and what tells when a row is.

    `columns` are name -> DuckDB type.
    """

    name: str
    identifier: str
    sql: str
    columns: Mapping[str, str]
    event_at: str | None
    loaded_at: str | None

    def moment(self, mode: Mode) -> str | None:
        """The SQL of a row's moment in this mode as TIMESTAMPTZ, None where the source does not declare it.

        A text that is no moment is NULL: such a row is not after anything.
        """
        declared = self.event_at if mode is Mode.EVENT else self.loaded_at
        return None if declared is None else f"try_cast({declared} AS TIMESTAMPTZ)"

    def is_after(self, mode: Mode, at: datetime) -> str | None:
        """The SQL condition of rows after `at`; None where the source cannot tell.

        An event at exactly `at` is outside every window at `at` (rule 4), so it counts as after; a row ingested at
        exactly the cut-off is read (rule 9), so it does not.
        """
        moment = self.moment(mode)
        if moment is None:
            return None
        sign = ">=" if mode is Mode.EVENT else ">"
        return f"coalesce({moment} {sign} TIMESTAMPTZ {literal(at.isoformat())}, false)"


def alterable(
    connection: duckdb.DuckDBPyConnection, source: SourceTable, folder: str, original: Path
) -> Alterable | None:
    """The source as a table that can be altered; None where dbt does not read it from `folder` (FEATMILL_SOURCES).

    Its rows are those of its file below `original`.

    Raises:
        SourceError: its file is missing or cannot be read.
    """
    import duckdb

    call = _RELATION.fullmatch(source.relation.strip())
    if call is None or call[1].replace("''", "'") != folder:
        return None
    sql = source_sql(str(original), source.identifier)
    try:
        described = connection.execute(f"DESCRIBE {sql}").fetchall()
    except duckdb.Error as error:
        raise SourceError(f"source {source.name} cannot be read: {error}") from error
    columns = {str(row[0]): str(row[1]) for row in described}
    return Alterable(
        source.name, source.identifier, sql, columns, source.event_at, source.loaded_at
    )


def write_altered(
    connection: duckdb.DuckDBPyConnection,
    table: Alterable,
    is_after: str | None,
    alteration: Alteration,
    folder: Path,
) -> int:
    """Write the source with its rows after the moment altered to `<folder>/<name>.parquet`; how many there were."""
    numbered = f"SELECT *, row_number() OVER () AS {_POSITION} FROM ({table.sql})"
    after = "false" if is_after is None else is_after
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE given AS SELECT *, {after} AS {_IS_AFTER} FROM ({numbered})"
    )
    rows = only_row(connection, f"SELECT count(*) FILTER (WHERE {_IS_AFTER}) FROM given")[0]
    written = {
        Alteration.NONE: "SELECT * FROM given",
        Alteration.DELETED: f"SELECT * FROM given WHERE NOT {_IS_AFTER}",
        Alteration.ALTERED: _altered_sql(table),
        Alteration.SHUFFLED: _shuffled_sql(table),
    }[alteration]
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{table.identifier}.parquet"
    beside = folder / f".{table.identifier}.{uuid4().hex}"
    connection.execute(
        f"COPY (SELECT * EXCLUDE ({_POSITION}, {_IS_AFTER}) FROM ({written}) ORDER BY {_POSITION}) "
        f"TO {literal(str(beside))} (FORMAT parquet)"
    )
    beside.replace(target)
    return int(rows)


def _payload(table: Alterable) -> list[str]:
    """The columns that may change: a row after the moment stays one, so what tells its moments stays."""
    kept = columns_of(table.event_at) | columns_of(table.loaded_at)
    return [name for name in table.columns if name.lower() not in kept]


def _altered_sql(table: Alterable) -> str:
    """Every value of the payload another, except NULL; texts in every second row only.

    A text may be a kind without which staging refuses the row: half of the rows keep theirs, so that their numbers
    arrive.
    """
    changed = [
        f"CASE WHEN {_IS_AFTER} THEN {_other(quote(name), table.columns[name])} ELSE {quote(name)} END AS {quote(name)}"
        for name in _payload(table)
    ]
    return (
        f"SELECT * REPLACE ({', '.join(changed)}) FROM given" if changed else "SELECT * FROM given"
    )


def _other(column: str, kind: str) -> str:
    if _NUMBERS.fullmatch(kind):
        return f"coalesce(try_cast({column} * 2 + 7 AS {kind}), {column} - 1)"
    if kind == "BOOLEAN":
        return f"NOT {column}"
    if _MOMENTS.fullmatch(kind):
        return f"CAST({column} + INTERVAL 1 DAY AS {kind})"
    if kind == "VARCHAR":
        # A CSV's numbers are texts.
        number = f"CAST(try_cast({column} AS DECIMAL(30, 6)) AS VARCHAR)"
        doubled = (
            f"rtrim(rtrim(CAST(try_cast({column} AS DECIMAL(30, 6)) * 2 + 7 AS VARCHAR), '0'), '.')"
        )
        other = f"CASE WHEN {_POSITION} % 2 = 0 THEN {column} || '~' ELSE {column} END"
        moment = f"try_cast({column} AS TIMESTAMP)"
        return (
            f"CASE WHEN {number} IS NOT NULL THEN {doubled} "
            f"WHEN {moment} IS NOT NULL THEN {_a_day_later(column, moment)} ELSE {other} END"
        )
    return column


def _a_day_later(column: str, moment: str) -> str:
    """A text that is a moment, a day later and zoned or not as it was: staging refuses what is none."""
    is_zoned = f"regexp_matches({column}, ':.*(Z|[+-][0-9]{{2}}(:?[0-9]{{2}})?)$')"
    zoned = f"timezone('UTC', try_cast({column} AS TIMESTAMPTZ))"
    return (
        f"CASE WHEN {is_zoned} THEN CAST({zoned} + INTERVAL 1 DAY AS VARCHAR) || 'Z' "
        f"ELSE CAST({moment} + INTERVAL 1 DAY AS VARCHAR) END"
    )


def _shuffled_sql(table: Alterable) -> str:
    """The rows after the moment with their payloads dealt out anew, the same way each time."""
    names = ", ".join(quote(name) for name in _payload(table))
    if not names:
        return "SELECT * FROM given"
    places = (
        f"SELECT *, row_number() OVER (ORDER BY {_POSITION}) AS place FROM given WHERE {_IS_AFTER}"
    )
    dealt = (
        f"SELECT {names}, row_number() OVER (ORDER BY hash({_POSITION}, 'dealt'), {_POSITION}) AS place "
        f"FROM given WHERE {_IS_AFTER}"
    )
    columns = ", ".join(
        f"{'dealt' if name in _payload(table) else 'places'}.{quote(name)}"
        for name in table.columns
    )
    return (
        f"SELECT {columns}, places.{_POSITION}, places.{_IS_AFTER} FROM ({places}) AS places "
        f"JOIN ({dealt}) AS dealt USING (place) UNION ALL BY NAME SELECT * FROM given WHERE NOT {_IS_AFTER}"
    )
