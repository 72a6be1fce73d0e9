"""Where a spine comes from: a file, a frame in memory, SQL text over the features database, or a dbt model.

All become one relation that DuckDB reads as often as it is asked to. What can be read only once, or gives its rows in
no certain order, is first written beside as Parquet.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from featmill.errors import SpineError
from featmill.training.provenance import file_hash
from featmill.warehouse.columns import literal, quote
from featmill.warehouse.identity import only_row, rows_digest_sql

if TYPE_CHECKING:
    from collections.abc import Iterable

    import duckdb

SourceKind = Literal["file", "frame", "sql", "model"]

_READERS = {".parquet": "read_parquet", ".csv": "read_csv"}
_FRAME = "_featmill_frame"
_DATABASE = "_featmill_features"
_BATCH_ROWS = 65_536


@dataclass(frozen=True, slots=True)
class SpineSource:
    """What a spine is made from; make it with the functions below.

    `name` is what messages and manifests call it: a path, the SQL, or the model's name. `path` is the file to read, of
    a model the Parquet file that dbt wrote of it; `database` is what SQL may read.
    """

    kind: SourceKind
    name: str
    path: Path | None = None
    frame: Any = None
    database: Path | None = None


def file_spine(path: Path) -> SpineSource:
    """A Parquet or CSV file."""
    return SpineSource("file", str(path), path=path)


def sql_spine(text: str, database: Path | None = None) -> SpineSource:
    """A SELECT over the views of a DuckDB file (the features database) and whatever files it names.

    Its rows keep the order they come in, so say `order by` where the order matters.
    """
    return SpineSource("sql", text.strip().rstrip(";"), database=database)


def model_spine(name: str, path: Path) -> SpineSource:
    """A dbt model, from the Parquet file that dbt wrote of it: only dbt opens the build database."""
    return SpineSource("model", name, path=path)


def frame_spine(frame: object) -> SpineSource:
    """A frame of pandas or polars, an Arrow table or record batches, or anything with `__arrow_c_stream__`."""
    return SpineSource("frame", type(frame).__name__, frame=frame)


def spine_source(given: object) -> SpineSource:
    """What was given, as a source: a SpineSource as it is, a path as a file, anything else as a frame."""
    if isinstance(given, SpineSource):
        return given
    return file_spine(Path(given)) if isinstance(given, str | Path) else frame_spine(given)


def open_source(connection: duckdb.DuckDBPyConnection, source: SpineSource, scratch: Path) -> str:
    """The relation of a source, as text that stands after FROM; what must be written first goes into `scratch`.

    Raises:
        SpineError: there is no such file, the SQL fails, or the frame is none or has two columns of one name.
    """
    if source.kind == "sql":
        return _opened_sql(connection, source, scratch)
    if source.kind == "frame":
        return _opened_frame(connection, source, scratch)
    reader = None if source.path is None else _READERS.get(source.path.suffix.lower())
    if reader is None or source.path is None or not source.path.is_file():
        raise SpineError(
            f"{source.name} is not a spine: expected an existing .parquet or .csv file"
        )
    return f"{reader}({literal(str(source.path))})"


def source_identity(
    connection: duckdb.DuckDBPyConnection, source: SpineSource, relation: str
) -> dict[str, Any]:
    """What a manifest says of a spine: a file's own hash, of anything else a hash of its rows and their order."""
    if source.kind == "file" and source.path is not None:
        return {"path": source.name, "sha256": file_hash(source.path)}
    described = connection.execute(f"DESCRIBE SELECT * FROM {relation}").fetchall()
    columns = [str(row[0]) for row in described]
    found = {"kind": source.kind, "name": source.name}
    return found | {"rows_sha256": rows_hash(connection, relation, columns)[1]}


def rows_hash(
    connection: duckdb.DuckDBPyConnection, relation: str, columns: list[str]
) -> tuple[int, str]:
    """`(rows, hash)` of a relation's values and their order, whatever the layout it is stored in."""
    numbered = (
        f"(SELECT {', '.join(quote(name) for name in columns)}, row_number() OVER () - 1 AS file_row_number "
        f"FROM {relation})"
    )
    rows, digest = only_row(connection, rows_digest_sql(["file_row_number", *columns], numbered))
    return int(rows), hashlib.sha256(json.dumps([columns, rows, digest]).encode()).hexdigest()


def _opened_sql(connection: duckdb.DuckDBPyConnection, source: SpineSource, scratch: Path) -> str:
    import duckdb

    path = scratch / "spine.parquet"
    try:
        if source.database is not None and source.database.is_file():
            attached = f"ATTACH {literal(str(source.database))} AS {_DATABASE} (READ_ONLY)"
            connection.execute(attached)
            connection.execute(f"USE {_DATABASE}")
        connection.execute(f"COPY ({source.name}) TO {literal(str(path))} (FORMAT parquet)")
    except duckdb.Error as error:
        said = str(error).partition("\nLINE ")[0].strip()
        raise SpineError(
            f"the spine's SQL fails: {said}",
            hint="it is one SELECT over the views of the features database, or over files: read_parquet('...')",
        ) from error
    finally:
        connection.execute("USE memory")
    return f"read_parquet({literal(str(path))})"


def _opened_frame(connection: duckdb.DuckDBPyConnection, source: SpineSource, scratch: Path) -> str:
    import pyarrow as pa

    frame = source.frame
    if _is_of(frame, "polars"):
        frame = frame.to_arrow()
    if isinstance(frame, pa.Table) or _is_of(frame, "pandas"):
        names = frame.column_names if isinstance(frame, pa.Table) else frame.columns
        _check_distinct(source.name, names)
        connection.register(_FRAME, frame)
        return _FRAME
    if not isinstance(frame, pa.RecordBatchReader) and not hasattr(frame, "__arrow_c_stream__"):
        raise SpineError(
            f"a {source.name} is not a spine",
            hint="expected a path, a frame of pandas or polars, or an Arrow table or reader",
        )
    reader = pa.RecordBatchReader.from_stream(frame)
    _check_distinct(source.name, reader.schema.names)
    return _staged(reader, scratch / "spine.parquet")


def _check_distinct(name: str, columns: Iterable[object]) -> None:
    """Refuse names that are one to SQL: DuckDB would call the second column otherwise, and not say so."""
    spelled: dict[str, list[str]] = {}
    for column in columns:
        spelled.setdefault(str(column).lower(), []).append(str(column))
    for names in spelled.values():
        if len(names) > 1:
            raise SpineError(
                f"{name} has more than one column {', '.join(names)}",
                hint="names that differ only in case are one name: drop or rename all but one",
            )


def _staged(reader: Any, path: Path) -> str:  # noqa: ANN401 - a pyarrow class, which has no types
    """A stream is read once and a spine several times: it is kept on disk, never in memory."""
    import pyarrow.parquet as pq

    with pq.ParquetWriter(path, reader.schema, compression="zstd") as writer:
        for batch in reader:
            writer.write_batch(batch, row_group_size=_BATCH_ROWS * 16)
    return f"read_parquet({literal(str(path))})"


def _is_of(frame: object, package: str) -> bool:
    """Whether it is a DataFrame of this package, which need not be installed."""
    kind = type(frame)
    return kind.__module__.partition(".")[0] == package and kind.__name__ == "DataFrame"
