"""A Delta table's files and columns, as DuckDB knows them."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from featmill.warehouse.columns import quote

if TYPE_CHECKING:
    import pyarrow as pa
    from deltalake import DeltaTable


def data_files(table: DeltaTable, partition: tuple[str, str] | None = None) -> list[str]:
    """The paths of a local table's files, of all or of one partition `(column, value)`.

    delta-rs gives the table's folder percent-encoded and what lies below it as it is on disk, so a
    folder with a space in its name would not be found.
    """
    encoded = urlsplit(table.table_uri).path
    folder = unquote(encoded)
    wanted = None if partition is None else [(partition[0], "=", partition[1])]
    uris = table.file_uris(file_pruning_predicate=wanted)
    return [folder + uri.removeprefix(encoded) if uri.startswith(encoded) else uri for uri in uris]


def empty_sql(table: DeltaTable) -> str:
    """A `SELECT` of the table's columns and no rows."""
    import pyarrow as pa

    return empty_relation_sql(pa.schema(table.schema().to_arrow()))


def empty_relation_sql(schema: pa.Schema) -> str:
    """A `SELECT` of the schema's columns and no rows."""
    listed = ", ".join(f"NULL::{kind} AS {quote(name)}" for name, kind in _duckdb_types(schema))
    return f"SELECT {listed} WHERE false"


def column_types(table: DeltaTable) -> list[tuple[str, str]]:
    """The table's columns, each with its DuckDB type."""
    import pyarrow as pa

    return _duckdb_types(pa.schema(table.schema().to_arrow()))


def _duckdb_types(schema: pa.Schema) -> list[tuple[str, str]]:
    import duckdb

    empty = schema.empty_table()
    with duckdb.connect() as connection:
        described = connection.from_arrow(empty).description
    return [(str(column[0]), str(column[1])) for column in described]
