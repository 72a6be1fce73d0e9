"""The log of one published table as snapshots: which there are, which files hold them, what columns they have."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, fields
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featmill.errors import LakeError
from featmill.warehouse.delta_log import Commit, DeltaLog
from featmill.warehouse.maintenance import MAINTENANCE_KEY, Maintenance
from featmill.warehouse.model import Change, Snapshot, SourceVersion, Vanished

if TYPE_CHECKING:
    import pyarrow as pa

#: The partition column and the publish metadata that every published table carries.
SNAPSHOT_COLUMN = "snapshot_id"
PUBLISHED_AT_COLUMN = "published_at"

#: The key of a commit's metadata that holds the snapshot's identity.
METADATA_KEY = "featmill.snapshot"

_MOMENTS = ("as_of", "cut_off", "published_at")
#: Where the table lies and which commit made the snapshot: the log says so itself.
_PLACE = frozenset({"location", "delta_version"})


class SnapshotLog(DeltaLog):
    """Snapshots by id, in the order of their commits."""

    snapshots: dict[str, Snapshot]

    def forget(self) -> None:
        """Begin anew."""
        self.snapshots = {}
        self._files: dict[str, list[str]] = {}
        self._schemas: list[str] = []
        self._schema_of: dict[str, int] = {}
        self._arrow: dict[int, pa.Schema] = {}
        #: Of snapshots that retention removed, and that erasure took rows from: when, and how many rows.
        self.expired: dict[str, datetime] = {}
        self.erased: dict[str, int] = {}

    def take(self, commit: Commit) -> None:
        """Learn the commit's snapshot, or what maintenance did.

        Raises:
            LakeError: a commit that featmill did not make stands in the table's log.
        """
        if MAINTENANCE_KEY in commit.info:
            self._maintain(commit)
            return
        text = commit.info.get(METADATA_KEY)
        if text is None or commit.removed:
            raise LakeError(
                f"{self.location}: version {commit.version} was not written by featmill ({commit.operation})",
                hint="published tables are append-only; restore the table's log or publish to a new FEATMILL_HOME",
            )
        if commit.schema is not None:
            self._schemas.append(commit.schema)
        self._add(commit)
        snapshot = load(str(text), self.location, commit.version)
        self._schema_of[snapshot.snapshot_id] = len(self._schemas) - 1
        self.snapshots[snapshot.snapshot_id] = snapshot

    def _add(self, commit: Commit) -> None:
        for file in commit.added:
            held = file.partition.get(SNAPSHOT_COLUMN)
            self._files.setdefault(str(held), []).append(file.path)

    def _maintain(self, commit: Commit) -> None:
        """Follow what retention and erasure did: the only commits that take away."""
        try:
            done = Maintenance.load(commit.info[MAINTENANCE_KEY])
        except (ValueError, KeyError, TypeError) as error:
            raise LakeError(
                f"{self.location}: version {commit.version} does not say what it maintained: {error}"
            ) from error
        gone = frozenset(commit.removed)
        for held, paths in self._files.items():
            self._files[held] = [path for path in paths if path not in gone]
        self._add(commit)
        for snapshot_id, rows in done.snapshots.items():
            if done.kind == "erased":
                self.erased[snapshot_id] = self.erased.get(snapshot_id, 0) + rows
            elif self.snapshots.pop(snapshot_id, None) is not None:
                self.expired[snapshot_id] = done.at

    def files(self, snapshot_id: str) -> Sequence[str]:
        """The Parquet files of one snapshot, absolute."""
        return self._files.get(snapshot_id, ())

    def schema_number(self, snapshot_id: str) -> int:
        """Snapshots with the same number have the same columns; a column that is added begins a new one.

        Raises:
            LakeError: the log knows no such snapshot.
        """
        if snapshot_id not in self._schema_of:
            raise LakeError(f"{self.location}: the files of snapshot {snapshot_id} are gone")
        return self._schema_of[snapshot_id]

    def schema(self, number: int = -1) -> pa.Schema:
        """A schema by its number; without one the table's present schema."""
        import pyarrow as pa
        from deltalake import Schema

        number = range(len(self._schemas))[number]
        if number not in self._arrow:
            self._arrow[number] = pa.schema(Schema.from_json(self._schemas[number]).to_arrow())
        return self._arrow[number]


def dump(snapshot: Snapshot) -> str:
    """A snapshot's identity as it stands in its commit."""
    said = {key: value for key, value in asdict(snapshot).items() if key not in _PLACE}
    return json.dumps(said, default=lambda value: value.isoformat(), sort_keys=True)


def load(text: str, location: Path, delta_version: int) -> Snapshot:
    """A snapshot from its commit.

    Raises:
        LakeError: the text is not a snapshot's identity.
    """
    try:
        return _load(json.loads(text), location, delta_version)
    except (ValueError, KeyError, TypeError) as error:
        raise LakeError(
            f"{location}: version {delta_version} does not say which snapshot it is: {error}",
            hint="restore the table's log, or read it with the featmill that wrote it",
        ) from error


def _load(said: dict[str, Any], location: Path, delta_version: int) -> Snapshot:
    known = {field.name for field in fields(Snapshot)}
    said = {key: value for key, value in said.items() if key in known}
    for name in _MOMENTS:
        said[name] = datetime.fromisoformat(said[name])
    said["sources"] = tuple(
        SourceVersion(
            source=source["source"],
            rows=source["rows"],
            digest=source["digest"],
            newest=None if source["newest"] is None else datetime.fromisoformat(source["newest"]),
        )
        for source in said["sources"]
    )
    if said.get("change") is not None:
        change = said["change"]
        said["change"] = Change(**{**change, "join_keys": tuple(change["join_keys"])})
    if said.get("vanished") is not None:
        said["vanished"] = Vanished(**said["vanished"])
    return Snapshot(**said, location=str(location), delta_version=delta_version)
