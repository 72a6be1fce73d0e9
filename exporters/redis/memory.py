"""How much memory rows take: a sample of entities, asked one by one, times how many there are."""

from __future__ import annotations

import struct
from itertools import islice
from typing import TYPE_CHECKING

from exporters.redis.entity_keys import key_pages
from featmill.contract.types import OnlineKind
from featmill.online.plan import KEY_TYPES
from featmill.online.refusals import translated_errors
from featmill.online.topology import topology_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from featmill.online.connection import OnlineTarget
    from featmill.online.live import LiveRecord

#: Entities that are asked, and at most how many pages of keys are looked at to find them.
_SAMPLE, _PAGES, _PAGE = 200, 200, 1_000


def estimated_bytes(
    target: OnlineTarget, rows_project: str, records: Mapping[str, LiveRecord]
) -> dict[str, int | None]:
    """The bytes of each view's rows, by view; None where no entity was found.

    Views with the same join keys share their entities' hashes: each is given its share of the fields.

    Raises:
        OnlineUnreachable: the store does not answer.
        OnlineRefused: the store refused a command.
    """
    found: dict[str, int | None] = {}
    groups: dict[tuple[str, ...], list[str]] = {}
    for view, record in records.items():
        groups.setdefault(record.keys, []).append(view)
    for keys, views in groups.items():
        fields = {view: len(records[view].features) + 1 for view in views}
        mean = _mean_bytes(target, rows_project, [key.rpartition(" ")[0] for key in keys])
        entities = max(records[view].rows for view in views)
        for view in views:
            share = fields[view] / sum(fields.values())
            found[view] = None if mean is None else round(mean * entities * share)
    return found


def _mean_bytes(target: OnlineTarget, rows_project: str, names: list[str]) -> float | None:
    """The mean size of an entity with these join keys."""
    sizes: list[int] = []
    for node in topology_of(target).nodes:
        with translated_errors(node), node.client(timeout=60) as client:
            pipe = client.pipeline(transaction=False)
            for key in _sample(node, rows_project, names):
                pipe.memory_usage(key)
            sizes += [size for size in pipe.execute() if size is not None]
    return sum(sizes) / len(sizes) if sizes else None


def _sample(node: OnlineTarget, rows_project: str, names: list[str]) -> Iterator[bytes]:
    header = struct.pack("<I", len(names))
    parts = [
        struct.pack("<II", KEY_TYPES[OnlineKind.STRING], len(n.encode())) + n.encode()
        for n in names
    ]
    found = 0
    with translated_errors(node), node.client(timeout=60) as client:
        pages = key_pages(client, rows_project, look=_PAGE, prefix=header + b"".join(parts))
        for keys in islice(pages, _PAGES):
            yield from keys.slice(0, _SAMPLE - found).to_pylist()
            found += min(len(keys), _SAMPLE - found)
            if found == _SAMPLE:
                return
