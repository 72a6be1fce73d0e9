"""Views that are live and not declared any more: their fields go, then their live record.

Which entities a view had is not known any more, nor their join keys: every key of the project is looked at. Other views
share the hashes, so only the view's own fields are deleted; Redis drops a hash with its last field.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from exporters.redis.entity_keys import key_commands, key_pages
from featmill.errors import OnlineError
from featmill.online.connection import translated_errors
from featmill.online.live import LiveState, live_key, parse_record
from featmill.online.pipeline import Pipeline
from featmill.online.plan import feature_field, time_field
from featmill.online.topology import through_moves, topology_of

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from featmill.online.connection import OnlineTarget
    from featmill.online.live import LiveRecord

_PAGE = 10_000


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
    fields = [field for field in fields_of(view, record) if field not in keep]
    entities = _delete(target, project, fields)
    with translated_errors(target), target.client() as client:
        client.hdel(live_key(project), view)
    return RetiredView(project, view, entities)


def fields_of(view: str, record: LiveRecord) -> list[bytes]:
    """The fields of a view that an entity may have in the store."""
    names = (*record.features, *record.dropped)
    return [time_field(view), *dict.fromkeys(feature_field(view, name) for name in names)]


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
    encode = partial(key_commands, b"HDEL", fields=fields)

    def attempt() -> None:
        with Pipeline(target, window=_PAGE, topology=topology) as pipeline:
            for node in topology.nodes:
                with translated_errors(node), node.client(timeout=60) as client:
                    for keys in key_pages(client, project, look=_PAGE):
                        pipeline.send_keys(keys, encode, count)
            pipeline.finish()

    # Where slots move meanwhile every node is looked through again: what is deleted is not there any more.
    through_moves(topology, attempt, lambda: found)
    return found
