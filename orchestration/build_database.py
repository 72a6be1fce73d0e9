"""The build database between dbt's own runs, through dbt's adapter: its profile, its settings, our plug-in's functions.

Only for a process that has run dbt and goes on with the manifest of that run.
"""

from __future__ import annotations

import json
from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from featmill.errors import AsOfError, ContractError, SourceError
from featmill.warehouse.compiled import DbtCompiler
from featmill.warehouse.fingerprint import fingerprint
from featmill.warehouse.identity import only_row
from featmill.warehouse.intervals import Definition, timed_sources
from featmill.warehouse.project_graph import candidate_of, is_published

if TYPE_CHECKING:
    import duckdb
    from dbt.contracts.graph.manifest import Manifest

    from featmill.warehouse.session import Session

#: A snapshot of the future would stay the newest for good; the macro `_find_moments` has the same bound.
_AHEAD = timedelta(days=7)
#: A fingerprint leaves moments out, so any will do; asking the sources for them would read them all.
_ANY_MOMENTS = {"as_of": "1970-01-01 00:00:00", "cut_off": "1970-01-01 00:00:00"}


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the sources hold. `first` is the first event, or where none is known the first ingestion."""

    first: datetime
    newest: datetime

    def require(self, as_of: datetime, suggestion: datetime) -> None:
        """Refuse an as_of that the data cannot answer for.

        Raises:
            AsOfError: it is before the data or long after it.
        """
        if as_of <= self.first:
            raise AsOfError(
                f"{as_of:%Y-%m-%d %H:%M:%S} is before the data, which begins at {self.first:%Y-%m-%d %H:%M:%S} UTC",
                hint=f"the first possible date is {suggestion:%Y-%m-%d}",
            )
        if as_of > self.newest + _AHEAD:
            raise AsOfError(
                f"{as_of:%Y-%m-%d %H:%M:%S} is after the data, of which the newest was ingested at "
                f"{self.newest:%Y-%m-%d %H:%M:%S} UTC",
                hint="at most a week later: a snapshot of the future would stay the newest for good",
            )


class BuildDatabase:
    """An open build database. `cursor` is ours; `compiler` has dbt's connection."""

    def __init__(self, manifest: Manifest, adapter: Any, handle: Any) -> None:  # noqa: ANN401 - dbt's
        self.manifest = manifest
        self.cursor: duckdb.DuckDBPyConnection = handle.cursor()
        self.compiler = DbtCompiler(manifest)
        self._adapter = adapter
        plugins = adapter.connections.env()._plugins.values()
        found = [plugin for plugin in plugins if hasattr(plugin, "show_released")]
        if not found:
            raise ContractError(
                "the project's profile does not load featmill's plug-in",
                hint="add to its target: plugins: [{module: featmill.warehouse.plugin, alias: featmill}]",
            )
        self.plugin: Any = found[0]
        self.session: Session = self.plugin.session

    @property
    def publish_nodes(self) -> dict[str, str]:
        """Published table -> the unique id of its publish node."""
        return {n.name: u for u, n in sorted(self.manifest.nodes.items()) if is_published(n)}

    def definitions(self, tables: Sequence[str], published: Container[str]) -> list[Definition]:
        """The published tables as the project defines them now.

        Only of those that are `published` a fingerprint is asked for: with nothing to compare it, it says nothing, and
        dbt need not be able to compile what stands on tables that were never built.

        Raises:
            BuildError: dbt cannot compile one of them.
        """
        found = []
        for table, node in self.publish_nodes.items():
            if table in tables:
                known = self.fingerprint(node) if table in published else ""
                sources = timed_sources(self.manifest, candidate_of(self.manifest, node).unique_id)
                found.append(Definition(table, known, sources))
        return found

    def fingerprint(self, publish_node: str, texts: Mapping[str, str] | None = None) -> str:
        """The fingerprint of what a publish node publishes; `texts` is what was compiled of some of its nodes."""
        candidate = candidate_of(self.manifest, publish_node).unique_id
        compiler = DbtCompiler(self.manifest, texts or {})
        with self._compiling(_ANY_MOMENTS):
            return fingerprint(self.manifest, candidate, compiler)

    def compile(self, node: Any, moments: Mapping[str, str]) -> str:  # noqa: ANN401
        """What dbt compiles of a node at these moments, over what the database holds now."""
        with self._compiling(moments):
            return self.compiler.compile(node)

    def bounds(self) -> Bounds:
        """What the sources of the feature tables hold.

        Raises:
            SourceError: no source says when its rows were ingested, or they hold none.
        """
        sources = {
            source
            for node in self.publish_nodes.values()
            for source in timed_sources(self.manifest, candidate_of(self.manifest, node).unique_id)
        }
        if not sources:
            raise SourceError(
                "no source of a feature table declares loaded_at_field, so there is no telling which dates the data has"
            )
        selects = " UNION ALL ".join(
            f"SELECT min({_utc(s.ingested_at)}) AS oldest, max({_utc(s.ingested_at)}) AS newest, "
            f"min({_utc(s.event_at or 'NULL')}) AS first_event FROM {s.relation}"
            for s in sorted(sources, key=lambda source: source.name)
        )
        oldest, newest, first_event = only_row(
            self.cursor, f"SELECT min(oldest), max(newest), min(first_event) FROM ({selects})"
        )
        if newest is None:
            raise SourceError(
                "the sources hold no events: no row has a time in its loaded_at_field"
            )
        first = oldest if first_event is None else first_event
        return Bounds(first.replace(tzinfo=UTC), newest.replace(tzinfo=UTC))

    @contextmanager
    def _compiling(self, moments: Mapping[str, str]) -> Iterator[None]:
        """Have the macros answer these moments, and let go of what their questions began on dbt's connection."""
        from dbt_common.invocation import get_invocation_id

        pins, key = self.session.pins, f"{get_invocation_id()}:moments"
        before = pins.get(key)
        pins[key] = json.dumps(dict(moments))
        try:
            yield
        finally:
            self._adapter.commit_if_has_connection()
            if before is None:
                del pins[key]
            else:
                pins[key] = before


def _utc(expression: str) -> str:
    return f"timezone('UTC', try_cast({expression} AS TIMESTAMPTZ))"


@contextmanager
def opened(manifest: Manifest) -> Iterator[BuildDatabase]:
    """Open the build database through the adapter that dbt's last run in this process made."""
    from dbt.adapters.factory import FACTORY

    adapter: Any = FACTORY.lookup_adapter("duckdb")
    try:
        with adapter.connection_named("featmill"):
            adapter.connections.get_thread_connection().handle  # noqa: B018 - opens it
            handle = adapter.connections.env().handle()
            try:
                yield BuildDatabase(manifest, adapter, handle)
            finally:
                handle.close()
    finally:
        adapter.cleanup_connections()
