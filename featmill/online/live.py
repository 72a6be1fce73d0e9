"""What is live online, kept in the store itself so that it cannot disagree with the rows beside it.

One hash per Feast project; a field per view. While rows are written the record says `writing` and
how far: it travels on the rows' own connection, after the rows it counts, so if the mark is there
the rows are (rule 21).
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, ValidationError

from featmill.errors import OnlineError
from featmill.online.connection import translated_errors

if TYPE_CHECKING:
    from featmill.online.connection import OnlineTarget

#: Each is one command to the server, so nothing comes between the look and the write.
_MARK = """
local found = redis.call('HGET', KEYS[1], ARGV[1])
if not found or not string.find(found, ARGV[2], 1, true) then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return 1
"""
_SWAP = """
if (redis.call('HGET', KEYS[1], ARGV[1]) or '') ~= ARGV[2] then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[3])
return 1
"""


class LiveState(StrEnum):
    """`writing` until every row is there and nothing else is, then `complete`."""

    WRITING = "writing"
    COMPLETE = "complete"


class LiveBase(BaseModel):
    """What was there, whole, when a run began that writes only what differs from it.

    Snapshot, rows and `content` as in the record that said so; `read_at` is when it was begun, and what the registry
    held then decided its rows. `key_life_us` is the record's.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    snapshot_id: str
    content: str
    rows: int
    read_at: datetime
    key_life_us: int | None = None


class LiveRecord(BaseModel):
    """What one view holds online.

    `content` is a digest of all that decides the values. `holds` names the snapshots that the rows
    come from: a lookup at the as_of may find a row of an earlier one (rule 12). `position` counts
    the rows, in key order, that are known to be there. `replaces` names the snapshots whose rows may
    still be there, `features` and `dropped` every feature whose fields may be. `keys` are the
    entities' join keys with their online kinds. `writer` tells one export run from another, `clients`
    are its connections, the number that each server gave its own, and `epoch` is the promotion that it
    belongs to: a greater one wins (rule 21). `key_life_us` is how long after a row's event time the store
    may drop its key, microseconds, None where keys stay; `may_expire` says that a run before may have let some go.

    A run that writes only what differs names what it differs from, `base`, and how many rows that is, `differing`;
    its position counts these rows.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    release_id: str
    snapshot_id: str
    as_of: datetime
    rows: int
    state: LiveState
    position: int
    features: tuple[str, ...]
    content: str = ""
    holds: tuple[str, ...] = ()
    keys: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    replaces: tuple[str, ...] = ()
    writer: str
    key_life_us: int | None = None
    may_expire: bool = False
    clients: dict[str, int] = {}
    epoch: int = 0
    base: LiveBase | None = None
    differing: int | None = None
    started_at: datetime
    finished_at: datetime | None = None

    @property
    def is_complete(self) -> bool:
        """Whether the view holds exactly its snapshot."""
        return self.state is LiveState.COMPLETE

    @property
    def to_write(self) -> int:
        """The row at which `position` ends."""
        return self.rows if self.differing is None else self.differing


def live_key(project: str) -> bytes:
    """The key of the project's live records.

    Feast finds an entity's keys by how they begin (a join-key count) and end (the project); this
    does neither.
    """
    return f"featmill:{project}:live".encode()


def mark_command(project: str, view: str, record: LiveRecord) -> bytes:
    """As bytes for a pipeline: set a view's record if it is still its writer's. The answer is 1, or 0 if it is not."""
    writer = f'"writer":"{record.writer}"'
    texts = ("EVAL", _MARK, "1", live_key(project).decode(), view, writer, record.model_dump_json())
    parts = [text.encode() for text in texts]
    # `row_bytes.bulk` would bring NumPy and Arrow to whoever only parses a DAG.
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(p), p) for p in parts)


def swap_record(
    target: OnlineTarget, project: str, view: str, before: bytes | None, after: LiveRecord
) -> bool:
    """Set a view's record if its bytes are `before` still; whether they were. None stands for no record.

    Raises:
        OnlineUnreachable: the store does not answer.
        OnlineRefused: the store refused the command.
    """
    with translated_errors(target), target.client() as client:
        arguments = (view, before or b"", after.model_dump_json())
        return bool(client.eval(_SWAP, 1, live_key(project), *arguments))


def parse_record(view: str, data: bytes) -> LiveRecord:
    """Read a record's bytes.

    Raises:
        OnlineError: they are not a record of this version of featmill.
    """
    try:
        return LiveRecord.model_validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise OnlineError(
            f"the live record of {view} cannot be read: {where}: {first['msg']}",
            hint="export the table again with --force",
        ) from error


def read_record_bytes(target: OnlineTarget, project: str, view: str) -> bytes | None:
    """The bytes of the record of one view; None if it was never exported.

    Raises:
        OnlineUnreachable: the store does not answer.
    """
    with translated_errors(target), target.client() as client:
        data: bytes | None = client.hget(live_key(project), view)
    return data


def read_record(target: OnlineTarget, project: str, view: str) -> LiveRecord | None:
    """The record of one view; None if it was never exported.

    Raises:
        OnlineUnreachable: the store does not answer.
        OnlineError: the record cannot be read.
    """
    data = read_record_bytes(target, project, view)
    return None if data is None else parse_record(view, data)


def live_views(target: OnlineTarget, project: str) -> tuple[str, ...]:
    """The views that have a record, sorted; whether it can be read or not.

    Raises:
        OnlineUnreachable: the store does not answer.
    """
    with translated_errors(target), target.client() as client:
        return tuple(sorted(view.decode() for view in client.hkeys(live_key(project))))


def read_live(target: OnlineTarget, project: str) -> dict[str, LiveRecord]:
    """The records of every view that was exported, by view.

    Raises:
        OnlineUnreachable: the store does not answer.
        OnlineError: a record cannot be read.
    """
    with translated_errors(target), target.client() as client:
        found = client.hgetall(live_key(project))
    named = ((view.decode(), data) for view, data in found.items())
    return {view: parse_record(view, data) for view, data in sorted(named)}
