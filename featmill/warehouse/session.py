"""What one dbt process knows of its runs: what they settled, built, tested and published."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from featmill.errors import GateFailed, LakeError, SourceError
from featmill.warehouse.attempts import Attempt, Attempts
from featmill.warehouse.event_log import append_events
from featmill.warehouse.gate import Gate
from featmill.warehouse.identity import SourceRelation, parse_moment
from featmill.warehouse.kept_events import event_source
from featmill.warehouse.lake import Lake
from featmill.warehouse.project_graph import (
    ancestors,
    candidate_of,
    dated_nodes,
    feature_table_of,
    is_published,
    parents,
)
from featmill.warehouse.publisher import PublishOrder, publish, read_sources
from featmill.warehouse.registry import Registry
from featmill.warehouse.source_files import file_state

if TYPE_CHECKING:
    import duckdb
    from dbt.contracts.graph.manifest import Manifest

    from featmill.warehouse.event_log import EventLog, EventSource
    from featmill.warehouse.model import Release, Snapshot, SourceVersion


@dataclass(frozen=True, slots=True)
class Request:
    """A publish node's request, as its materialization gives it. Moments are UTC texts."""

    publish_node: str
    text: str
    as_of: str
    cut_off: str
    invocation_id: str
    selected: frozenset[str]
    fingerprint: str


@dataclass(slots=True)
class Session:
    """One per home and process."""

    registry: Registry
    pins: dict[str, str] = field(default_factory=dict)
    #: Node or test -> what it passed under: the state of all sources and, where it depends on them, the moments.
    passed: dict[str, str] = field(default_factory=dict)
    published: dict[tuple[str, str], tuple[Snapshot, bool]] = field(default_factory=dict)
    source_versions: dict[tuple[SourceRelation, str, str], SourceVersion] = field(
        default_factory=dict
    )
    dated: dict[str, set[str]] = field(default_factory=dict)
    #: What decides which events there are -> the version of the event log that holds them.
    events: dict[tuple[EventSource, str, str, str], EventLog] = field(default_factory=dict)

    @property
    def lake(self) -> Lake:
        """The lake of the session's home."""
        return self.registry.lake

    def confirm(self, manifest: Manifest, invocation_id: str, unique_ids: list[str]) -> None:
        """Remember that these nodes and tests of a run passed."""
        for unique_id in unique_ids:
            self.passed[unique_id] = self._state(manifest, invocation_id, unique_id)

    def publish(
        self, cursor: duckdb.DuckDBPyConnection, manifest: Manifest, request: Request
    ) -> None:
        """Judge the gate, then publish the candidate.

        Raises:
            GateFailed: what the rows stand on is not part of this build.
            SourceError: a source changed while the build ran.
            LakeError: the lake could not be written, or holds something else under this name.
        """

        def covered(unique_id: str) -> bool:
            state = self._state(manifest, request.invocation_id, unique_id)
            return unique_id in request.selected or self.passed.get(unique_id) == state

        Gate(manifest, request.publish_node, covered).require()
        order = self._order(cursor, manifest, request)
        self._require_one_publisher(request, order)
        order = self._with_events(cursor, manifest, request, order)
        published = publish(cursor, self.lake, order)
        self.published[request.invocation_id, request.publish_node] = published

    def outcome(self, invocation_id: str, publish_node: str) -> tuple[Snapshot, bool]:
        """What publishing a node in a run came to: the snapshot, and whether it is new."""
        return self.published[invocation_id, publish_node]

    def readable(self, snapshot: Snapshot) -> list[Snapshot]:
        """What training models of this run read: what was released, and what this run publishes."""
        released = self.registry.released_snapshots(snapshot.table)
        kept = [
            s for s in released if s.as_of != snapshot.as_of and s.location == snapshot.location
        ]
        return [*kept, snapshot]

    def release(
        self, manifest: Manifest, invocation_id: str, as_of: datetime, failed: list[str]
    ) -> tuple[Release | None, str]:
        """Release what this run published or confirmed, and beside it what the as_of's release holds already.

        A snapshot that only lies in the lake is not taken: the run that published it may have failed. Returns the
        release, None where there is none, and what to say of it.

        Raises:
            LakeError: the registry could not be written.
        """
        nodes = sorted(u for u, node in manifest.nodes.items() if is_published(node))
        held_back = [u.split(".")[2] for u in failed if _is_behind(manifest, u, nodes)]
        if held_back:
            self._note(manifest, as_of, nodes, failed)
            return (
                None,
                f"no release: {', '.join(held_back)} failed; the previous release stays the newest",
            )
        before = [r for r in self.registry.releases() if r.as_of == as_of]
        held = before[-1].snapshots if before else {}
        members, absent = [], []
        for unique_id in nodes:
            name = manifest.nodes[unique_id].name
            if (invocation_id, unique_id) in self.published:
                members.append(self.published[invocation_id, unique_id][0])
            elif name in held:
                members.append(self.lake.snapshot(name, held[name]))
            else:
                absent.append(name)
        if absent:
            return None, (
                f"no release at {as_of:%Y-%m-%d %H:%M:%S} UTC yet: {', '.join(absent)} is neither part of this build "
                "nor of an earlier release there"
            )
        release, is_new = self.registry.commit(as_of, members, str(manifest.metadata.project_name))
        Attempts(self.lake.root).clear(as_of)
        did = "released" if is_new else "unchanged release"
        return release, f"{did} {release.release_id} ({len(members)} tables)"

    def _note(
        self, manifest: Manifest, as_of: datetime, publish_nodes: list[str], failed: list[str]
    ) -> None:
        """Keep what failed, table by table: the lake does not show an attempt that came to nothing."""
        why = {}
        for node in publish_nodes:
            behind = [u.split(".")[2] for u in failed if _is_behind(manifest, u, [node])]
            if behind:
                why[manifest.nodes[node].name] = ", ".join(behind)
        Attempts(self.lake.root).note(Attempt(as_of, why))

    def _order(
        self, cursor: duckdb.DuckDBPyConnection, manifest: Manifest, request: Request
    ) -> PublishOrder:
        node = manifest.nodes[request.publish_node]
        candidate = candidate_of(manifest, request.publish_node)
        declared = feature_table_of(candidate) or {}
        sql = f"select * from {candidate.relation_name}"
        _require_plain(node.name, request.text, sql)
        versions = [
            self._source_version(cursor, source, request)
            for source in _sources(manifest, candidate.unique_id)
        ]
        return PublishOrder(
            table=node.name,
            sql=sql,
            as_of=parse_moment(request.as_of),
            cut_off=parse_moment(request.cut_off),
            join_keys=tuple(declared["join_keys"]),
            event_time=candidate.config.event_time,
            storage=declared.get("storage", "auto"),
            tenant=str((candidate.config.meta or {}).get("tenant", "default")),
            version=str(candidate.version or 1),
            fingerprint=request.fingerprint,
            sources=tuple(sorted(versions, key=lambda version: version.source)),
        )

    def _with_events(
        self,
        cursor: duckdb.DuckDBPyConnection,
        manifest: Manifest,
        request: Request,
        order: PublishOrder,
    ) -> PublishOrder:
        """Bring the table's event log up first: a snapshot never refers to events that are not there."""
        candidate = candidate_of(manifest, request.publish_node)
        run = request.invocation_id if candidate.unique_id in request.selected else None
        source = event_source(candidate, order.table, self.pins, run)
        if source is None:
            return order
        # The dates of a backfill share the answer: comparing a log with its events reads them all.
        sources = json.dumps(self._pinned_sources(request.invocation_id), sort_keys=True)
        key = (source, order.fingerprint, request.cut_off, sources)
        log = self.events.get(key)
        if log is None or not log.is_there:
            log = self.events[key] = append_events(cursor, self.lake, source, order.cut_off)
        return replace(order, events=log.reference)

    def _source_version(
        self, cursor: duckdb.DuckDBPyConnection, source: SourceRelation, request: Request
    ) -> SourceVersion:
        """Hash a source as the run found it; the tables of a run and the dates of a backfill share the answer."""
        pinned = self._pinned_sources(request.invocation_id).get(source.relation, "")
        now = file_state(source.relation)
        if now is not None and now != pinned:
            raise SourceError(
                f"source {source.name} changed while the build ran: its files are not what they were at the start",
                hint="staging may have read other rows than these; build again",
            )
        key = (source, request.cut_off, pinned or request.invocation_id)
        if key not in self.source_versions:
            cut_off = parse_moment(request.cut_off)
            self.source_versions[key] = read_sources(cursor, [source], cut_off)[0]
        return self.source_versions[key]

    def _state(self, manifest: Manifest, invocation_id: str, unique_id: str) -> str:
        """What decides a node's rows in this run beside its definition."""
        sources = json.dumps(self._pinned_sources(invocation_id), sort_keys=True)
        if invocation_id not in self.dated:
            self.dated[invocation_id] = dated_nodes(manifest)
        dated = self.dated[invocation_id]
        if unique_id in dated or not dated.isdisjoint(parents(manifest, unique_id)):
            return sources + self.pins.get(f"{invocation_id}:moments", invocation_id)
        return sources

    def _pinned_sources(self, invocation_id: str) -> dict[str, str]:
        found: dict[str, str] = json.loads(self.pins.get(f"{invocation_id}:sources", "{}"))
        return found

    def _require_one_publisher(self, request: Request, order: PublishOrder) -> None:
        for (invocation_id, node), (snapshot, _) in self.published.items():
            is_other = invocation_id == request.invocation_id and node != request.publish_node
            if is_other and snapshot.table == order.table:
                raise LakeError(
                    f"{order.table} is published by {node} and by {request.publish_node}",
                    hint="publish one version of a table: the one that readers are to have",
                )


def _sources(manifest: Manifest, unique_id: str) -> list[SourceRelation]:
    sources = [manifest.sources[u] for u in ancestors(manifest, unique_id) if u in manifest.sources]
    return [
        SourceRelation(f"{s.source_name}.{s.name}", str(s.relation_name), s.loaded_at_field or None)
        for s in sources
    ]


def _require_plain(name: str, text: str, wanted: str) -> None:
    """A publish node adds nothing to what was tested."""
    without_comments = re.sub(r"--[^\n]*", "", text)  # -- depends_on: "build"."main"."x" -> nothing
    if " ".join(without_comments.split()) != wanted:
        raise GateFailed(
            f"{name} is not published: it holds more than its one line, and that was never tested",
            hint="a publish node is {{ featmill.publish(ref('feat_...')) }}; put the rest into the feature table",
        )


def _is_behind(manifest: Manifest, unique_id: str, publish_nodes: list[str]) -> bool:
    """Whether publishing stands on it: a publish node, what one descends from, or a test of these."""
    behind = set(publish_nodes).union(*(ancestors(manifest, node) for node in publish_nodes))
    return not behind.isdisjoint([unique_id, *parents(manifest, unique_id)])


def open_session(home: Path) -> Session:
    """The session of this process for a home: kept, since dbt makes its plug-ins anew."""
    if home not in _SESSIONS:
        _SESSIONS[home] = Session(Registry(Lake(home / "lake")))
    return _SESSIONS[home]


_SESSIONS: dict[Path, Session] = {}
