"""Lookup cases through our own point-in-time SQL: the spine's checks, then the macro that training sets run."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from featmill.conformance.case import Case
from featmill.conformance.verdict import Answer, Broken, Inexpressible, Refused, Rows
from featmill.contract.types import parse_type
from featmill.errors import FeatmillError
from featmill.training.spine import MOMENT, read_spine
from featmill.training.templates import point_in_time_sql
from featmill.warehouse.columns import literal, quote

if TYPE_CHECKING:
    import duckdb

#: The feature table's name in every case, and the spine's column that numbers its rows.
VIEW = "view"
SPINE_ROW = "spine_row"
_STATUS = f"{VIEW}__status"


class SqlLookups:
    """`featmill train`'s own path, from the file of the spine to the answer."""

    name = "sql"

    def answer(self, case: Case) -> Answer:
        """The answer to a lookup case."""
        import duckdb

        if case.kind != "lookup":
            return Inexpressible(f"not a {case.kind}")
        with TemporaryDirectory(prefix="featmill-") as folder, duckdb.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            try:
                return _looked_up(connection, case, Path(folder))
            except FeatmillError as error:
                said = error.message if error.hint is None else f"{error.message} ({error.hint})"
                return Refused(type(error).__name__, said)
            except duckdb.Error as error:
                return Broken(str(error))


def declared_view(case: Case, relation: str) -> dict[str, Any]:
    """The macro's `view` of a lookup case's declaration, over this relation."""
    declared = case.declaration
    return {
        "name": VIEW,
        "relation": relation,
        "keys": list(declared["keys"]),
        "event_time": "feature_at",
        "ttl_us": declared.get("ttl_us"),
        "features": [
            {
                "name": feature["name"],
                "ignore_nulls": feature.get("ignore_nulls", False),
                "default_sql": _literal(feature.get("default")),
            }
            for feature in declared["features"]
        ],
    }


def numbered_spine_sql(case: Case) -> str:
    """The `SELECT` of a case's spine with `SPINE_ROW`, the number of each row."""
    given = case.tables["spine"].sql()
    return f"SELECT row_number() OVER () - 1 AS {SPINE_ROW}, * FROM ({given})"


def _looked_up(connection: duckdb.DuckDBPyConnection, case: Case, folder: Path) -> Rows:
    declared = case.declaration
    path = folder / "spine.parquet"
    connection.execute(f"COPY ({numbered_spine_sql(case)}) TO {literal(str(path))}")
    connection.execute(f"CREATE TABLE published AS {case.tables['rows'].sql()}")
    keys = {name: parse_type(kind) for name, kind in declared["keys"].items()}
    spine = read_spine(connection, path, declared["time"], keys, declared.get("zone"))
    view = declared_view(case, "published")
    sql = point_in_time_sql(spine.sql, MOMENT, [view], status=True, hidden=[MOMENT])
    names = [feature["name"] for feature in declared["features"]]
    wanted = [SPINE_ROW, *(f"{VIEW}__{name}" for name in names), _STATUS]
    picked = ", ".join(quote(name) for name in wanted)
    found = connection.execute(f"SELECT {picked} FROM ({sql})").fetchall()
    return Rows(
        columns=(*names, "status"),
        rows=[row[1:] for row in found],
        spine_rows=[row[0] for row in found],
    )


def _literal(value: object) -> str:
    """A declared default as SQL."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else literal(str(value))
