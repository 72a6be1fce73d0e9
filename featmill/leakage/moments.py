"""The moment a proof is made at, and the newest row the sources hold."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from featmill.errors import SourceError
from featmill.leakage.alter import Alterable, Mode
from featmill.warehouse.identity import only_row

if TYPE_CHECKING:
    from collections.abc import Sequence

    import duckdb

#: Where the default moment lies among the events: enough before it to compute from, enough after it to alter.
_SHARE_BEFORE = 0.75


def default_moment(connection: duckdb.DuckDBPyConnection, tables: Sequence[Alterable]) -> datetime:
    """The UTC midnight before three quarters of the sources' events, but after the first of them.

    Raises:
        SourceError: no source declares when its rows happened or were loaded, or none has a row with it.
    """
    moments = _moments_sql(tables, Mode.EVENT) or _moments_sql(tables, Mode.SERVED)
    if moments is not None:
        found = only_row(
            connection,
            f"SELECT greatest(date_trunc('day', quantile_disc(moment, {_SHARE_BEFORE}) AT TIME ZONE 'UTC'), "
            "date_trunc('day', min(moment) AT TIME ZONE 'UTC') + INTERVAL 1 DAY)::TIMESTAMP "
            f"FROM ({moments}) WHERE moment IS NOT NULL",
        )[0]
        if found is not None:
            return datetime.fromisoformat(str(found)).replace(tzinfo=UTC)
    raise SourceError(
        "no source of these feature tables has a row with a moment",
        hint="declare event_time and loaded_at_field on the sources, or give --at",
    )


def newest_loaded(
    connection: duckdb.DuckDBPyConnection, tables: Sequence[Alterable]
) -> datetime | None:
    """The newest moment that a row was loaded at; None where no source declares it."""
    moments = _moments_sql(tables, Mode.SERVED)
    if moments is None:
        return None
    newest = only_row(connection, f"SELECT max(moment) FROM ({moments})")[0]
    return None if newest is None else newest.astimezone(UTC)


def oldest_loaded(
    connection: duckdb.DuckDBPyConnection, tables: Sequence[Alterable]
) -> datetime | None:
    """The oldest moment that a row was loaded at; None where no source declares it."""
    moments = _moments_sql(tables, Mode.SERVED)
    if moments is None:
        return None
    oldest = only_row(connection, f"SELECT min(moment) FROM ({moments})")[0]
    return None if oldest is None else oldest.astimezone(UTC)


def _moments_sql(tables: Sequence[Alterable], mode: Mode) -> str | None:
    parts = [
        f"SELECT {moment} AS moment FROM ({table.sql})"
        for table in tables
        if (moment := table.moment(mode)) is not None
    ]
    return " UNION ALL ".join(parts) or None
