"""The folder Feast reads a view from: links to the Parquet files of its released snapshots.

No row of a snapshot that is stored whole is copied. `data/<view>` is itself a link to a folder of
links; the next release's folder is made whole beside it and the one link is renamed over, so a
reader lists one set of snapshots or the other, never a mix. The folder before stays for a reader
that is listing it.

Feast's DuckDB store reads all files of a folder by the schema of the first one: a file that lacks a
column is an error there, and one with another type is cast in silence. So a snapshot from before a
column existed is written anew, once, with that column as NULL, and so is a snapshot of which only
the changes are stored, with all of its rows; a view without any file gets an empty one.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

from featmill.contract.catalog import FeatureTable
from featmill.errors import LakeError
from featmill.warehouse.columns import literal, published_expression, quote
from featmill.warehouse.lake import PUBLISHED_AT_COLUMN, SNAPSHOT_COLUMN, files, relation_sql
from featmill.warehouse.model import Snapshot

if TYPE_CHECKING:
    import duckdb

_HINT = "what Feast read before stays; free space or mend the permissions and export again"


class SnapshotLinks:
    """The data of one Feast repository."""

    def __init__(self, repository: Path) -> None:
        self._views = repository / "data"
        self._sets = repository / ".links"
        self._rewritten = repository / ".rewritten"

    def publish(self, table: FeatureTable, snapshots: Sequence[Snapshot]) -> None:
        """Let Feast's view of this table hold exactly these snapshots, in one step.

        Raises:
            LakeError: a file cannot be read, or the folder cannot be written.
        """
        import duckdb

        try:
            with duckdb.connect() as connection:
                connection.execute("SET TimeZone = 'UTC'")
                targets = self._targets(connection, table, snapshots)
            folder = self._link_folder(table.name, targets)
            self._drop_unused(table.name, folder)
            self._point(table.name, folder)
        except (duckdb.Error, OSError) as error:
            raise LakeError(
                f"{table.name} could not be linked for Feast: {error}", hint=_HINT
            ) from error

    def keep_only(self, views: Iterable[str]) -> None:
        """Remove the data of views that are not declared any more.

        Raises:
            LakeError: a folder cannot be removed.
        """
        declared = set(views)
        try:
            for link in _entries(self._views):
                if link.name not in declared:
                    link.unlink()
            for folder in (*_entries(self._sets), *_entries(self._rewritten)):
                if folder.name not in declared:
                    shutil.rmtree(folder)
        except OSError as error:
            raise LakeError(
                f"data of removed views could not be removed: {error}", hint=_HINT
            ) from error

    def _targets(
        self,
        connection: duckdb.DuckDBPyConnection,
        table: FeatureTable,
        snapshots: Sequence[Snapshot],
    ) -> dict[str, Path]:
        """Link name -> the file it leads to, names sorting by snapshot."""
        found = _by_link_name(files([s for s in snapshots if s.change is None]))
        relations = {name: _parquet(path) for name, path in found.items()}
        # The files of a change snapshot hold no snapshot: it is written out, once.
        relations |= {
            f"{s.snapshot_id}-0000.parquet": f"({relation_sql([s])})"
            for s in snapshots
            if s.change is not None
        }
        wanted = _contract_schema(connection, table)
        if not relations:
            empty = self._rewrite(connection, table.name, "empty", _empty_sql(table), wanted)
            return {"empty.parquet": empty}
        schemas = {
            name: _schema(connection, f"SELECT * FROM {relation}")
            for name, relation in relations.items()
        }
        # The newest snapshot says how a column is published; the contract where none has it yet.
        newest = schemas[max(relations)]
        wanted = {name: newest.get(name, kind) for name, kind in wanted.items()}
        for name, relation in relations.items():
            has = schemas[name]
            if name not in found or any(has.get(column) != kind for column, kind in wanted.items()):
                select = _completed_sql(relation, has, wanted)
                found[name] = self._rewrite(connection, table.name, name, select, wanted)
        return found

    def _rewrite(
        self,
        connection: duckdb.DuckDBPyConnection,
        view: str,
        name: str,
        select: str,
        schema: Mapping[str, str],
    ) -> Path:
        """The file with the select's rows; what is published never changes, so neither does it."""
        digest = _digest(f"{column} {kind}" for column, kind in schema.items())
        path = self._rewritten / view / f"{name.removesuffix('.parquet')}-{digest}.parquet"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            beside = path.with_name(f".{uuid4().hex}")
            connection.execute(f"COPY ({select}) TO {literal(str(beside))} (FORMAT parquet)")
            beside.replace(path)
        return path

    def _link_folder(self, view: str, targets: Mapping[str, Path]) -> Path:
        """The folder of links to these files: whole as soon as it is there."""
        folder = (
            self._sets / view / _digest(f"{name} {path}" for name, path in sorted(targets.items()))
        )
        if not folder.is_dir():
            beside = folder.with_name(f".{uuid4().hex}")
            beside.mkdir(parents=True)
            for name, path in targets.items():
                _link(beside / name, path)
            beside.rename(folder)
        return folder

    def _point(self, view: str, folder: Path) -> None:
        link = self._views / view
        self._views.mkdir(parents=True, exist_ok=True)
        if link.resolve() != folder.resolve():
            beside = self._views / f".{uuid4().hex}"
            _link(beside, folder)
            beside.replace(link)

    def _drop_unused(self, view: str, coming: Path) -> None:
        """Remove all but the folder that comes and the one before: a reader may be listing it."""
        kept = {coming.resolve(), (self._views / view).resolve()}
        for folder in _entries(self._sets / view):
            if folder.resolve() not in kept:
                shutil.rmtree(folder)
        used = {link.resolve() for folder in kept for link in _entries(folder)}
        for path in _entries(self._rewritten / view):
            if path.resolve() not in used:
                path.unlink()


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []


def _link(link: Path, target: Path) -> None:
    """A relative link: the home folder can be moved as a whole."""
    link.symlink_to(os.path.relpath(target.resolve(), link.parent.resolve()))


def _by_link_name(paths: Iterable[str]) -> dict[str, Path]:
    """Files below `snapshot_id=<id>/` as `<id>-<number>.parquet`."""
    by_snapshot: dict[str, list[Path]] = {}
    for path in map(Path, paths):
        by_snapshot.setdefault(path.parent.name.removeprefix(f"{SNAPSHOT_COLUMN}="), []).append(
            path
        )
    return {
        f"{snapshot}-{number:04d}.parquet": path
        for snapshot in sorted(by_snapshot)
        for number, path in enumerate(sorted(by_snapshot[snapshot]))
    }


def _contract_columns(table: FeatureTable) -> dict[str, str]:
    """What Feast reads of a table, with its declared types."""
    keys = {key.name: key.type.sql for key in table.join_keys}
    features = {feature.name: feature.type.sql for feature in table.features}
    return {**keys, table.event_time: "TIMESTAMP", **features, PUBLISHED_AT_COLUMN: "TIMESTAMP"}


def _contract_schema(connection: duckdb.DuckDBPyConnection, table: FeatureTable) -> dict[str, str]:
    """What Feast reads of a table, with the types the contract's are published as."""
    return _schema(connection, _empty_sql(table))


def _empty_sql(table: FeatureTable) -> str:
    columns = _contract_columns(table)
    typed = ", ".join(f"NULL::{kind} AS {quote(name)}" for name, kind in columns.items())
    published = ", ".join(published_expression(name, kind) for name, kind in columns.items())
    return f"SELECT {published} FROM (SELECT {typed}) WHERE false"


def _completed_sql(relation: str, has: Mapping[str, str], wanted: Mapping[str, str]) -> str:
    columns = ", ".join(
        f"CAST({quote(name) if name in has else 'NULL'} AS {kind}) AS {quote(name)}"
        for name, kind in wanted.items()
    )
    return f"SELECT {columns} FROM {relation}"


def _schema(connection: duckdb.DuckDBPyConnection, select: str) -> dict[str, str]:
    return {str(row[0]): str(row[1]) for row in connection.execute(f"DESCRIBE {select}").fetchall()}


def _parquet(path: Path) -> str:
    return f"read_parquet({literal(str(path))}, hive_partitioning=false)"


def _digest(parts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
