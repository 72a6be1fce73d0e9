"""How DuckDB's types are written to Delta: nothing is lost, and every engine that reads Delta can read it."""

from __future__ import annotations

#: DuckDB type -> the type it is published as. Delta has no unsigned integers, UUID, ENUM or fixed-length arrays.
_PUBLISHED_AS = {
    "UTINYINT": "SMALLINT",
    "USMALLINT": "INTEGER",
    "UINTEGER": "BIGINT",
    "UUID": "VARCHAR",
    "TIMESTAMP_S": "TIMESTAMP",
    "TIMESTAMP_MS": "TIMESTAMP",
}


def quote(identifier: str) -> str:
    """The identifier as SQL."""
    return '"' + identifier.replace('"', '""') + '"'


def literal(text: str) -> str:
    """The text as an SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def published_expression(column: str, duckdb_type: str) -> str:
    """The SQL that turns a candidate's column into what is published.

    Naive timestamps are UTC (rule 1) and become TIMESTAMPTZ: Delta's naive type needs a newer reader protocol.
    """
    name = quote(column)
    kind = duckdb_type.upper()
    if kind in ("TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS"):
        return f"timezone('UTC', {name}::TIMESTAMP) AS {name}"
    if kind.startswith("ENUM"):
        return f"{name}::VARCHAR AS {name}"
    if kind.endswith("]") and not kind.endswith("[]"):
        element = kind[: kind.rindex("[")]
        return f"{name}::{_PUBLISHED_AS.get(element, element)}[] AS {name}"
    if kind in _PUBLISHED_AS:
        return f"{name}::{_PUBLISHED_AS[kind]} AS {name}"
    return name
