"""Entities that are online and should not be: a set difference, left to DuckDB.

The store can hold hundreds of millions of keys of other projects and views, so keys are taken page
by page, told apart a page at a time, and kept where DuckDB can spill them to disk.
"""

from __future__ import annotations

import tempfile
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from exporters.redis.entity_keys import literal
from featmill.errors import SlotsMoved
from featmill.online.codec import exists_commands
from featmill.online.connection import translated_errors
from featmill.online.pipeline import Pipeline
from featmill.online.plan import KEY_TYPES
from featmill.online.row_bytes import binary_data, binary_offsets
from featmill.online.topology import through_moves

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from featmill.online.connection import OnlineTarget
    from featmill.online.plan import ViewPlan
    from featmill.online.row_bytes import Bytes, Mask
    from featmill.online.topology import Topology

_PAGE = 10_000
_INSERT_ROWS = 100_000

#: What DuckDB may hold of the keys; the rest waits on disk. Twelve million keys were told apart within it, so more are
#: told apart in parts.
_MEMORY = "128MB"
_THREADS = 2
_PART_ROWS = 20_000_000

#: Walks over all keys of a cluster whose slots move meanwhile.
_WALKS = 5

#: The type and the length, each an unsigned 32-bit integer, before each value of an entity's key.
_HEADER = 8


class KeyLedger:
    """The Redis keys that should be there, to be held against those that are."""

    def __init__(self, plan: ViewPlan) -> None:
        import duckdb

        self._plan = plan
        self._pending: list[pa.LargeBinaryArray] = []
        self._spill = tempfile.TemporaryDirectory(prefix="featmill-verify-")
        self._pending_rows = self._noted = 0
        self._duckdb = duckdb.connect(
            config={
                "memory_limit": _MEMORY,
                "threads": _THREADS,
                "temp_directory": self._spill.name,
                "preserve_insertion_order": False,
            }
        )
        self._duckdb.execute("create table expected (key blob)")
        self._duckdb.execute("create table found (key blob)")

    def __enter__(self) -> KeyLedger:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._duckdb.close()
        self._spill.cleanup()

    def add(self, keys: pa.LargeBinaryArray) -> None:
        """Note keys that should be there."""
        self._pending.append(keys)
        self._pending_rows += len(keys)
        if self._pending_rows >= _INSERT_ROWS:
            self._flush()

    def strays(self, topology: Topology) -> Iterator[bytes]:
        """The keys that hold this view's fields and are not noted.

        Raises:
            OnlineUnreachable: the store does not answer.
            OnlineRefused: the store refused a command.
        """
        self._flush()
        self._scan_all(topology)
        for unknown in self._unknown():
            ask = partial(_holding_view, topology, self._plan, unknown)
            yield from through_moves(topology, ask, lambda: 0).to_pylist()

    def _unknown(self) -> Iterator[pa.LargeBinaryArray]:
        """The keys that were found and are not noted."""
        parts = 1 + self._noted // _PART_ROWS
        for part in range(parts):
            of_part = f"where hash(key) % {parts} = {part}" if parts > 1 else ""
            batches = self._duckdb.sql(
                f"select distinct key from (select key from found {of_part}) "
                f"anti join (select key from expected {of_part}) using (key) order by key"
            ).to_arrow_reader(_PAGE)
            for batch in batches:
                yield batch.column(0).cast(pa.large_binary())

    def _flush(self) -> None:
        if self._pending:
            self._insert("expected", pa.concat_arrays(self._pending))
            self._pending, self._pending_rows = [], 0

    def _insert(self, table: str, keys: pa.LargeBinaryArray) -> None:
        self._duckdb.register("page", pa.table({"key": keys}))
        self._duckdb.execute(f"insert into {table} select key from page")
        self._noted += len(keys)
        self._duckdb.unregister("page")

    def _scan_all(self, topology: Topology) -> None:
        """Walk every server's keys; again where slots move, for a key may go where it was looked for before."""
        for _ in range(_WALKS):
            topology.refresh()
            before = topology.layout
            for node in topology.nodes:
                self._scan(node)
            if topology.is_single:
                return
            topology.refresh()
            if topology.layout == before:
                return
        raise SlotsMoved(
            f"the slots of {topology.target.url} moved during each of {_WALKS} walks over its keys",
            hint="run verify again when the cluster has settled",
        )

    def _scan(self, node: OnlineTarget) -> None:
        pattern = literal(self._plan.key_prefix) + b"*" + literal(self._plan.key_suffix)
        with translated_errors(node), node.client(timeout=60) as client:
            cursor = -1
            while cursor != 0:
                # A page may be empty, and a key may come twice: SCAN promises no more.
                cursor, page = client.scan(max(cursor, 0), match=pattern, count=_PAGE)
                if page:
                    keys = pa.array(page, pa.large_binary())
                    self._insert("found", keys.filter(pa.array(_is_of_view(self._plan, keys))))


def _is_of_view(plan: ViewPlan, keys: pa.LargeBinaryArray) -> Mask:
    """Which keys are made of the plan's parts exactly.

    A pattern cannot tell: the key of a project `workshop` also ends with `shop`.
    """
    offsets = binary_offsets(keys) - binary_offsets(keys)[0]
    data = np.concatenate([binary_data(keys), np.zeros(_HEADER, np.uint8)])
    at, ends = offsets[:-1] + len(plan.key_prefix), offsets[1:]
    fits: Mask = np.ones(len(keys), np.bool_)
    for key in plan.keys:
        fits &= at + _HEADER <= ends
        starts = np.where(fits, at, 0)
        header = data[starts[:, None] + np.arange(_HEADER)].view("<u4")
        fits &= header[:, 0] == KEY_TYPES[key.kind]
        at = at + _HEADER + header[:, 1].astype(np.int64)
    fits &= ends - at == len(plan.key_suffix)
    return fits


def _holding_view(
    topology: Topology, plan: ViewPlan, keys: pa.LargeBinaryArray
) -> pa.LargeBinaryArray:
    """The keys that have the view's event time: other views of the same entity share the hash."""
    replies: list[int] = []
    asked: list[pa.LargeBinaryArray] = []

    def ask(part: pa.LargeBinaryArray) -> Bytes:
        asked.append(part)
        return exists_commands(plan, part)

    with Pipeline(topology.target, window=_PAGE, topology=topology) as pipeline:
        for place in range(len(topology.nodes)):
            pipeline.send_keys(
                keys.filter(pa.array(topology.route(keys) == place)), ask, replies.append
            )
            pipeline.finish()
    known = pa.concat_arrays(asked) if asked else keys
    return known.filter(pa.array([reply == 1 for reply in replies], pa.bool_()))
