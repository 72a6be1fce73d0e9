"""The dbt-duckdb plug-in by which dbt reads sources and publishes snapshots.

Loaded by dbt from the profile (`plugins: [{module: featmill.warehouse.plugin, alias: featmill}]`), never by us; the
one module that imports dbt at its top. It gives dbt's SQL six functions:

| function | what it does |
|---|---|
| `featmill_source(folder, name)` | a table: the rows of a source file (Parquet, CSV, Delta) |
| `featmill_pin(name, value)` / `featmill_pinned(name)` | settle what a whole run shares, such as as_of / read it back |
| `featmill_published(node)` | what publishing a node came to, as JSON |
| `featmill_release(order)` | commit a release over the published snapshots |
"""

from __future__ import annotations

import functools
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dbt.adapters.duckdb.plugins import BasePlugin
from dbt_common.exceptions import DbtRuntimeError

from featmill.errors import FeatmillError
from featmill.warehouse.features_database import write_features_database
from featmill.warehouse.fingerprint import fingerprint
from featmill.warehouse.identity import SourceRelation, parse_moment
from featmill.warehouse.lake import Lake, relation_sql
from featmill.warehouse.publisher import PublishOrder, publish, read_sources
from featmill.warehouse.registry import Registry
from featmill.warehouse.source_files import FileState, file_state, source_sql

if TYPE_CHECKING:
    from collections.abc import Callable

    import duckdb
    from dbt.adapters.duckdb.utils import TargetConfig

    from featmill.warehouse.model import Snapshot, SourceVersion


class Plugin(BasePlugin):
    """One per dbt process; it remembers what the process settled and published."""

    def initialize(self, plugin_config: dict[str, Any]) -> None:
        """Take `home` (the folder of everything featmill writes) from the profile."""
        home = Path(str(plugin_config.get("home", ".featmill"))).expanduser()
        self.home = home if home.is_absolute() else Path.cwd() / home
        self.home.mkdir(parents=True, exist_ok=True)
        self.registry = Registry(Lake(self.home / "lake"))
        self._connection: duckdb.DuckDBPyConnection | None = None
        self._pins: dict[str, str] = {}
        self._published: dict[str, tuple[Snapshot, bool]] = {}
        self._source_versions: dict[tuple[SourceRelation, str, FileState | str], SourceVersion] = {}

    def configure_connection(self, conn: duckdb.DuckDBPyConnection) -> None:
        """Register the functions on the build database's connection."""
        self._connection = conn
        functions: dict[str, tuple[Callable[..., str], int]] = {
            "featmill_source_sql": (source_sql, 2),
            "featmill_pin": (self._pin, 2),
            "featmill_pinned": (self._pinned, 1),
            "featmill_published": (self._outcome, 1),
            "featmill_release": (self._release, 1),
        }
        for name, (function, arity) in functions.items():
            conn.create_function(
                name,
                _reported(function),
                ["VARCHAR"] * arity,
                "VARCHAR",
                side_effects=name != "featmill_source_sql",
            )

    def configure_cursor(self, cursor: duckdb.DuckDBPyConnection) -> None:
        """Give the cursor the table macro over source files, and UTC: casts of zoned moments ask the session's zone."""
        cursor.execute("SET TimeZone = 'UTC'")
        cursor.execute(
            "CREATE OR REPLACE TEMP MACRO featmill_source(folder, name) AS TABLE "
            "SELECT * FROM query(featmill_source_sql(folder, name))"
        )

    def store(self, target_config: TargetConfig) -> None:
        """Publish one feature table; called by the `published` materialization."""
        order: dict[str, Any] = target_config.config
        if self._connection is None:
            raise DbtRuntimeError("featmill's plug-in was asked to publish before dbt connected")
        cursor = self._connection.cursor()
        try:
            self.configure_cursor(cursor)
            self._published[order["publish_node"]] = publish(
                cursor, self.registry.lake, self._order(cursor, order)
            )
        except FeatmillError as error:
            raise DbtRuntimeError(_explained(error)) from error
        finally:
            cursor.close()

    def _order(self, cursor: duckdb.DuckDBPyConnection, order: dict[str, Any]) -> PublishOrder:
        cut_off = parse_moment(order["cut_off"])
        sources = []
        for source in (SourceRelation(**fields) for fields in order["sources"]):
            # Tables of a run share sources, and the dates of a backfill share them all: files that did not change are
            # hashed once a process, anything else once a run.
            state = file_state(source.relation) or order["invocation_id"]
            key = (source, order["cut_off"], state)
            if key not in self._source_versions:
                self._source_versions[key] = read_sources(cursor, [source], cut_off)[0]
            sources.append(self._source_versions[key])
        return PublishOrder(
            table=order["table"],
            sql=order["sql"],
            as_of=parse_moment(order["as_of"]),
            cut_off=cut_off,
            join_keys=tuple(order["join_keys"]),
            tenant=order["tenant"],
            version=order["version"],
            fingerprint=_fingerprint_in_dbt(order["candidate"]),
            sources=tuple(sorted(sources, key=lambda version: version.source)),
        )

    def _pin(self, name: str, value: str) -> str:
        return self._pins.setdefault(name, value)

    def _pinned(self, name: str) -> str:
        return self._pins.get(name, "")

    def _outcome(self, publish_node: str) -> str:
        snapshot, is_new = self._published[publish_node]
        did = "published" if is_new else "unchanged:"
        return json.dumps(
            {
                "view_sql": relation_sql(self._readable(snapshot)),
                "message": f"{snapshot.table} {did} {snapshot.rows:,} rows as snapshot {snapshot.snapshot_id}",
            }
        )

    def _readable(self, snapshot: Snapshot) -> list[Snapshot]:
        """What training models of this run read: what was released, and what this run publishes."""
        released = self.registry.released_snapshots(snapshot.table)
        return [s for s in released if s.as_of != snapshot.as_of] + [snapshot]

    def _release(self, text: str) -> str:
        order = json.loads(text)
        as_of = parse_moment(order["as_of"])
        tables = [node.split(".")[2] for node in order["nodes"]]
        members, absent = [], []
        for table in sorted(tables):
            found = [s for s in self.registry.lake.snapshots(table) if s.as_of == as_of]
            (members.append(found[-1]) if found else absent.append(table))
        if absent:
            return (
                f"no release at {order['as_of']} UTC yet: {', '.join(absent)} has no snapshot there"
            )
        release, is_new = self.registry.commit(as_of, members)
        write_features_database(self.home / "features.duckdb", self.registry)
        return f"{'released' if is_new else 'unchanged release'} {release.release_id} ({len(members)} tables)"


def _fingerprint_in_dbt(unique_id: str) -> str:
    """The fingerprint from the manifest of the running dbt: SQL sees macros' names there, not their texts."""
    from dbt.adapters.factory import FACTORY

    adapter: Any = FACTORY.lookup_adapter("duckdb")
    config = adapter.config
    manifest = adapter.get_macro_resolver()
    declared = config.vars.to_dict()
    # As dbt looks them up: the command line, then those of the model's own project, then those of all.
    scoped = declared.get(unique_id.split(".")[1], {})
    variables = {**declared, **scoped, **config.cli_vars}
    return fingerprint(manifest, unique_id, variables=variables, environment=os.environ)


def _reported(function: Callable[..., str]) -> Callable[..., str]:
    """Raise featmill's errors as texts that DuckDB passes on whole."""

    @functools.wraps(function)  # DuckDB counts the parameters of the signature
    def call(*arguments: str) -> str:
        try:
            return function(*arguments)
        except FeatmillError as error:
            raise ValueError(_explained(error)) from error

    return call


def _explained(error: FeatmillError) -> str:
    return f"{error.message}\n{error.hint}" if error.hint else error.message
