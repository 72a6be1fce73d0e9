"""What the registry and the lake say about published data: snapshots and releases."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime


@dataclass(frozen=True, slots=True)
class SourceVersion:
    """What a build read of one source: its rows up to the cut-off, counted and hashed whatever their order."""

    source: str
    rows: int
    digest: str
    newest: datetime | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One immutable snapshot of one feature table (rule 19). Times are aware, UTC.

    `fingerprint` names the definition, `sources` what was read, `content_hash` what came out (publish metadata
    excluded). `delta_version` is the version of the table at `location` that its one commit made. `events` is the
    version of the event log behind it, where the table keeps one.
    """

    table: str
    snapshot_id: str
    as_of: datetime
    cut_off: datetime
    published_at: datetime
    fingerprint: str
    sources: tuple[SourceVersion, ...]
    rows: int
    content_hash: str
    location: str
    delta_version: int
    events: str | None = None


@dataclass(frozen=True, slots=True)
class Release:
    """The set of table snapshots of one as_of: the commit point that readers trust."""

    release_id: str
    as_of: datetime
    released_at: datetime
    project: str
    snapshots: dict[str, str] = field(default_factory=dict)
    """Feature table -> snapshot id."""
