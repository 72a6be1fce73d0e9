"""Lookup cases through our own paths: the spine's checks, then the point-in-time macro or an engine of the planner."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from featmill.conformance.case import Case
from featmill.conformance.verdict import Answer, Broken, Inexpressible, Refused, Rows
from featmill.contract.types import parse_type
from featmill.errors import FeatmillError, IndexUnusable, SpineError, UsageError
from featmill.training.spine import MOMENT, Spine, read_spine
from featmill.training.templates import point_in_time_sql, render
from featmill.warehouse.columns import literal, quote
from featmill.warehouse.model import Snapshot

if TYPE_CHECKING:
    import duckdb

#: The feature table's name in every case, and the spine's column that numbers its rows.
VIEW = "view"
SPINE_ROW = "spine_row"
_STATUS = f"{VIEW}__status"
_BATCH_ROWS = 65_536


class SqlLookups:
    """`featmill train`'s own path, from the file of the spine to the answer of the point-in-time macro."""

    name = "sql"

    def answer(self, case: Case) -> Answer:
        """The answer to a lookup case."""
        return answered(case, _by_macro)


class PlannedLookups:
    """The same path through one engine of the planner: `asof`, `equi`, `interval` or `indexed`."""

    def __init__(self, engine: str) -> None:
        self.name = engine

    def answer(self, case: Case) -> Answer:
        """The answer to a lookup case; what the engine cannot join has no words."""
        return answered(case, self._by_plan)

    def _by_plan(self, connection: duckdb.DuckDBPyConnection, case: Case, folder: Path) -> Rows:
        from featmill.training import planner
        from featmill.warehouse.row_index_writer import IndexSource, build_index

        spine = _opened(connection, case, folder)
        view = declared_view(case, "(SELECT * FROM published)")
        # The planner finds out for itself which entities are gone.
        view.pop("gone", None)
        view["snapshots"] = _snapshots(case, folder)
        if self.name == "indexed":
            sql = case.tables["rows"].sql()
            path = literal(str(folder / "rows.parquet"))
            connection.execute(f"COPY ({sql}) TO {path}")
            relation = f"SELECT * FROM read_parquet({path})"
            view["relation"] = f"({relation})"
            build_index(IndexSource(view["snapshots"], relation, tuple(view["keys"]), "feature_at"))
        join = planner.Join(spine.sql, MOMENT, [view], status=True, hidden=(MOMENT,))
        found = planner.plan(connection, join, engine=self.name).reader(_BATCH_ROWS).read_all()
        names, wanted = _columns(case)
        rows = list(zip(*(found.column(name).to_pylist() for name in wanted), strict=True))
        return Rows((*names, "status"), [row[1:] for row in rows], [row[0] for row in rows])


def answered(
    case: Case, look_up: Callable[[duckdb.DuckDBPyConnection, Case, Path], Rows]
) -> Answer:
    """What a way to look up answers to a case, in a connection and a folder of its own."""
    import duckdb

    if case.kind != "lookup":
        return Inexpressible(f"not a {case.kind}")
    with TemporaryDirectory(prefix="featmill-") as folder, duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        try:
            return look_up(connection, case, Path(folder))
        except (UsageError, IndexUnusable) as error:
            if isinstance(error, SpineError):
                return Refused(type(error).__name__, _said(error))
            return Inexpressible(error.message)
        except FeatmillError as error:
            return Refused(type(error).__name__, _said(error))
        except duckdb.Error as error:
            return Broken(str(error))


def _said(error: FeatmillError) -> str:
    return error.message if error.hint is None else f"{error.message} ({error.hint})"


def declared_view(case: Case, relation: str) -> dict[str, Any]:
    """The macro's `view` of a lookup case's declaration, over this relation."""
    declared = case.declaration
    view = {
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
    if "snapshots" in case.tables:
        # Which snapshots there are says which entities are gone (rule 11).
        # A case's snapshots are made in their order.
        listed = f"(SELECT *, as_of AS known FROM ({case.tables['snapshots'].sql()}))"
        said = {**view, "snapshots_sql": listed}
        view["gone"] = f"({render('absences_sql', said)})"
    return view


def numbered_spine_sql(case: Case) -> str:
    """The `SELECT` of a case's spine with `SPINE_ROW`, the number of each row."""
    given = case.tables["spine"].sql()
    return f"SELECT row_number() OVER () - 1 AS {SPINE_ROW}, * FROM ({given})"


def _opened(connection: duckdb.DuckDBPyConnection, case: Case, folder: Path) -> Spine:
    """The case's spine, through a file and every check; its rows are the table `published`."""
    declared = case.declaration
    path = folder / "spine.parquet"
    connection.execute(f"COPY ({numbered_spine_sql(case)}) TO {literal(str(path))}")
    connection.execute(f"CREATE TABLE published AS {case.tables['rows'].sql()}")
    keys = {name: parse_type(kind) for name, kind in declared["keys"].items()}
    return read_spine(connection, path, declared["time"], keys, declared.get("zone"))


def _by_macro(connection: duckdb.DuckDBPyConnection, case: Case, folder: Path) -> Rows:
    spine = _opened(connection, case, folder)
    view = declared_view(case, "published")
    sql = point_in_time_sql(spine.sql, MOMENT, [view], status=True, hidden=[MOMENT])
    names, wanted = _columns(case)
    picked = ", ".join(quote(name) for name in wanted)
    rows = connection.execute(f"SELECT {picked} FROM ({sql})").fetchall()
    return Rows((*names, "status"), [row[1:] for row in rows], [row[0] for row in rows])


def _columns(case: Case) -> tuple[list[str], list[str]]:
    """The features' names, and the columns that hold the answer: the spine row's number, the features, the status."""
    names = [feature["name"] for feature in case.declaration["features"]]
    return names, [SPINE_ROW, *(f"{VIEW}__{name}" for name in names), _STATUS]


def _snapshots(case: Case, folder: Path) -> list[Snapshot]:
    """The case's snapshots as released ones below `folder`, or one: the gate let no key be in one of them twice."""
    given = [(VIEW, "2026-06-01T00:00:00Z")]
    if "snapshots" in case.tables:
        given = [(row[0], row[1]) for row in case.tables["snapshots"].rows]
    return [
        Snapshot(
            table=VIEW,
            snapshot_id=snapshot_id,
            as_of=datetime.fromisoformat(as_of),
            cut_off=datetime.fromisoformat(as_of),
            published_at=datetime.fromisoformat(as_of),
            fingerprint="",
            sources=(),
            rows=0,
            content_hash="",
            location=str(folder / VIEW / "v1"),
            delta_version=0,
        )
        for snapshot_id, as_of in given
    ]


def _literal(value: object) -> str:
    """A declared default as SQL."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int | float) else literal(str(value))
