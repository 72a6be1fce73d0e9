"""Old generations out of the store, beside the reads that it serves.

A page of keys at a time, each a few short commands, with a pause as long as the page took: no command is long enough
for a read to wait for, and the server is busy with it for at most half of the time. UNLINK frees big values elsewhere.
"""

from __future__ import annotations

import re
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from exporters.redis.generations import drop_generation
from exporters.redis.retire import are_entities
from featmill.online.live import live_key
from featmill.online.pipeline import Pipeline
from featmill.online.refusals import translated_errors
from featmill.online.row_bytes import CRLF, RowBytes, binary_lengths, bulk, bulk_prefix
from featmill.online.serving_state import (
    claim_removal,
    release_claim,
    removal_field,
    serving_key,
)
from featmill.online.topology import topology_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from featmill.online.connection import OnlineTarget
    from featmill.online.row_bytes import Bytes

    OnProgress = Callable[[str, int], None]
    """Told the rows project and how many of its entities are gone."""

#: Keys that one SCAN looks at, and so the most that one page takes away.
_LOOK = 500
#: A pause lasts at least this long: on a quick connection a page alone takes less than the scheduler's tick.
_PAUSE = 0.0005


@dataclass(frozen=True, slots=True)
class RemovedGeneration:
    """A generation that was taken out of the store, and how many entities it had."""

    project: str
    rows_project: str
    entities: int


def remove_generation(
    target: OnlineTarget, project: str, rows_project: str, on_progress: OnProgress | None = None
) -> RemovedGeneration | None:
    """Remove a generation's rows, then what is known of it; None where it serves, or another run removes it.

    Killed half-way it stays marked, and the next run takes the rest.

    Raises:
        OnlineUnreachable: the store does not answer.
        OnlineRefused: the store refused a command.
    """
    token = uuid.uuid4().hex
    if not claim_removal(target, project, rows_project, token):
        return None
    removed = 0
    claim = (serving_key(project), removal_field(rows_project))
    with translated_errors(target), target.client() as client:
        for entities in _pages(target, rows_project):
            if client.hget(*claim) != token.encode():
                return None
            removed += entities
            if on_progress is not None:
                on_progress(rows_project, removed)
        client.delete(live_key(rows_project))
    drop_generation(target, project, rows_project)
    release_claim(target, project, rows_project)
    return RemovedGeneration(project, rows_project, removed)


def _pages(target: OnlineTarget, rows_project: str) -> Iterator[int]:
    """Remove, node by node; after each page how many entities it had."""
    pattern = b"*" + re.sub(rb"([*?\[\]\\])", rb"\\\1", rows_project.encode())
    for node in topology_of(target).nodes:
        cursor = -1
        with (
            translated_errors(node),
            node.client(timeout=60) as client,
            Pipeline(node, window=_LOOK) as pipeline,
        ):
            while cursor != 0:
                begun = time.perf_counter()
                cursor, page = client.scan(max(cursor, 0), match=pattern, count=_LOOK)
                _rest(begun)
                begun = time.perf_counter()
                keys = pa.array(page, pa.large_binary())
                keys = keys.filter(pa.array(are_entities(rows_project, keys)))
                if len(keys) > 0:
                    pipeline.send(_unlink_commands(keys), len(keys))
                    pipeline.finish()
                    _rest(begun)
                yield len(keys)


def _unlink_commands(keys: pa.LargeBinaryArray) -> Bytes:
    """One UNLINK a key: the keys of a cluster's node are of many slots."""
    out = RowBytes(len(keys))
    lengths = binary_lengths(keys)
    out.constant(b"*2\r\n" + bulk(b"UNLINK"))
    bulk_prefix(out, lengths)
    out.binary(keys, lengths)
    out.constant(CRLF)
    return out.stream()


def _rest(begun: float) -> None:
    time.sleep(max(time.perf_counter() - begun, _PAUSE))
