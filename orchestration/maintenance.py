"""Retention and erasure as steps: with the build's lock held, and everything that stands on the lake brought along."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from featmill.errors import BuildLocked, UsageError
from featmill.governance.erasure import Erased, erase, keys_of, tables_with, training_sets_with
from featmill.governance.retention import Decision, decide, expire
from featmill.warehouse.features_database import write_features_database
from featmill.warehouse.registry import open_registry

if TYPE_CHECKING:
    from featmill.contract.catalog import Catalog, FeatureTable
    from featmill.settings import Settings
    from featmill.warehouse.registry import Registry


@dataclass(frozen=True, slots=True)
class Expired:
    """What retention decided of each snapshot, and the bytes that went."""

    decisions: tuple[Decision, ...]
    freed: int


@dataclass(frozen=True, slots=True)
class ErasedEntity:
    """What became of each table, and the manifests of training sets that still hold what was erased."""

    tables: tuple[Erased, ...]
    training_sets: tuple[str, ...]


def expire_snapshots(
    settings: Settings, older_than: timedelta, keep_last: int, *, is_dry: bool = False
) -> Expired:
    """Remove the snapshots that nothing needs; with `is_dry` only say which.

    Raises:
        BuildLocked: a build is running.
        NoRelease: nothing has been released yet.
        LakeError: the lake cannot be read or written.
    """
    registry = open_registry(settings.lake_dir)
    if is_dry:
        return Expired(tuple(decide(registry, older_than, keep_last)), 0)
    with _locked(settings):
        decisions = tuple(decide(registry, older_than, keep_last))
        freed = expire(decisions)
        gone = {
            (d.snapshot.table, d.snapshot.snapshot_id): d.snapshot.location
            for d in decisions
            if not d.keeps
        }
        if gone:
            _follow(settings, registry, [name for name, _ in gone])
    return Expired(decisions, freed)


def erase_entity(
    settings: Settings, catalog: Catalog, wanted: Mapping[str, str], blanked: Sequence[str] = ()
) -> ErasedEntity:
    """Erase an entity from every published table that has these keys, or blank columns of its rows.

    Raises:
        BuildLocked: a build is running.
        UsageError: no table has the keys, a value is not of its key's type, or no table has a column to blank.
        LakeError: the lake cannot be written. Run again, it erases what is left.
    """
    tables = tables_with(catalog, wanted)
    keys = keys_of(catalog, wanted)
    columns = {table.name: _blanked_of(table, blanked) for table in tables}
    unknown = set(blanked) - {name for names in columns.values() for name in names}
    if unknown:
        listed = ", ".join(table.name for table in tables)
        raise UsageError(f"no feature {', '.join(sorted(unknown))} in {listed}")
    registry = open_registry(settings.lake_dir)
    with _locked(settings):
        done = tuple(
            erase(registry.lake, table.name, keys, columns[table.name])
            for table in tables
            if columns[table.name] or not blanked
        )
        _follow(settings, registry, [one.table for one in done if one.rows])
    return ErasedEntity(done, tuple(training_sets_with(registry.lake, done)))


def _blanked_of(table: FeatureTable, blanked: Sequence[str]) -> list[str]:
    return [feature.name for feature in table.features if feature.name in blanked]


def _follow(settings: Settings, registry: Registry, tables: Sequence[str]) -> None:
    """Bring along what names the lake's files: the views that people query, and the Iceberg mirror."""
    write_features_database(settings.features_database, registry)
    if (settings.lake_dir / "_iceberg").is_dir():
        from featmill.warehouse.iceberg import IcebergMirror

        mirror = IcebergMirror(settings.lake_dir)
        for table in dict.fromkeys(tables):
            mirror.restate(registry.lake, table)


@contextmanager
def _locked(settings: Settings) -> Iterator[None]:
    """Hold the build database as a build does: the files of a snapshot that is being written are nobody's yet."""
    import duckdb

    settings.home_dir.mkdir(parents=True, exist_ok=True)
    try:
        connection = duckdb.connect(str(settings.build_database))
    except duckdb.IOException as error:
        raise BuildLocked(
            f"a build is running: {str(error).splitlines()[0]}", hint="try again when it is done"
        ) from error
    try:
        yield
    finally:
        connection.close()
