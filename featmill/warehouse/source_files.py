"""Where a source's rows lie: one folder holds them, each table as a file or a folder, in any of three formats."""

from __future__ import annotations

from pathlib import Path

from featmill.errors import SourceError
from featmill.warehouse.columns import literal


def source_sql(folder: str, name: str) -> str:
    """The DuckDB `SELECT` that reads source table `name` below `folder`.

    Looked for, in this order: `<name>.parquet`, `<name>.csv` (also `.csv.gz`), a folder `<name>` that is a Delta table,
    a folder `<name>` of Parquet or CSV files.

    Raises:
        SourceError: there is none; the message names every place looked at.
    """
    root = Path(folder).expanduser()
    root = root if root.is_absolute() else Path.cwd() / root
    single = {
        root / f"{name}.parquet": "read_parquet",
        root / f"{name}.csv": "read_csv",
        root / f"{name}.csv.gz": "read_csv",
    }
    for path, reader in single.items():
        if path.is_file():
            return f"SELECT * FROM {reader}({literal(str(path))})"
    within = root / name
    if (within / "_delta_log").is_dir():
        return _delta_sql(within)
    for pattern, reader in (("*.parquet", "read_parquet"), ("*.csv", "read_csv")):
        if within.is_dir() and next(within.rglob(pattern), None) is not None:
            return f"SELECT * FROM {reader}({literal(str(within / '**' / pattern))}, union_by_name=true)"
    looked = ", ".join(str(path) for path in single)
    raise SourceError(
        f"source table {name!r} has no file: looked for {looked} and a folder {within} with a Delta table, Parquet or "
        "CSV files; set FEATMILL_SOURCES to the folder that holds it"
    )


def _delta_sql(location: Path) -> str:
    """Read a Delta table without DuckDB's extension, which cannot be downloaded in closed networks."""
    from deltalake import DeltaTable

    table = DeltaTable(str(location))
    paths = table.file_uris()
    if not paths:
        raise SourceError(f"the Delta table {location} holds no rows; expected at least one file")
    listed = ", ".join(literal(path) for path in paths)
    return f"SELECT * FROM read_parquet([{listed}], union_by_name=true, hive_partitioning=true)"
