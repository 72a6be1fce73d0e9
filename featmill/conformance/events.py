"""Event cases through the macros that staging models use: what is refused and why, what stays of duplicates."""

from __future__ import annotations

from typing import TYPE_CHECKING

from featmill.conformance.case import Case
from featmill.conformance.verdict import Answer, Broken, Inexpressible, Rows
from featmill.training.templates import render

if TYPE_CHECKING:
    import duckdb

#: The answer's columns: one row for each event as it arrived, in that order.
COLUMNS = ("fate",)
_ACCEPTED, _DUPLICATE = "accepted", "duplicate"


class SqlEvents:
    """`featmill.refusal`, then `featmill.deduplicated`."""

    name = "sql"

    def answer(self, case: Case) -> Answer:
        """The fate of each event: `accepted`, `duplicate`, or why it is refused."""
        import duckdb

        if case.kind != "event":
            return Inexpressible(f"not an {case.kind}")
        with duckdb.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            try:
                return Rows(COLUMNS, _fates(connection, case))
            except duckdb.Error as error:
                return Broken(str(error))


def _fates(connection: duckdb.DuckDBPyConnection, case: Case) -> list[tuple[str, ...]]:
    declared = case.declaration
    refusal = render(
        "refusal",
        keys=list(declared["keys"]),
        **({"allowed_skew": declared["allowed_skew"]} if "allowed_skew" in declared else {}),
    )
    given = case.tables["events"].sql()
    connection.execute(
        f"CREATE TABLE judged AS SELECT row_number() OVER () AS arrived, *, {refusal} AS refused_because FROM ({given})"
    )
    connection.execute("CREATE VIEW accepted AS SELECT * FROM judged WHERE refused_because IS NULL")
    kept = render("deduplicated", "accepted")
    return connection.execute(
        f"SELECT CASE WHEN refused_because IS NOT NULL THEN refused_because "
        f"WHEN arrived IN (SELECT arrived FROM ({kept})) THEN '{_ACCEPTED}' ELSE '{_DUPLICATE}' END "
        "FROM judged ORDER BY arrived"
    ).fetchall()
