"""The data files of a Delta table, as DuckDB can open them."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
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
