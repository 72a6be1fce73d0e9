"""When the store may drop an entity's key: never before a row in it has passed its ttl (rule 12).

What a reader is told is decided by event time and ttl alone; a key's expiry only frees memory. All
views with the same join keys share an entity's key, and the store drops the key as a whole, so a
key's expiry is only ever set or made later, and keys that hold a view without ttl have none.

Whoever writes rows of keys that may have an expiry sends, with each row, either `expire_commands` or
`keep_commands`: an older expiry may end before the new row's ttl does.

Needs `NX` and `GT` of `PEXPIREAT`: Redis 7, Valkey.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from featmill.errors import EncodingError
from featmill.online.arrow_forms import event_micros
from featmill.online.codec import append_key
from featmill.online.row_bytes import RowBytes, bulk, bulk_prefix, decimal

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime, timedelta

    import pyarrow as pa
    from numpy.typing import NDArray

    from featmill.contract.catalog import FeatureTable
    from featmill.online.plan import ViewPlan
    from featmill.online.row_bytes import Bytes

#: Replies that the store gives to the commands of one row.
REPLIES_PER_ROW = 2

_MICROS_A_MILLI = 1_000


@dataclass(frozen=True, slots=True)
class KeyExpiry:
    """When the keys of one view's rows may go: each `grace` after its row's ttl.

    Where other views share the keys, what they hold is not known here. Every row of theirs was
    valid from a moment before now, so it is past its ttl by `floor_us`, the longest ttl of them all
    after now; no key that is shared goes before that. All are microseconds.
    """

    ttl_us: int
    grace_us: int
    floor_us: int | None = None

    def gone_before(self, now: datetime) -> int:
        """The event time, in microseconds, at or before which a row's key may be gone by now.

        Of keys that are shared a row may be past its ttl for longer; it is there or not.
        """
        return _micros_of(now) - self.ttl_us - self.grace_us


def key_expiry(
    table: FeatureTable, tables: Iterable[FeatureTable], grace: timedelta | None, now: datetime
) -> KeyExpiry | None:
    """When the keys of a table's rows may go; None if they must stay.

    Args:
        table: whose rows are written.
        tables: all tables of its Feast project that are online, or were and still have rows there.
        grace: how long a key stays after the ttl; None keeps all keys.
        now: the moment at which the rows are written.
    """
    group = {t.name: t for t in tables if _keys(t) == _keys(table)} | {table.name: table}
    ttls = [t.ttl for t in group.values() if t.ttl is not None]
    if grace is None or table.ttl is None or len(ttls) < len(group):
        return None
    floor = None if len(group) == 1 else _micros_of(now) + _micros(max(ttls))
    return KeyExpiry(_micros(table.ttl), _micros(grace), floor)


def expire_commands(
    plan: ViewPlan, batch: pa.RecordBatch, ttl_us: int, grace_us: int, floor_us: int | None = None
) -> Bytes:
    """Two PEXPIREAT a row: the first sets an expiry where there is none, the second makes it later.

    Each row's is its event time and `ttl_us`, or `floor_us` if that is later, and `grace_us`, in
    microseconds, rounded up to milliseconds. An expiry that has passed makes the store drop the key
    at once. Every command is answered with 1, or 0 where it had nothing to change.

    Raises:
        EncodingError: the grace or the ttl is negative, or an event time is no moment.
    """
    if ttl_us < 0 or grace_us < 0:
        raise EncodingError(
            f"{plan.view}: a ttl or grace of {min(ttl_us, grace_us)} us is negative"
        )
    ends = event_micros(batch.column(plan.event_time), plan.event_time) + ttl_us
    if floor_us is not None:
        ends = np.maximum(ends, floor_us)
    millis: NDArray[np.int64] = -(-(ends + grace_us) // _MICROS_A_MILLI)
    # A moment before 1970 is as past as the epoch's first.
    digits, lengths = decimal(np.maximum(millis, 1))
    out = RowBytes(batch.num_rows)
    for condition in (b"NX", b"GT"):
        out.constant(b"*4\r\n" + bulk(b"PEXPIREAT"))
        append_key(out, plan, batch)
        bulk_prefix(out, lengths)
        out.ragged(digits, lengths)
        out.constant(b"\r\n" + bulk(condition))
    return out.stream()


def keep_commands(plan: ViewPlan, batch: pa.RecordBatch) -> Bytes:
    """One PERSIST a row: its key has no expiry any more, as when a view without ttl joins."""
    out = RowBytes(batch.num_rows)
    out.constant(b"*2\r\n" + bulk(b"PERSIST"))
    append_key(out, plan, batch)
    return out.stream()


def _keys(table: FeatureTable) -> frozenset[tuple[str, str]]:
    return frozenset((key.name, key.type.kind.value) for key in table.join_keys)


def _micros(duration: timedelta) -> int:
    return (duration.days * 86_400 + duration.seconds) * 1_000_000 + duration.microseconds


def _micros_of(moment: datetime) -> int:
    from featmill.online.one_value import EPOCH

    return _micros(moment - EPOCH)
