"""Window cases through the window macros: every feature recomputed in full at each moment that the case asks for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from featmill.conformance.case import Case
from featmill.conformance.verdict import Answer, Broken, Inexpressible, Refused, Rows
from featmill.errors import FeatmillError
from featmill.training.templates import render
from featmill.warehouse.columns import literal, quote

if TYPE_CHECKING:
    import duckdb

#: The answer's last column: whether the table holds a row of the entity at that moment (rule 20).
STATUS = "status"
_ORDER_BY = "(event.event_at, event.ingested_at, event.event_id)"


class SqlWindows:
    """`featmill.windows` at each distinct moment of the spine, then the entity's row of it."""

    name = "sql"

    def answer(self, case: Case) -> Answer:
        """The values at each spine row; `missing` where the table has no row of the entity."""
        import duckdb

        if case.kind != "window":
            return Inexpressible(f"not a {case.kind}")
        with duckdb.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            try:
                return _evaluated(connection, case)
            except FeatmillError as error:
                return Refused(type(error).__name__, error.message)
            except duckdb.Error as error:
                return Broken(str(error))


def declared_features(case: Case) -> list[dict[str, Any]]:
    """The columns' `meta.feature`, each with its name and type, as the macros take them."""
    return [
        {**{k: v for k, v in feature.items() if k != "type"}, "data_type": feature["type"]}
        for feature in case.declaration["features"]
    ]


def feature_names(case: Case) -> list[str]:
    """The declared features' names, in order."""
    return [feature["name"] for feature in case.declaration["features"]]


def _evaluated(connection: duckdb.DuckDBPyConnection, case: Case) -> Rows:
    connection.execute(f"CREATE TABLE events AS {case.tables['events'].sql()}")
    connection.execute(
        f"CREATE TABLE spine AS SELECT row_number() OVER () - 1 AS spine_row, * FROM ({case.tables['spine'].sql()})"
    )
    names = feature_names(case)
    moments = connection.execute("SELECT DISTINCT t FROM spine ORDER BY t").fetchall()
    found: list[tuple[Any, ...]] = []
    for (moment,) in moments:
        found += connection.execute(_at_sql(case, f"TIMESTAMP '{moment}'")).fetchall()
    found.sort(key=lambda row: row[0])
    return Rows((*names, STATUS), [row[1:] for row in found], [row[0] for row in found])


def _at_sql(case: Case, as_of: str) -> str:
    """The spine rows of one moment with the row that a build at this moment gives their entity.

    What `featmill.windows` puts around its columns asks a running dbt; it is short and stands here again: one row per
    entity with an event before as_of that was ingested by the cut-off.
    """
    declared = case.declaration
    table = {name: declared[name] for name in ("hop", "delay") if name in declared}
    columns = [
        f"{render('_windowed_column', feature, table, 'event.event_at', as_of, _ORDER_BY)} AS {quote(feature['name'])}"
        for feature in declared_features(case)
    ]
    keys = ", ".join(quote(key) for key in declared["keys"])
    cut_off = declared.get("cut_off")
    known = "true" if cut_off is None else f"ingested_at <= {literal(cut_off)}::TIMESTAMP"
    values = [
        f"CASE WHEN is_there THEN {quote(feature['name'])} ELSE {render('_literal', feature.get('default'))} END"
        for feature in declared_features(case)
    ]
    return (
        f"WITH built AS (SELECT {keys}, {', '.join(columns)}, true AS is_there "
        f"FROM (SELECT * FROM events WHERE event_at < {as_of} AND {known}) AS event GROUP BY {keys}) "
        f"SELECT spine_row, {', '.join(values)}, CASE WHEN is_there THEN 'ok' ELSE 'missing' END "
        f"FROM (SELECT * FROM spine WHERE t = {as_of}) LEFT JOIN built USING ({keys})"
    )
