"""Where what is kept sorted of an event log lies, and since when it is stale: erased rows stay in no copy."""

from __future__ import annotations

from pathlib import Path

from featmill.errors import LakeError
from featmill.warehouse.maintenance import MAINTENANCE_KEY


def event_index_root(location: Path | str) -> Path:
    """The folder beside a log; whoever erases rows of the log removes it."""
    place = Path(location)
    return place.with_name(f"index_{place.name}")


def maintained_at(location: Path | str) -> int:
    """The log's newest version that maintenance wrote, -1 for none: what was made of the rows before it is stale.

    Raises:
        LakeError: the log cannot be read.
    """
    from deltalake import DeltaTable
    from deltalake.exceptions import DeltaError

    try:
        history = DeltaTable(str(location)).history()
    except (DeltaError, OSError) as error:
        raise LakeError(f"the event log at {location} cannot be read: {error}") from error
    return max((int(c["version"]) for c in history if MAINTENANCE_KEY in c), default=-1)
