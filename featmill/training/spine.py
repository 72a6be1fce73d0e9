"""The spine: the rows a training set is made for, checked before anything is built (rules 1, 15 and 16)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from featmill.contract.types import FeatureType, OnlineKind
from featmill.errors import SpineError
from featmill.training.spine_source import file_spine, open_source
from featmill.warehouse.columns import literal, quote

if TYPE_CHECKING:
    from collections.abc import Mapping

    import duckdb

#: The column that carries each row's moment to the join; never part of the answer.
MOMENT = "_featmill_moment"

_OURS = "_featmill_"

_INTEGERS = frozenset(
    {
        "TINYINT",
        "SMALLINT",
        "INTEGER",
        "BIGINT",
        "UTINYINT",
        "USMALLINT",
        "UINTEGER",
        "UBIGINT",
        "HUGEINT",
    }
)

_NANOSECONDS = "TIMESTAMPTZ_NS"

_NAIVE = frozenset({"TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS", "DATE"})


@dataclass(frozen=True, slots=True)
class Spine:
    """A spine as SQL: its own columns as given, and `MOMENT`, its time as a UTC TIMESTAMPTZ.

    `name` is what messages call it; `columns` are name -> DuckDB type, as given; `source` is what it is read from, as
    SQL that stands after FROM.
    """

    name: str
    time: str
    columns: Mapping[str, str]
    sql: str
    source: str


@dataclass(frozen=True, slots=True)
class SpineColumns:
    """What a spine must have: a time, in `zone` where the column has none, and the join keys by contract type."""

    time: str
    keys: Mapping[str, FeatureType]
    zone: str | None = None


def read_spine(
    connection: duckdb.DuckDBPyConnection,
    path: Path,
    time: str,
    keys: Mapping[str, FeatureType],
    zone: str | None = None,
) -> Spine:
    """Open a Parquet or CSV spine and check it; as `check_spine`."""
    source = open_source(connection, file_spine(path), path.parent)
    return check_spine(connection, str(path), source, SpineColumns(time, keys, zone))


def check_spine(
    connection: duckdb.DuckDBPyConnection, name: str, source: str, wanted: SpineColumns
) -> Spine:
    """Check a spine before anything is built.

    Args:
        connection: where it will be read.
        name: what messages call it.
        source: its relation, as SQL that stands after FROM.
        wanted: its time and its keys.

    Raises:
        SpineError: it cannot be read, has no such column or zone, a column of a name of ours, a naive time without a
            zone, a key of another kind, or NULLs.
    """
    import duckdb

    try:
        described = connection.execute(f"DESCRIBE SELECT * FROM {source}").fetchall()
    except duckdb.Error as error:
        raise SpineError(f"{name} cannot be read: {error}") from error
    columns = {str(row[0]): str(row[1]) for row in described}
    _check_columns(name, columns, wanted.time, wanted.keys)
    if wanted.zone is not None:
        _check_zone(connection, wanted.zone)
    check_time(connection, name, source, columns[wanted.time], wanted)
    moment = moment_sql(wanted.time, columns[wanted.time], wanted.zone)
    sql = f"SELECT *, {moment} AS {MOMENT} FROM {source}"
    spine = Spine(name, wanted.time, columns, sql, source)
    _check_nulls(connection, spine, list(wanted.keys))
    return spine


def _check_columns(
    path: str, columns: Mapping[str, str], time: str, keys: Mapping[str, FeatureType]
) -> None:
    has = ", ".join(f"{name} {kind}" for name, kind in columns.items())
    ours = [name for name in columns if name.lower().startswith(_OURS)]
    if ours:
        raise SpineError(
            f"{path} has a column {', '.join(ours)}",
            hint=f"names that begin with {_OURS} are featmill's own: rename it in the spine",
        )
    missing = [name for name in [time, *keys] if name not in columns]
    if missing:
        raise SpineError(f"{path} has no column {', '.join(missing)}", hint=f"it has: {has}")
    for name, declared in keys.items():
        if _family(columns[name]) != key_family(declared):
            raise SpineError(
                f"{path}: key {name} is {columns[name]}, the contract says {declared.sql}",
                hint="cast it in the spine; a key is never converted in silence (rule 16)",
            )


def _family(duckdb_type: str) -> str:
    if duckdb_type in _INTEGERS:
        return "integer"
    return (
        "text"
        if duckdb_type in ("VARCHAR", "UUID") or duckdb_type.startswith("ENUM")
        else duckdb_type
    )


def key_family(declared: FeatureType) -> str:
    """The kinds of a key that compare without being converted: all integers, all texts, otherwise the type itself."""
    if declared.kind in (OnlineKind.INT32, OnlineKind.INT64):
        return "integer"
    return (
        "text"
        if declared.kind is OnlineKind.STRING
        else declared.sql.replace("TIMESTAMPTZ", "TIMESTAMP WITH TIME ZONE")
    )


def _check_zone(connection: duckdb.DuckDBPyConnection, zone: str) -> None:
    import duckdb

    try:
        connection.execute("SELECT timezone(?, TIMESTAMP '2000-01-01')", [zone]).fetchall()
    except duckdb.Error as error:
        raise SpineError(
            f"there is no zone {zone!r}", hint="give a name such as UTC or Europe/Berlin"
        ) from error


def moment_sql(time: str, kind: str, zone: str | None) -> str:
    """The SQL of a row's moment, from a time column of this type, in `zone` where it has none."""
    column = quote(time)
    if kind == _NANOSECONDS:
        return f"{column}::TIMESTAMPTZ"
    if kind not in _NAIVE or zone is None:
        return column
    return f"timezone({literal(zone)}, {column}::TIMESTAMP)"


def check_time(
    connection: duckdb.DuckDBPyConnection, name: str, source: str, kind: str, wanted: SpineColumns
) -> None:
    """Refuse a column that is no time, a naive one without a zone, or one between two microseconds (rule 1)."""
    if kind == "TIMESTAMP WITH TIME ZONE":
        return
    if kind == _NANOSECONDS:
        _check_microseconds(connection, name, source, wanted.time)
        return
    if kind not in _NAIVE:
        raise SpineError(
            f"{name}: time column {wanted.time} is {kind}; expected TIMESTAMP or TIMESTAMP WITH TIME ZONE"
        )
    if wanted.zone is None:
        rows = connection.execute(f"SELECT count(*) FROM {source}").fetchall()[0][0]
        raise SpineError(
            f"{name}: time column {wanted.time} is {kind}, without a zone (rule 1), in {rows:,} rows",
            hint="say which zone it is in, such as --zone UTC",
        )


def _check_microseconds(
    connection: duckdb.DuckDBPyConnection, name: str, source: str, time: str
) -> None:
    column = quote(time)
    finer = f"SELECT count(*) FROM {source} WHERE {column}::TIMESTAMPTZ <> {column}"
    rows = connection.execute(finer).fetchall()[0][0]
    if rows:
        raise SpineError(
            f"{name}: time column {time} has parts of a microsecond in {rows:,} rows (rule 1)",
            hint="round it in the spine: moments are compared to the microsecond",
        )


def _check_nulls(connection: duckdb.DuckDBPyConnection, spine: Spine, keys: list[str]) -> None:
    import duckdb

    columns = [spine.time, *keys]
    counts = ", ".join(f"count(*) FILTER (WHERE {quote(name)} IS NULL)" for name in columns)
    try:
        row = connection.execute(f"SELECT {counts} FROM ({spine.sql})").fetchall()[0]
    except duckdb.Error as error:
        raise SpineError(f"{spine.name} cannot be read: {error}") from error
    found = [f"{name} in {count:,} rows" for name, count in zip(columns, row, strict=True) if count]
    if found:
        raise SpineError(
            f"{spine.name} has NULLs in {', '.join(found)} (rule 15)",
            hint="a row without its time or key has no point in time: drop or mend it first",
        )
