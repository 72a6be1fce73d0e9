"""What serves now in one Feast project: the pointer that a promotion flips, in the store beside the rows (rule 21).

A hash of two fields that are always written together: `version` is short, and a reader asks for it in every round trip;
only when it differs from what the reader knows is `state` read. So a reader needs no clock and no subscription to know
that what it read is of the generation it meant to read.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict


class PublishMode(StrEnum):
    """`in_place`: the live rows are changed one by one. `generation`: a whole new set is written, then one flip."""

    IN_PLACE = "in_place"
    GENERATION = "generation"


class ServedView(BaseModel):
    """One view: the snapshot that serves; None while rows are replaced in place and may be of either."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    snapshot_id: str | None
    rows: int


class ServingState(BaseModel):
    """What one Feast project serves.

    `rows_project` is the project name in the rows' keys: the Feast project itself in place, or its name followed by the
    generation. `epoch` grows with every promotion and rollback, whichever wins is the greater (rule 21).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    epoch: int
    mode: PublishMode
    rows_project: str
    release_id: str
    as_of: datetime
    flipped_at: datetime
    is_complete: bool
    views: dict[str, ServedView]


def serving_key(project: str) -> bytes:
    """The key of the hash. Like the live records' it cannot be taken for an entity's."""
    return f"featmill:{project}:serving".encode()
