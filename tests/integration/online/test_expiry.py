"""A key may go once every row in it is past its ttl, and not before (rule 12)."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featmill import clock
from featmill.errors import EncodingError
from featmill.online.codec import redis_keys, write_commands
from featmill.online.expiry import (
    REPLIES_PER_ROW,
    KeyExpiry,
    expire_commands,
    keep_commands,
    key_expiry,
)
from featmill.online.pipeline import Pipeline
from featmill.online.plan import plan_view
from tests.unit.online.tables import feature_table, parsed

pytestmark = pytest.mark.redis

NOW = datetime(
    2100, 1, 1, tzinfo=UTC
)  # the server's clock is the machine's: nothing of 2100 is past
DAY = timedelta(days=1)
MICROS = 86_400_000_000


def view(name="clicks", ttl=DAY, **more):
    return feature_table(name, **more).model_copy(update={"ttl": ttl})


def batch_of(moments):
    return pa.record_batch(
        {
            "user_id": pa.array(range(len(moments)), pa.int64()),
            "feature_at": pa.array(moments, pa.timestamp("us", "UTC")),
            "count_7d": pa.array(range(len(moments)), pa.int64()),
        }
    )


def send(store, table, batch, expiry):
    """Write the rows, then their expiry; the replies to the latter."""
    plan = plan_view("shop", table)
    replies: list[int] = []
    with Pipeline(store, window=1_000) as pipeline:
        pipeline.send(write_commands(plan, batch), batch.num_rows)
        if expiry is not None:
            commands = expire_commands(plan, batch, expiry.ttl_us, expiry.grace_us, expiry.floor_us)
            pipeline.send(commands, REPLIES_PER_ROW * batch.num_rows, replies.append)
        pipeline.finish()
    return replies


def ends(store, table, batch):
    """When the store drops each row's key, in milliseconds; -1 never, -2 it has."""
    keys = redis_keys(plan_view("shop", table), batch).to_pylist()
    with store.client() as client:
        return [client.pexpiretime(key) for key in keys]


def millis(moment):
    return int(moment.timestamp() * 1000)


def test_a_key_of_one_view_goes_at_its_own_ttl_and_grace(store):
    table = view()
    moments = [NOW, NOW + timedelta(microseconds=1)]

    replies = send(store, table, batch_of(moments), key_expiry(table, [table], 7 * DAY, NOW))

    assert ends(store, table, batch_of(moments)) == [
        millis(NOW + 8 * DAY),
        millis(NOW + 8 * DAY) + 1,
    ]
    assert replies == [1, 0, 1, 0]  # a row's two, then the next row's


def test_it_is_made_later_and_never_earlier(store):
    table = view()
    expiry = key_expiry(table, [table], DAY, NOW)

    send(store, table, batch_of([NOW + DAY]), expiry)
    send(store, table, batch_of([NOW]), expiry)
    assert ends(store, table, batch_of([NOW])) == [millis(NOW + 3 * DAY)]

    send(store, table, batch_of([NOW + 5 * DAY]), expiry)
    assert ends(store, table, batch_of([NOW])) == [millis(NOW + 7 * DAY)]


def test_a_key_whose_rows_are_all_past_goes_at_once(store):
    table = view()
    old = datetime(1969, 1, 1, tzinfo=UTC)
    replies = send(store, table, batch_of([old]), KeyExpiry(MICROS, 0))

    assert replies[0] == 1
    assert ends(store, table, batch_of([old])) == [-2]


def test_a_view_that_is_past_its_ttl_does_not_take_another_with_it(store):
    short, long = view("short", DAY), view("long", 30 * DAY)
    both = [short, long]
    now = clock.now()
    old = now - 10 * DAY

    # `long` was written before expiry was switched on; the row of `short` is past its ttl by now.
    send(store, long, batch_of([old]), None)
    send(store, short, batch_of([old]), key_expiry(short, both, timedelta(0), now))

    (end,) = ends(store, long, batch_of([old]))
    assert end >= millis(old + 30 * DAY)


def test_a_view_without_ttl_keeps_the_keys_it_shares(store):
    bounded, unbounded = view("bounded"), view("unbounded", None)
    elsewhere = view("elsewhere", None, keys={"user_id": "VARCHAR"})

    assert key_expiry(bounded, [bounded, unbounded], DAY, NOW) is None
    assert key_expiry(unbounded, [unbounded], DAY, NOW) is None
    assert key_expiry(bounded, [bounded], None, NOW) is None
    assert key_expiry(bounded, [bounded, elsewhere], DAY, NOW) == KeyExpiry(MICROS, MICROS)

    batch = batch_of([NOW])
    plan = plan_view("shop", unbounded)
    send(store, bounded, batch, key_expiry(bounded, [bounded], DAY, NOW))
    with Pipeline(store, window=10) as pipeline:
        pipeline.send(keep_commands(plan, batch), 1)
        pipeline.finish()
    assert ends(store, bounded, batch) == [-1]


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MOMENTS = st.integers(-(10**15), 7 * 10**15)  # microseconds
TTLS = st.integers(0, 10**14)


@settings(max_examples=100)
@given(st.data())
def test_no_order_of_writes_lets_a_key_go_before_a_row_in_it_is_past(data):
    """A model of the store's key: any views, any order, any moments up to each write's own."""
    ttls = data.draw(st.lists(TTLS, min_size=1, max_size=3))
    tables = [view(f"v{i}", timedelta(microseconds=ttl)) for i, ttl in enumerate(ttls)]
    grace = timedelta(microseconds=data.draw(TTLS))
    expires = None
    valid_until = 0
    for now in sorted(data.draw(st.lists(MOMENTS, min_size=1, max_size=6))):
        place = data.draw(st.integers(0, len(tables) - 1))
        event = data.draw(st.integers(-(10**15), now))
        batch = batch_of([EPOCH + timedelta(microseconds=event)])
        valid_until = max(valid_until, event + ttls[place])
        if expires is None and data.draw(st.booleans()):
            continue  # written before expiry was switched on
        moment = EPOCH + timedelta(microseconds=now)
        found = key_expiry(tables[place], tables, grace, moment)
        plan = plan_view("shop", tables[place])
        commands = expire_commands(plan, batch, found.ttl_us, found.grace_us, found.floor_us)
        for _, _, at, condition in parsed(commands):
            if (condition == b"NX") == (expires is None):
                expires = max(int(at), expires or 0)
        assert expires * 1000 >= event + ttls[place]
        # Of one view only the row that was written last is there.
        assert len(tables) == 1 or expires * 1000 >= valid_until


def test_a_negative_time_is_refused():
    with pytest.raises(EncodingError, match="-1 us is negative"):
        expire_commands(plan_view("shop", view()), batch_of([NOW]), 5, -1)


def test_a_row_that_is_read_at_its_last_moment_is_there(store):
    table = view(ttl=timedelta(milliseconds=300))
    now = clock.now()
    send(store, table, batch_of([now]), key_expiry(table, [table], timedelta(0), now))

    assert ends(store, table, batch_of([now]))[0] > 0
    deadline = time.monotonic() + 5
    while ends(store, table, batch_of([now])) != [-2]:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert clock.now() >= now + timedelta(milliseconds=300)
