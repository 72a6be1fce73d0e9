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
class Change:
    """What makes a snapshot a change against another one: it stores only the entities that differ.

    `base` is the id of the snapshot it is compared with, in the same Delta table; `depth` counts the change snapshots
    from the chain's full one, this one included. `rows` are stored by this snapshot, tombstones included, and
    `chain_rows` by all change snapshots of the chain up to it. `join_keys` say what an entity is. `event_time` is the
    column that each snapshot restates with its own as_of where it was its predecessor's; None where there is none.
    `is_unique` says that no entity has two rows.
    """

    base: str
    depth: int
    rows: int
    chain_rows: int
    join_keys: tuple[str, ...]
    event_time: str | None
    is_unique: bool


@dataclass(frozen=True, slots=True)
class Vanished:
    """How many entities of the snapshot `since` a later one does not hold any more."""

    since: str
    entities: int


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One immutable snapshot of one feature table (rule 19). Times are aware, UTC.

    `fingerprint` names the definition, `sources` what was read, `content_hash` what came out (publish metadata
    excluded). `delta_version` is the version of the table at `location` that its one commit made. `events` is the
    version of the event log behind it, where the table keeps one. `change` is None for a snapshot that is stored whole.
    `vanished` compares with the snapshot before it when it was published; None where there was none.
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
    change: Change | None = None
    vanished: Vanished | None = None


@dataclass(frozen=True, slots=True)
class Release:
    """The set of table snapshots of one as_of: the commit point that readers trust."""

    release_id: str
    as_of: datetime
    released_at: datetime
    project: str
    snapshots: dict[str, str] = field(default_factory=dict)
    """Feature table -> snapshot id."""
