"""The dbt-duckdb plug-in by which dbt reads sources and publishes snapshots.

Loaded by dbt from the profile (`plugins: [{module: featmill.warehouse.plugin, alias: featmill}]`), never by us; the
one module that imports dbt at its top. It gives dbt's SQL these functions:

| function | what it does |
|---|---|
| `featmill_source(folder, name)` | a table: the rows of a source file (Parquet, CSV, Delta) |
| `featmill_source_state(relation)` | what a source's files look like from outside; empty where it is no file |
| `featmill_pin(name, value)` / `featmill_pinned(name)` | settle what a whole run shares, such as as_of / read it back |
| `featmill_confirm(run, nodes)` | remember which nodes and tests of a run passed |
| `featmill_published(run, node)` | what publishing a node came to, as JSON |
| `featmill_release(run, as_of, failed)` | commit a release over the published snapshots, or say why not, as JSON |
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dbt.adapters.duckdb.plugins import BasePlugin
from dbt_common.exceptions import DbtRuntimeError

from featmill.errors import FeatmillError, IndexUnusable, NoRelease
from featmill.warehouse.compiled import DbtCompiler
from featmill.warehouse.features_database import write_features_database
from featmill.warehouse.fingerprint import fingerprint
from featmill.warehouse.iceberg import mirror_released
from featmill.warehouse.identity import parse_moment
from featmill.warehouse.lake import relation_sql
from featmill.warehouse.project_graph import candidate_of, feature_table_of, is_published
from featmill.warehouse.released_index import index_released
from featmill.warehouse.session import Request, open_session
from featmill.warehouse.source_files import file_state, source_sql

if TYPE_CHECKING:
    from collections.abc import Callable

    import duckdb
    from dbt.adapters.duckdb.utils import TargetConfig
    from dbt.contracts.graph.manifest import Manifest


class Plugin(BasePlugin):
    """The seam between dbt and the session of its process."""

    def initialize(self, plugin_config: dict[str, Any]) -> None:
        """Take `home` (the folder of everything featmill writes) from the profile."""
        home = Path(str(plugin_config.get("home", ".featmill"))).expanduser()
        self.home = home if home.is_absolute() else Path.cwd() / home
        self.home.mkdir(parents=True, exist_ok=True)
        self.session = open_session(self.home)
        self._connection: duckdb.DuckDBPyConnection | None = None

    def configure_connection(self, conn: duckdb.DuckDBPyConnection) -> None:
        """Register the functions on the build database's connection."""
        self._connection = conn
        functions: dict[str, tuple[Callable[..., str], int]] = {
            "featmill_source_sql": (source_sql, 2),
            "featmill_source_state": (_source_state, 1),
            "featmill_pin": (self._pin, 2),
            "featmill_pinned": (self._pinned, 1),
            "featmill_confirm": (self._confirm, 2),
            "featmill_published": (self._outcome, 2),
            "featmill_release": (self._release, 3),
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
        asked: dict[str, Any] = target_config.config
        if self._connection is None:
            raise DbtRuntimeError("featmill's plug-in was asked to publish before dbt connected")
        cursor = self._connection.cursor()
        try:
            self.configure_cursor(cursor)
            manifest = _manifest()
            request = Request(
                publish_node=asked["publish_node"],
                text=asked["text"],
                as_of=asked["as_of"],
                cut_off=asked["cut_off"],
                invocation_id=asked["invocation_id"],
                selected=frozenset(asked["selected"]),
                fingerprint=fingerprint(
                    manifest,
                    candidate_of(manifest, asked["publish_node"]).unique_id,
                    DbtCompiler(manifest),
                ),
            )
            self.session.publish(cursor, manifest, request)
        except FeatmillError as error:
            raise DbtRuntimeError(_explained(error)) from error
        finally:
            cursor.close()

    def _pin(self, name: str, value: str) -> str:
        return self.session.pins.setdefault(name, value)

    def _pinned(self, name: str) -> str:
        return self.session.pins.get(name, "")

    def _confirm(self, invocation_id: str, unique_ids: str) -> str:
        self.session.confirm(_manifest(), invocation_id, json.loads(unique_ids))
        return ""

    def _outcome(self, invocation_id: str, publish_node: str) -> str:
        snapshot, is_new = self.session.outcome(invocation_id, publish_node)
        did = "published" if is_new else "unchanged:"
        return json.dumps(
            {
                "view_sql": relation_sql(self.session.readable(snapshot)),
                "message": f"{snapshot.table} {did} {snapshot.rows:,} rows as snapshot {snapshot.snapshot_id}",
            }
        )

    def _release(self, invocation_id: str, as_of: str, failed: str) -> str:
        manifest = _manifest()
        release, said = self.session.release(
            manifest, invocation_id, parse_moment(as_of), json.loads(failed)
        )
        if release is not None:
            told = "".join(f"; {note}" for note in self.show_released(manifest))
            return json.dumps({"said": said + told, "views": {}})
        views = {}
        for (run, node), (snapshot, _) in self.session.published.items():
            released = self.session.registry.released_snapshots(snapshot.table)
            if run == invocation_id and released:
                views[node] = relation_sql(released)
        return json.dumps({"said": said, "views": views})

    def show_released(self, manifest: Manifest) -> list[str]:
        """Bring what readers open beside the lake up to date: the features database, mirrors and row indexes.

        Returns what to say of an index that could not be built: nothing needs one.

        Raises:
            LakeError: the database or a mirror could not be written.
        """
        write_features_database(self.home / "features.duckdb", self.session.registry)
        candidates = {
            node.name: candidate_of(manifest, unique_id)
            for unique_id, node in manifest.nodes.items()
            if is_published(node)
        }
        declared = {name: feature_table_of(node) or {} for name, node in candidates.items()}
        tables = [name for name, of in declared.items() if "iceberg" in (of.get("formats") or [])]
        if tables:
            mirror_released(self.session.registry, tables)
        notes = []
        for name in (name for name, of in declared.items() if of.get("index") is True):
            keys, event_time = (
                tuple(declared[name]["join_keys"]),
                candidates[name].config.event_time,
            )
            try:
                index_released(self.session.registry, name, keys, str(event_time))
            except (IndexUnusable, NoRelease) as error:
                notes.append(error.message)
        return notes


def _source_state(relation: str) -> str:
    return file_state(relation) or ""


def _manifest() -> Manifest:
    """The manifest of the running dbt: its SQL sees macros' names, not their texts."""
    from dbt.adapters.factory import FACTORY

    adapter: Any = FACTORY.lookup_adapter("duckdb")
    manifest: Manifest = adapter.get_macro_resolver()
    return manifest


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
