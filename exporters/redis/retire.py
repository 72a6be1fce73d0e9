"""Views that are live and not declared any more: their fields go, then their live record.

Which entities a view had is not known any more, nor their join keys: every key of the project is looked at. Other views
share the hashes, so only the view's own fields are deleted; Redis drops a hash with its last field.
"""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from featmill.errors import OnlineError
from featmill.online.connection import translated_errors
from featmill.online.live import LiveState, live_key, parse_record
from featmill.online.pipeline import Pipeline
from featmill.online.plan import feature_field, time_field
from featmill.online.row_bytes import (
    CRLF,
    RowBytes,
    binary_data,
    binary_lengths,
    binary_offsets,
    bulk,
    bulk_prefix,
)
from featmill.online.topology import through_moves, topology_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from featmill.online.connection import OnlineTarget
    from featmill.online.live import LiveRecord
    from featmill.online.row_bytes import Bytes, Lengths, Mask

_PAGE = 10_000

#: Before each name and each value of an entity's key: its type and its length, unsigned 32-bit integers.
_HEADER = 8
_COUNT = 4


@dataclass(frozen=True, slots=True)
class RetiredView:
    """A view that was taken offline, and how many entities it had."""

    project: str
    view: str
    entities: int


def retire_view(
    target: OnlineTarget, project: str, view: str, *, keep: Collection[bytes] = ()
) -> RetiredView:
    """Take a view offline. Killed half-way it is incomplete, and the next run takes the rest.

    Args:
        target: the store.
        project: the Feast project.
        view: the view; its live record says which features it had.
        keep: fields that other views of the project own, should one be the same 32-bit hash.

    Raises:
        OnlineUnreachable: the store does not answer.
        OnlineRefused: the store refused a command.
        OnlineError: the live record cannot be read.
    """
    record = _begin(target, project, view)
    if record is None:
        return RetiredView(project, view, 0)
    features = (feature_field(view, name) for name in (*record.features, *record.dropped))
    fields = [time_field(view), *dict.fromkeys(field for field in features if field not in keep)]
    entities = _delete(target, project, fields)
    with translated_errors(target), target.client() as client:
        client.hdel(live_key(project), view)
    return RetiredView(project, view, entities)


def _begin(target: OnlineTarget, project: str, view: str) -> LiveRecord | None:
    """Say that the view is not whole any more: should it be declared again, every row is written again."""
    with translated_errors(target), target.client() as client:
        data = client.hget(live_key(project), view)
        if data is None:
            return None
        try:
            record = parse_record(view, data)
        except OnlineError as error:
            raise OnlineError(
                error.message,
                hint=f"{view} is not declared any more: declare it, export with --force, then remove it again",
            ) from error
        begun = record.model_copy(
            update={
                "state": LiveState.WRITING,
                "position": 0,
                "base": None,
                "differing": None,
                "writer": uuid.uuid4().hex,
                "finished_at": None,
            }
        )
        client.hset(live_key(project), view, begun.model_dump_json())
    return begun


def _delete(target: OnlineTarget, project: str, fields: Sequence[bytes]) -> int:
    """Delete the fields from every entity of the project; how many had any."""
    found = 0

    def count(deleted: int) -> None:
        nonlocal found
        found += deleted > 0

    topology = topology_of(target)

    def attempt() -> None:
        with Pipeline(target, window=_PAGE, topology=topology) as pipeline:
            for node in topology.nodes:
                for keys in _entities(node, project):
                    pipeline.send_keys(
                        keys, lambda part: field_delete_commands(part, fields), count
                    )
            pipeline.finish()

    # Where slots move meanwhile every node is looked through again: what is deleted is not there any more.
    through_moves(topology, attempt, lambda: found)
    return found


def _entities(node: OnlineTarget, project: str) -> Iterator[pa.LargeBinaryArray]:
    """The keys of the project's entities on one node, a page at a time."""
    # Redis' patterns give these a meaning: `a*b` is written `a\*b`.
    pattern = b"*" + re.sub(rb"([*?\[\]\\])", rb"\\\1", project.encode())
    with translated_errors(node), node.client(timeout=60) as client:
        cursor = -1
        while cursor != 0:
            cursor, page = client.scan(max(cursor, 0), match=pattern, count=_PAGE, _type="HASH")
            keys = pa.array(page, pa.large_binary())
            keys = keys.filter(pa.array(are_entities(project, keys)))
            if len(keys) > 0:
                yield keys


def are_entities(project: str, keys: pa.LargeBinaryArray) -> Mask:
    """Which Redis keys are those of entities of the project, whatever their join keys.

    A pattern cannot tell: the key of a project `workshop` also ends with `shop`. An entity's key is the number of join
    keys, their names, their values, each after its type and length, then the project.
    """
    walk = _Walk(keys)
    counts = walk.take_count()
    # Names first, then as many values: in each step the keys that still have one are one part further.
    for step in range(2 * int(counts.max(initial=0))):
        walk.take_part(step < 2 * counts)
    return walk.ends_with(project.encode()) & (counts > 0)


class _Walk:
    """A place in each of many keys; one that would leave its key is marked and stays."""

    def __init__(self, keys: pa.LargeBinaryArray) -> None:
        offsets: Lengths = binary_offsets(keys) - binary_offsets(keys)[0]
        # Room for a header behind the last key.
        self._data: Bytes = np.concatenate([binary_data(keys), np.zeros(_HEADER, np.uint8)])
        self._at, self._ends = offsets[:-1].copy(), offsets[1:]
        self._fits: Mask = np.ones(len(keys), np.bool_)

    def take_count(self) -> Lengths:
        """The number a key begins with, 0 where it cannot be one."""
        counts = self._integers(self._at)
        # A part takes at least its header, so more cannot be meant; it also bounds the steps.
        possible = (self._ends - self._at - _COUNT) // (2 * _HEADER)
        self._fits &= counts <= possible
        self._at += np.where(self._fits, _COUNT, 0)
        return np.where(self._fits, counts, 0)

    def take_part(self, wanted: Mask) -> None:
        """Go past a header and what it says the length of."""
        wanted = wanted & self._fits
        self._fits &= ~wanted | (self._at + _HEADER <= self._ends)
        lengths = self._integers(np.where(self._fits, self._at + _COUNT, 0))
        after = self._at + _HEADER + lengths
        self._fits &= ~wanted | (after <= self._ends)
        self._at = np.where(wanted & self._fits, after, self._at)

    def ends_with(self, rest: bytes) -> Mask:
        """Whether exactly this is left."""
        fits: Mask = self._fits & (self._ends - self._at == len(rest))
        places = np.where(fits, self._at, 0)[:, None] + np.arange(len(rest))
        if len(rest) > len(self._data):
            return np.zeros(len(fits), np.bool_)
        same: Mask = (self._data[places] == np.frombuffer(rest, np.uint8)).all(axis=1)
        return fits & same

    def _integers(self, places: Lengths) -> Lengths:
        found: Lengths = (
            self._data[places[:, None] + np.arange(_COUNT)].view("<u4")[:, 0].astype(np.int64)
        )
        return found


def field_delete_commands(keys: pa.LargeBinaryArray, fields: Sequence[bytes]) -> Bytes:
    """One HDEL a key."""
    out = RowBytes(len(keys))
    lengths = binary_lengths(keys)
    out.constant(b"*%d\r\n%b" % (2 + len(fields), bulk(b"HDEL")))
    bulk_prefix(out, lengths)
    out.binary(keys, lengths)
    out.constant(CRLF + b"".join(bulk(field) for field in fields))
    return out.stream()
