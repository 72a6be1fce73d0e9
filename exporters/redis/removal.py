"""Old generations out of the store, beside the reads that it serves.

A page of keys at a time, each a few short commands, with a pause as long as the page took: no command is long enough
for a read to wait for, and the server is busy with it for at most half of the time. UNLINK frees big values elsewhere.

Who removes says so in the store first, with the connections it will do it through. Who takes over from one that was
killed, or only paused, ends these: what a paused run has not
sent by then never arrives, whatever is written there anew.
"""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, ValidationError

from exporters.redis.claim import end_connections
from exporters.redis.entity_keys import key_commands, key_pages
from exporters.redis.generations import generations_key
from exporters.redis.retire import fields_of
from featmill.errors import OnlineUnreachable
from featmill.online.live import live_key, read_live
from featmill.online.pipeline import Pipeline
from featmill.online.refusals import translated_errors
from featmill.online.row_bytes import bulk
from featmill.online.serving_state import claim_removal, removal_field, serving_key
from featmill.online.topology import topology_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pyarrow as pa

    from featmill.online.connection import OnlineTarget
    from featmill.online.row_bytes import Bytes
    from featmill.online.topology import Topology

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


class RemovalClaim(BaseModel):
    """Who removes rows: a token, and the connections, by server, that the commands come through."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    token: str
    clients: dict[str, int] = {}


class _OtherRemover(Exception):
    """Another run removes the rows by now, or has."""


def remove_generation(
    target: OnlineTarget, project: str, rows_project: str, on_progress: OnProgress | None = None
) -> RemovedGeneration | None:
    """Remove a generation's rows, then what is known of it; None where it serves, or another run removes it.

    Of the rows in place only the fields of featmill's own views go: a user's own Feast views may be in the same hashes.
    Killed half-way it stays marked, and the next run takes the rest.

    Raises:
        OnlineUnreachable: the store does not answer.
        OnlineRefused: the store refused a command.
        OnlineError: a live record of the rows in place cannot be read.
    """
    topology = topology_of(target)
    with Pipeline(target, window=_LOOK, topology=topology) as pipeline:
        claim = RemovalClaim(token=uuid.uuid4().hex, clients=pipeline.client_ids())
        before = claim_removal(target, project, rows_project, claim.model_dump_json())
        if before is None:
            return None
        end_connections(topology, _clients_of(before))
        removal = _Removal(pipeline, topology, (project, rows_project), claim)
        try:
            for entities in removal.pages():
                if on_progress is not None:
                    on_progress(rows_project, entities)
            removal.forget()
        except _OtherRemover:
            return None
        except OnlineUnreachable:
            # Who takes over ends our connections; then it is not the store that fails.
            if removal.is_own():
                raise
            return None
    return RemovedGeneration(project, rows_project, removal.removed)


class _Removal:
    """One removal: everything it takes away goes through the connections that its claim names."""

    def __init__(
        self, pipeline: Pipeline, topology: Topology, names: tuple[str, str], claim: RemovalClaim
    ) -> None:
        self.removed = 0
        self._pipeline = pipeline
        self._topology = topology
        self._project, self._rows_project = names
        self._claim = claim.model_dump_json().encode()

    def pages(self) -> Iterator[int]:
        """Remove, node by node; after each page how many entities are gone."""
        encode = self._encoder()
        if encode is None:
            return
        for node in self._topology.nodes:
            with translated_errors(node), node.client(timeout=60) as client:
                begun = time.perf_counter()
                for keys in key_pages(client, self._rows_project, look=_LOOK):
                    _rest(begun)
                    self._require_own()
                    begun = time.perf_counter()
                    if len(keys) > 0:
                        self._pipeline.send_keys(keys, encode, self._count)
                        self._pipeline.finish()
                        _rest(begun)
                    yield self.removed
                    begun = time.perf_counter()

    def forget(self) -> None:
        """Take away what is known of the rows; the claim last."""
        self._require_own()
        known = generations_key(self._project)
        claims = serving_key(self._project)
        name, claim = self._rows_project.encode(), removal_field(self._rows_project).encode()
        rows = live_key(self._rows_project)
        self._pipeline.send_key(rows, _command(b"DEL", rows), 1)
        self._pipeline.send_key(known, _command(b"HDEL", known, name), 1)
        self._pipeline.send_key(claims, _command(b"HDEL", claims, claim), 1, after_all=True)
        self._pipeline.finish()

    def is_own(self) -> bool:
        """Whether the claim is still this run's."""
        target = self._topology.target
        key, field = serving_key(self._project), removal_field(self._rows_project)
        with translated_errors(target), target.client() as client:
            return bool(client.hget(key, field) == self._claim)

    def _require_own(self) -> None:
        if not self.is_own():
            raise _OtherRemover

    def _encoder(self) -> Callable[[pa.LargeBinaryArray], Bytes] | None:
        """What makes the commands for keys; None where there is nothing of ours."""
        if self._rows_project != self._project:
            return partial(key_commands, b"UNLINK")
        records = read_live(self._topology.target, self._rows_project)
        fields = [field for view, record in records.items() for field in fields_of(view, record)]
        return partial(key_commands, b"HDEL", fields=fields) if fields else None

    def _count(self, deleted: int) -> None:
        self.removed += deleted > 0


def _clients_of(claim: bytes) -> dict[str, int]:
    try:
        return RemovalClaim.model_validate_json(claim).clients
    except ValidationError:
        return {}


def _command(*words: bytes) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(bulk(word) for word in words)


def _rest(begun: float) -> None:
    time.sleep(max(time.perf_counter() - begun, _PAUSE))
