"""SQL that is written in yml and computed from one row: what of it can be told wrong without running it.

Such an expression sees the columns of its row and `as_of`, the moment it is computed for. The wall clock, chance, other
rows and other tables are out of its reach (rule 2): the value would differ between training and serving.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

    from sqlglot import exp

AS_OF = "as_of"

#: What sqlglot has a class for.
_CLOCK = (
    "CurrentDate",
    "CurrentDatetime",
    "CurrentTime",
    "CurrentTimestamp",
    "Localtime",
    "Localtimestamp",
    "Rand",
    "Uuid",
)
#: Of the functions that DuckDB calls volatile, the one that is not: it stops.
_ERROR = "error"


def row_mistake(sql: str, columns: Collection[str]) -> tuple[str, str] | None:
    """What is wrong with an expression over these columns and `as_of`, and what was expected; None if nothing is seen.

    What the columns' types have to say is not looked at.
    """
    from sqlglot import parse_one
    from sqlglot.errors import SqlglotError

    from featmill.contract.problems import one_of

    try:
        parsed = parse_one(f"SELECT {sql} AS x", dialect="duckdb")
    except SqlglotError as error:
        return f"{sql!r} cannot be read: {_first_line(error)}", "an SQL expression"
    found = _not_of_a_row(parsed)
    if found is not None:
        return f"{sql!r} has {found}", "an expression over one row's columns and as_of"
    known = {*columns, AS_OF}
    lower = {name.lower() for name in known}
    for column in _columns(parsed):
        if column.name.lower() not in lower or column.table:
            return f"{sql!r} reads {column.sql()}", one_of(sorted(known), column.name)
    return None


def _not_of_a_row(parsed: exp.Expr) -> str | None:
    from sqlglot import exp

    selects = list(parsed.find_all(exp.Query))
    if len(selects) > 1 or any(
        parsed.args.get(part) for part in ("from_", "from", "where", "joins")
    ):
        return "a query in it"
    if len(parsed.expressions) != 1 or parsed.find(exp.Star) is not None:
        return "more than one value"
    if parsed.find(exp.Window) is not None or parsed.find(exp.AggFunc) is not None:
        return "an aggregate or a window"
    calls = {call.name.lower() for call in parsed.find_all(exp.Anonymous)}
    clock = tuple(getattr(exp, name) for name in _CLOCK)
    if parsed.find(*clock) is not None or not calls.isdisjoint(_volatile()):
        return "the clock, chance or the session in it"
    return None


@cache
def _volatile() -> frozenset[str]:
    """The functions whose value is not decided by their arguments, as the engine says."""
    import duckdb

    with duckdb.connect() as connection:
        names = connection.sql(
            "SELECT DISTINCT lower(function_name) FROM duckdb_functions() "
            "WHERE function_type = 'scalar' AND stability <> 'CONSISTENT'"
        ).fetchall()
    return frozenset({name for (name,) in names} | {"getenv"}) - {_ERROR}


def _columns(parsed: exp.Expr) -> list[exp.Column]:
    from sqlglot import exp

    # A lambda's parameters look like columns.
    bound = {
        parameter.name for found in parsed.find_all(exp.Lambda) for parameter in found.expressions
    }
    return [column for column in parsed.find_all(exp.Column) if column.name not in bound]


def _first_line(error: Exception) -> str:
    return re.sub(r"\x1b\[[0-9;]*m", "", str(error)).partition("\n")[0]
