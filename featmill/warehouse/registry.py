"""The registry of releases: the commit point over several Delta tables.

Delta tables cannot commit together. A release is one row appended to one small Delta table; until it is there, readers
see the release before it, whatever the tables already hold.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

from featmill import clock
from featmill.errors import LakeError, NoRelease
from featmill.warehouse.identity import release_id
from featmill.warehouse.lake import Lake, newest_per_as_of
from featmill.warehouse.model import Release, Snapshot


class Registry:
    """The releases of one lake."""

    def __init__(self, lake: Lake) -> None:
        self.lake = lake
        self.location = lake.root / "_registry" / "releases"

    def releases(self) -> list[Release]:
        """Every release, oldest as_of first, of one as_of in the order they were made."""
        from deltalake import DeltaTable
        from deltalake.exceptions import DeltaError

        if not DeltaTable.is_deltatable(str(self.location)):
            return []
        try:
            rows = DeltaTable(str(self.location)).to_pyarrow_table().to_pylist()
        except (DeltaError, OSError) as error:
            raise LakeError(f"the registry at {self.location} cannot be read: {error}") from error
        found = [
            Release(
                release_id=row["release_id"],
                as_of=row["as_of"],
                released_at=row["released_at"],
                project=row["project"],
                snapshots=json.loads(row["snapshots"]),
            )
            for row in rows
        ]
        return sorted(found, key=lambda r: (r.as_of, r.released_at))

    def newest(self) -> Release:
        """The release with the latest as_of, of several the one made last.

        Raises:
            NoRelease: nothing has been released yet.
        """
        releases = self.releases()
        if not releases:
            raise NoRelease(
                "nothing has been released yet",
                hint="build first: `dbt build` or `featmill build` publishes tables whose tests pass",
            )
        return releases[-1]

    def find(self, wanted: str | None) -> Release:
        """A release by its id, or the newest where None is wanted.

        Raises:
            NoRelease: there is no such release.
        """
        if wanted is None:
            return self.newest()
        for release in self.releases():
            if release.release_id == wanted:
                return release
        raise NoRelease(
            f"there is no release {wanted!r}", hint="featmill snapshots lists what there is"
        )

    def commit(
        self, as_of: datetime, snapshots: Sequence[Snapshot], project: str
    ) -> tuple[Release, bool]:
        """Release these snapshots together; `(release, False)` where the newest of this as_of is the same set.

        Raises:
            LakeError: the registry could not be written, or is another project's; no release was made.
        """
        others = {release.project for release in self.releases()} - {project}
        if others:
            raise LakeError(
                f"the registry at {self.location} belongs to project {', '.join(sorted(others))}, not {project}",
                hint="give each project a FEATMILL_HOME of its own",
            )
        members = {snapshot.table: snapshot.snapshot_id for snapshot in snapshots}
        wanted = release_id(as_of, members)
        same_moment = [release for release in self.releases() if release.as_of == as_of]
        if same_moment and same_moment[-1].release_id == wanted:
            return same_moment[-1], False
        # Of one as_of the release made last is the newest, even where a clock stepped back.
        earliest = [release.released_at + timedelta(microseconds=1) for release in same_moment[-1:]]
        released_at = max([clock.now(), *earliest])
        release = Release(
            release_id=wanted,
            as_of=as_of,
            released_at=released_at,
            project=project,
            snapshots=members,
        )
        self._append(release)
        return release, True

    def released_snapshots(self, table: str) -> list[Snapshot]:
        """The snapshots of a table that stand in a release; of each as_of the one its newest release holds.

        Only those of the model version that was released last: another version is another definition and schema, and
        its rows answer for nothing here.
        """
        newest_release = {release.as_of: release for release in self.releases()}
        members = {release.snapshots.get(table) for release in newest_release.values()}
        found = [s for s in self.lake.snapshots(table) if s.snapshot_id in members]
        if not found:
            return []
        current = max(found, key=lambda s: s.published_at).location
        return newest_per_as_of([s for s in found if s.location == current])

    def _append(self, release: Release) -> None:
        import pyarrow as pa
        from deltalake import write_deltalake
        from deltalake.exceptions import DeltaError

        moment = pa.timestamp("us", "UTC")
        row = pa.table(
            {
                "release_id": pa.array([release.release_id], pa.string()),
                "as_of": pa.array([release.as_of], moment),
                "released_at": pa.array([release.released_at], moment),
                "project": pa.array([release.project], pa.string()),
                "snapshots": pa.array([json.dumps(release.snapshots, sort_keys=True)], pa.string()),
            }
        )
        self.location.mkdir(parents=True, exist_ok=True)
        try:
            write_deltalake(
                str(self.location), row, mode="append", configuration={"delta.appendOnly": "true"}
            )
        except (DeltaError, OSError) as error:
            raise LakeError(
                f"the registry at {self.location} could not be written: {error}"
            ) from error


def open_registry(lake_dir: Path) -> Registry:
    """The registry of the lake at `lake_dir`."""
    return Registry(Lake(lake_dir))
