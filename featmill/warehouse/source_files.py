"""Where a source's rows lie: one folder holds them, each table as a file or a folder, in any of three formats."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

from featmill.errors import SourceError
from featmill.warehouse.columns import literal
from featmill.warehouse.delta_files import column_types, data_files, empty_sql

_READERS = {
    ".parquet": "read_parquet({paths})",
    # Texts, for staging to type: a guessed type stops the build at the first value that does not fit, and a time that
    # is guessed to be naive drops the offset of a later one in silence.
    ".csv": "read_csv({paths}, all_varchar=true)",
    ".gz": "read_csv({paths}, all_varchar=true)",
}


_RELATION = re.compile(
    r"featmill_source\('((?:[^']|'')*)',\s*'((?:[^']|'')*)'\)"
)  # featmill_source('dir', 'name')


def source_sql(folder: str, name: str) -> str:
    """The DuckDB `SELECT` that reads source table `name` below `folder`.

    Looked for, in this order: `<name>.parquet`, `<name>.csv` (also `.csv.gz`), a folder `<name>` that is a Delta table,
    a folder `<name>` of Parquet or CSV files.

    Raises:
        SourceError: there is none; the message names every place looked at.
    """
    reader, paths = _find(folder, name)
    listed = ", ".join(literal(str(path)) for path in paths)
    return f"SELECT * FROM {reader.format(paths=f'[{listed}]')}"


def file_state(relation: str) -> str | None:
    """A digest of what the files behind a `featmill_source(...)` relation look like: path, size, time of change.

    None where the relation is something else: then nothing cheap tells whether its rows changed.
    """
    call = _RELATION.fullmatch(relation.strip())
    if call is None:
        return None
    folder, name = (text.replace("''", "'") for text in call.groups())
    stats = [(str(path), path.stat()) for path in _find(folder, name)[1]]
    seen = [(path, stat.st_size, stat.st_mtime_ns) for path, stat in stats]
    return hashlib.sha256(json.dumps(seen).encode()).hexdigest()


def _find(folder: str, name: str) -> tuple[str, list[Path]]:
    """How DuckDB reads the source (with `{paths}` for its files), and its files."""
    root = Path(folder).expanduser()
    root = root if root.is_absolute() else Path.cwd() / root
    within = root / name
    single = [root / f"{name}.parquet", root / f"{name}.csv", root / f"{name}.csv.gz"]
    for path in single:
        if path.is_file():
            return _READERS[path.suffix], [path]
    if (within / "_delta_log").is_dir():
        return _delta(within)
    for suffix in (".parquet", ".csv"):
        found = sorted(within.rglob(f"*{suffix}")) if within.is_dir() else []
        if found:
            return _READERS[suffix].replace("{paths}", "{paths}, union_by_name=true"), found
    looked = ", ".join(str(path) for path in single)
    raise SourceError(
        f"source table {name!r} has no file: looked for {looked} and a folder {within} with a Delta table, Parquet or "
        "CSV files; set FEATMILL_SOURCES to the folder that holds it"
    )


def _delta(location: Path) -> tuple[str, list[Path]]:
    """Read a Delta table without DuckDB's extension, which cannot be downloaded in closed networks.

    Values of partition columns stand in paths, so their types come from the table's schema.
    """
    from deltalake import DeltaTable

    table = DeltaTable(str(location))
    paths = [Path(path) for path in data_files(table)]
    if not paths:
        return _verbatim(f"({empty_sql(table)})"), []
    reader = "read_parquet({paths}, union_by_name=true, hive_partitioning="
    partitions = table.metadata().partition_columns
    if not partitions:
        return reader + "false)", paths
    types = dict(column_types(table))
    listed = ", ".join(f"{literal(name)}: {types[name]}" for name in partitions)
    return reader + "true, hive_types=" + _verbatim(f"{{{listed}}}") + ")", paths


def _verbatim(text: str) -> str:
    """The text as it stands in a format string."""
    return text.replace("{", "{{").replace("}", "}}")
