"""Taking rows out of the lake: the only writes that are not appends (rule 9).

A published table is append-only for everybody else: its log says so. Maintenance lifts that for the length of a commit,
says in each commit what it did, and removes the files that nothing refers to any more, so that what is gone is gone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from featmill.errors import LakeError
from featmill.warehouse.columns import literal, quote

if TYPE_CHECKING:
    import pyarrow as pa
    from deltalake import CommitProperties, DeltaTable

#: The key of a commit's metadata that says which maintenance made it.
MAINTENANCE_KEY = "featmill.maintenance"

_APPEND_ONLY = "delta.appendOnly"


@dataclass(frozen=True, slots=True)
class Maintenance:
    """What a maintenance commit did, and when. `snapshots` are the snapshots concerned -> rows that they lost.

    `expired`: these snapshots are gone as a whole. `erased`: rows of them are gone or were blanked. `housekeeping`:
    no row changed.
    """

    kind: Literal["expired", "erased", "housekeeping"]
    at: datetime
    snapshots: Mapping[str, int] = field(default_factory=dict)

    def dump(self) -> str:
        """As it stands in a commit."""
        said = {"kind": self.kind, "at": self.at.isoformat(), "snapshots": dict(self.snapshots)}
        return json.dumps(said, sort_keys=True)

    @classmethod
    def load(cls, text: str) -> Maintenance:
        """From a commit.

        Raises:
            ValueError, KeyError: it is no maintenance.
        """
        said = json.loads(text)
        return cls(said["kind"], datetime.fromisoformat(said["at"]), said["snapshots"])


def drop_snapshots(location: Path, snapshot_ids: Sequence[str], at: datetime) -> int:
    """Delete whole snapshots from a published table; the bytes that their files held.

    Raises:
        LakeError: the table could not be written; a snapshot is there as a whole or not at all.
    """
    done = Maintenance("expired", at, dict.fromkeys(snapshot_ids, 0))
    listed = ", ".join(literal(one) for one in snapshot_ids)
    with _lifted(location, at) as table:
        before = _bytes(location)
        table.delete(f"snapshot_id IN ({listed})", commit_properties=_said(done))
        _remove_files(table, at)
    return before - _bytes(location)


def erase_rows(
    location: Path, keys: pa.Table, blanked: Sequence[str], done: Maintenance
) -> dict[str, Any]:
    """Delete the rows with these keys from a Delta table, or where `blanked` names columns, set these to NULL.

    Args:
        location: the table.
        keys: one column for each key column, of its type; NULLs match nothing.
        blanked: the columns to blank; none deletes the rows.
        done: what the commit says.

    Raises:
        LakeError: the table could not be written; nothing was erased.
    """
    matched = " AND ".join(f"kept.{quote(n)} = gone.{quote(n)}" for n in keys.column_names)
    with _lifted(location, done.at) as table:
        merge = table.merge(
            source=keys,
            predicate=matched,
            source_alias="gone",
            target_alias="kept",
            commit_properties=_said(done),
        )
        if blanked:
            merge = merge.when_matched_update(updates={quote(name): "NULL" for name in blanked})
        else:
            merge = merge.when_matched_delete()
        counts: dict[str, Any] = merge.execute()
        _remove_files(table, done.at)
    return counts


@contextmanager
def _lifted(location: Path, at: datetime) -> Iterator[DeltaTable]:
    """The table with its append-only mark lifted; put back whatever happens."""
    from deltalake import DeltaTable
    from deltalake.exceptions import DeltaError

    plain = _said(Maintenance("housekeeping", at))
    try:
        table = DeltaTable(str(location))
        table.alter.set_table_properties({_APPEND_ONLY: "false"}, commit_properties=plain)
        try:
            yield table
        finally:
            table.alter.set_table_properties({_APPEND_ONLY: "true"}, commit_properties=plain)
    except (DeltaError, OSError) as error:
        raise LakeError(
            f"{location} could not be rewritten: {error}",
            hint="free space or mend the folder's permissions, and run the command again",
        ) from error


def _remove_files(table: DeltaTable, at: datetime) -> None:
    """Delete the files that no commit refers to any more: the caller holds the build's lock, so nobody writes one."""
    table.vacuum(
        retention_hours=0,
        enforce_retention_duration=False,
        dry_run=False,
        commit_properties=_said(Maintenance("housekeeping", at)),
    )


def _said(done: Maintenance) -> CommitProperties:
    from deltalake import CommitProperties

    return CommitProperties(custom_metadata={MAINTENANCE_KEY: done.dump()})


def _bytes(location: Path) -> int:
    return sum(path.stat().st_size for path in location.rglob("*.parquet"))
