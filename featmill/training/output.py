"""Where a training set goes: a Parquet file, streamed, or a frame in memory."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from featmill.errors import UsageError
from featmill.training.spine_source import rows_hash
from featmill.warehouse.columns import literal

if TYPE_CHECKING:
    import pyarrow as pa


def write_parquet(reader: pa.RecordBatchReader, out: Path) -> None:
    """Stream the rows into a file beside the output, then rename it: half a file never has the output's name.

    Raises:
        UsageError: the output is no `.parquet` path, or cannot be written.
    """
    import pyarrow.parquet as pq

    beside = out.with_name(f".{out.name}.{uuid4().hex}")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        with pq.ParquetWriter(beside, reader.schema, compression="zstd") as writer:
            for batch in reader:
                writer.write_batch(batch)
        beside.replace(out)
    except OSError as error:
        raise UsageError(
            f"{out} could not be written: {error.strerror or error}",
            hint="choose another --out; the file before it stays as it was",
        ) from error
    finally:
        # Where the folder could not be made there is nothing to remove either.
        with suppress(OSError):
            beside.unlink()


def check_out(out: Path | None) -> Path:
    """The path of a set that is to be written.

    Raises:
        UsageError: there is none, or it is no `.parquet` path.
    """
    if out is None or out.suffix != ".parquet":
        raise UsageError(f"{out} is not a .parquet path")
    return out


def content_of(out: Path, columns: list[str]) -> tuple[int, str]:
    """Rows of a written set and a hash of values and their order, whatever the file's layout."""
    import duckdb

    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        return rows_hash(connection, f"read_parquet({literal(str(out))})", columns)


def to_frame(reader: pa.RecordBatchReader, kind: str) -> Any:  # noqa: ANN401 - as many types as kinds
    """All rows at once: `arrow` (a pyarrow.Table), `pandas` or `polars`.

    Raises:
        UsageError: there is no such kind, or its library is not installed.
    """
    table = reader.read_all()
    if kind == "arrow":
        return table
    if kind == "pandas":
        return table.to_pandas()
    if kind != "polars":
        raise UsageError(f"there is no frame {kind!r}", hint="one of: arrow, pandas, polars")
    try:
        import polars
    except ImportError as error:
        raise UsageError(
            "polars is not installed", hint="pip install 'featmill[polars]'"
        ) from error
    return polars.from_arrow(table)
