"""Values, statuses, ages and snapshots as both readers answer them (rules 12, 18 and 21)."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, datetime, timedelta
from enum import Enum
from uuid import UUID

import numpy as np
import pyarrow as pa
import pytest

from featmill import clock
from featmill.contract.catalog import RequestFeature, RequestField
from featmill.contract.types import parse_type
from featmill.errors import RequestError, UsageError
from featmill.online.plan import feature_field
from featmill.serving.async_reader import AsyncFeatureReader
from featmill.serving.reader import FeatureReader
from tests.integration.serving.stored import (
    HOUR,
    NOON,
    ORDERS,
    PRODUCTS,
    USERS,
    Stored,
    service,
    values,
    with_defaults,
    with_ttl,
    words,
)
from tests.unit.online.tables import feature_table

pytestmark = pytest.mark.redis

MICROSECOND = timedelta(microseconds=1)


@pytest.fixture(params=["blocking", "asynchronous"])
def read(request, store):
    """A function that reads one service of a `Stored` with one of the readers."""

    def blocking(stored, keys, sent=None, *, name="ranking", **more):
        with FeatureReader.open(stored.catalog, stored.target) as reader:
            return reader.read(name, keys, sent, **more)

    def asynchronous(stored, keys, sent=None, *, name="ranking", **more):
        async def once():
            async with await AsyncFeatureReader.open(stored.catalog, stored.target) as reader:
                return await reader.read(name, keys, sent, **more)

        return asyncio.run(once())

    return {"blocking": blocking, "asynchronous": asynchronous}[request.param]


@pytest.fixture
def users(store):
    """Two users, one of whom has a NULL."""
    stored = Stored(store, services=[service("users:visits", "users:city")])
    stored.put(USERS, (1, NOON, 5, "Bonn", 0.5), (2, NOON - HOUR, 0, None, None))
    stored.serve()
    return stored


def test_an_answer_has_values_statuses_ages_and_the_snapshot(users, read):
    answer = read(users, {"user_id": [2, 1, 3]}, as_of=NOON + HOUR)

    assert answer.to_dict() == {
        "service": "ranking",
        "as_of": "2026-03-01T13:00:00+00:00",
        "degraded": None,
        "snapshots": {"users": "s1"},
        "releases": {"users": "r1"},
        "keys": {"user_id": [2, 1, 3]},
        "values": {"visits": [0, 5, None], "city": [None, "Bonn", None]},
        "statuses": {"visits": ["ok", "ok", "missing"], "city": ["ok", "ok", "missing"]},
        "ages": {"users": [7200.0, 3600.0, None]},
    }


def test_as_of_is_the_clocks_where_none_is_given(users, read):
    with clock.frozen(NOON + 3 * HOUR):
        answer = read(users, {"user_id": 1})

    assert (answer.as_of, answer.to_dict()["ages"]) == (NOON + 3 * HOUR, {"users": [10_800.0]})


@pytest.mark.parametrize("ttl", [None, HOUR])
@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("before", [timedelta(0), MICROSECOND, 2 * HOUR])
def test_a_row_is_served_from_its_event_time_on(store, read, before, rows, ttl):
    """Rule 12: a row from the future is not there yet, with or without a ttl and a default."""
    table = with_ttl(with_defaults(USERS, city="nowhere"), ttl)
    stored = Stored(store, [table], [service("users:visits", "users:city")])
    stored.put(table, *((n, NOON, 5, "Bonn", 0.5) for n in range(rows)))
    stored.serve()

    answer = read(stored, {"user_id": list(range(rows))}, as_of=NOON - before)

    if before:
        assert values(answer) == {"visits": [None] * rows, "city": ["nowhere"] * rows}
        assert words(answer) == {"visits": ["missing"] * rows, "city": ["default"] * rows}
        assert answer.to_dict()["ages"] == {"users": [None] * rows}
    else:
        assert words(answer) == {"visits": ["ok"] * rows, "city": ["ok"] * rows}


@pytest.mark.parametrize("after", [timedelta(0), HOUR - MICROSECOND, HOUR, HOUR + MICROSECOND])
@pytest.mark.parametrize("rows", [1, 3])
def test_a_row_is_served_until_its_ttl_and_not_at_it(store, read, after, rows):
    """Rule 12, to the microsecond: never an expired value, with or without a default."""
    table = with_ttl(with_defaults(USERS, city="nowhere"), HOUR)
    stored = Stored(store, [table], [service("users:visits", "users:city")])
    stored.put(table, *((n, NOON, 5, "Bonn", 0.5) for n in range(rows)))
    stored.serve()

    answer = read(stored, {"user_id": list(range(rows))}, as_of=NOON + after)

    if after < HOUR:
        assert values(answer) == {"visits": [5] * rows, "city": ["Bonn"] * rows}
        assert words(answer) == {"visits": ["ok"] * rows, "city": ["ok"] * rows}
    else:
        assert values(answer) == {"visits": [None] * rows, "city": ["nowhere"] * rows}
        assert words(answer) == {"visits": ["expired"] * rows, "city": ["default"] * rows}
    assert answer.to_dict()["ages"] == {"users": [after.total_seconds()] * rows}


@pytest.mark.parametrize("rows", [1, 2])
def test_a_null_of_a_row_that_serves_stays_null(store, read, rows):
    """Rule 18: a default is for a row that does not serve."""
    table = with_defaults(USERS, city="nowhere")
    stored = Stored(store, [table], [service("users:city")])
    stored.put(table, *((n, NOON, 5, None, 0.5) for n in range(rows)))
    stored.serve()

    answer = read(stored, {"user_id": list(range(rows))})

    assert (values(answer), words(answer)) == ({"city": [None] * rows}, {"city": ["ok"] * rows})


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("has_default", [False, True])
def test_a_feature_that_the_rows_that_serve_do_not_have_is_missing(store, read, rows, has_default):
    """Rolled back to rows from before it was declared: that is no NULL."""
    before = feature_table("users", features={"visits": "BIGINT"})
    table = with_defaults(USERS, city="nowhere") if has_default else USERS
    table = with_defaults(table, visits=-1)
    stored = Stored(store, [table], [service("users:visits", "users:city")])
    stored.put(before, *((n, NOON, 5) for n in range(rows)))
    stored.serve()

    answer = read(stored, {"user_id": list(range(rows))})

    city, status = ("nowhere", "default") if has_default else (None, "missing")
    assert values(answer) == {"visits": [5] * rows, "city": [city] * rows}
    assert words(answer) == {"visits": ["ok"] * rows, "city": [status] * rows}


@pytest.mark.parametrize("rows", [1, 2])
def test_a_fallback_stands_in_for_a_feature_that_the_rows_do_not_have(store, read, rows):
    """And a source that the rows lack as well does not."""
    before = feature_table("orders", features={"total": "DOUBLE"})
    lacks = feature_table("users", features={"visits": "BIGINT", "city": "VARCHAR"})
    pairs = [("orders:city", "users:city"), ("orders:total", "users:rate")]
    orders = with_defaults(feature_table("orders", features={"city": "VARCHAR"}), city="nowhere")
    stored = Stored(
        store,
        [with_defaults(ORDERS, city="nowhere", total=1.5), USERS],
        [service("orders:city", "orders:total", fallbacks=pairs)],
    )
    stored.put(before, *((n, NOON, 9.0) for n in range(rows)))
    stored.put(lacks, *((n, NOON, 1, "Bonn") for n in range(rows)))
    stored.serve()
    answer = read(stored, {"user_id": list(range(rows))})
    assert values(answer) == {"city": ["Bonn"] * rows, "total": [9.0] * rows}
    assert words(answer) == {"city": ["default"] * rows, "total": ["ok"] * rows}

    stored.put(orders, *((n, NOON, "Rome") for n in range(rows)), snapshot="s2")
    stored.serve()
    answer = read(stored, {"user_id": list(range(rows))})
    assert values(answer) == {"city": ["Rome"] * rows, "total": [1.5] * rows}
    assert words(answer) == {"city": ["ok"] * rows, "total": ["default"] * rows}


@pytest.mark.parametrize("rows", [1, 2])
def test_a_fallback_comes_before_the_default(store, read, rows):
    """The source's value where its row serves; else the declared default."""
    orders = with_ttl(with_defaults(ORDERS, total=1.5, city="nowhere"), HOUR)
    stored = Stored(
        store,
        [orders, USERS],
        [
            service(
                "orders:total",
                "orders:city",
                fallbacks=[("orders:total", "users:rate"), ("orders:city", "users:city")],
            )
        ],
    )
    stored.put(orders, (1, NOON, 9.0, "Rome"), (2, NOON - HOUR, 8.0, "Oslo"))
    stored.put(USERS, (1, NOON, 1, "Bonn", 0.1), (2, NOON, 2, "Kiel", 0.2))
    stored.serve()

    for users, totals, cities in (
        ([1, 3], [9.0, 1.5], ["Rome", "nowhere"]),
        ([2, 3], [0.2, 1.5], ["Kiel", "nowhere"]),
    ):
        answer = read(stored, {"user_id": users[:rows]}, as_of=NOON + MICROSECOND)
        assert values(answer) == {"total": totals[:rows], "city": cities[:rows]}
        status = "ok" if totals[0] == 9.0 else "default"
        assert words(answer)["total"] == [status, "default"][:rows]
    assert answer.names == ("total", "city")


def test_views_that_share_a_key_are_one_command_an_entity(store, read):
    """Equal entities are read once, scalars hold for all rows, and same names are told apart."""
    features = ["users:city", "orders:city", "orders:total", "products:price"]
    stored = Stored(store, [USERS, ORDERS, PRODUCTS], [service(*features)])
    stored.put(USERS, (1, NOON, 5, "Bonn", 0.5))
    stored.put(ORDERS, (1, NOON, 9.0, "Rome"))
    stored.put(PRODUCTS, *((n, NOON, n / 2) for n in range(100)))
    stored.serve()
    products = [*range(100), 7, 7, 500]
    read(stored, {"user_id": 1, "product_id": 1})
    before = commands(store)

    answer = read(stored, {"user_id": 1, "product_id": products})

    # A user, 101 products, and what serves.
    assert commands(store) - before == 1 + 101 + 1
    assert answer.names == ("users__city", "orders__city", "total", "price")
    assert values(answer) == {
        "users__city": ["Bonn"] * 103,
        "orders__city": ["Rome"] * 103,
        "total": [9.0] * 103,
        "price": [*(n / 2 for n in range(100)), 3.5, 3.5, None],
    }
    assert words(answer)["price"] == ["ok"] * 102 + ["missing"]
    assert answer.keys == {"user_id": [1] * 103, "product_id": products}


def commands(target):
    """How many HMGETs the server has answered."""
    with target.client() as client:
        return client.info("commandstats").get("cmdstat_hmget", {"calls": 0})["calls"]


def test_keys_of_every_kind_find_their_entity(store, read):
    keys = {
        "code": "VARCHAR",
        "day": "DATE",
        "moment": "TIMESTAMPTZ",
        "small": "INTEGER",
        "uuid": "UUID",
        "raw": "BLOB",
    }
    table = feature_table("things", keys=keys, features={"size": "BIGINT"})
    stored = Stored(store, [table], [service("things:size")])
    uuid = UUID("0f0f0f0f-1111-4222-8333-444444444444")
    entity = ("ä", date(2026, 3, 1), NOON, -7, uuid, b"\x00\xff")
    stored.put(table, (*entity, NOON, 42))
    stored.serve()

    one = dict(zip(keys, entity, strict=True))
    spelled = one | {"day": "2026-03-01", "moment": "2026-03-01T13:00:00+01:00"}
    spelled |= {"uuid": str(uuid).upper(), "small": np.int32(-7)}
    other = {name: [value, value] for name, value in spelled.items()}

    typed = pa.schema(
        {
            "code": pa.string(),
            "day": pa.date32(),
            "moment": pa.timestamp("us", "UTC"),
            "small": pa.int32(),
            "uuid": pa.string(),
            "raw": pa.binary(),
        }
    )
    empty: dict[str, object] = {name: [] for name in keys}
    for asked in (one, spelled, empty):
        table = read(stored, asked).to_arrow().select(list(keys))
        assert table.schema.remove_metadata() == typed
        row = {**one, "uuid": str(uuid)}
        assert table.to_pylist() == ([row] if asked["code"] != [] else [])
    assert values(read(stored, one)) == {"size": [42]}
    assert values(read(stored, spelled)) == {"size": [42]}
    assert values(read(stored, other)) == {"size": [42, 42]}


class Code(str, Enum):  # noqa: UP042 - a StrEnum is its text already
    """Of which Python says `Code.RED`, as text too."""

    RED = "r"


def test_a_member_of_an_enumeration_of_texts_is_its_text(store, read):
    table = feature_table("codes", keys={"code": "VARCHAR"}, features={"size": "BIGINT"})
    stored = Stored(store, [table], [service("codes:size")])
    stored.put(table, ("r", NOON, 1), ("Code.RED", NOON, 2))
    stored.serve()

    assert values(read(stored, {"code": Code.RED})) == {"size": [1]}
    assert values(read(stored, {"code": [Code.RED, "Code.RED"]})) == {"size": [1, 2]}


def test_a_read_never_mixes_generations(store, read):
    """Rule 21: the pointer moves between what the reader knows and what it reads."""
    stored = Stored(store, services=[service("users:visits")])
    stored.put(USERS, (1, NOON, 5, "Bonn", 0.5), rows_project="shop__g1")
    stored.serve(rows_project="shop__g1", release="r1")
    with FeatureReader.open(stored.catalog, store) as reader:
        assert values(reader.read("ranking", {"user_id": 1})) == {"visits": [5]}
        stored.put(USERS, (1, NOON, 6, "Bonn", 0.5), snapshot="s2", rows_project="shop__g2")
        stored.serve(rows_project="shop__g2", release="r2")
        with store.client() as client:
            client.delete(*client.keys("*shop__g1"))

        answer = reader.read("ranking", {"user_id": 1})

    assert values(answer) == {"visits": [6]}
    assert (answer.views[0].snapshot, answer.views[0].release) == ("s2", "r2")


def test_a_view_that_is_being_replaced_in_place_names_no_snapshot(users, read):
    """Rule 21: a row may be of either."""
    users.serve(is_complete=False, replaced=["users"])

    answer = read(users, {"user_id": 1})

    assert (values(answer)["visits"], answer.degraded) == ([5], None)
    assert (answer.views[0].snapshot, answer.views[0].release) == (None, None)


def test_a_feature_without_its_event_time_is_no_row(users, read):
    with users.target.client() as client:
        (key,) = [
            k for k in client.keys("*shop") if client.hget(k, b"_ts:users") and b"\x01" in k[-12:]
        ]
        client.hdel(key, b"_ts:users")

    answer = read(users, {"user_id": [1, 2]})

    assert values(answer)["visits"] == [None, 0]
    assert words(answer)["visits"] == ["missing", "ok"]


@pytest.mark.parametrize("rows", [1, 60])
def test_bytes_that_are_no_value_are_not_answered(users, read, rows):
    """What the store holds is not what was declared: no value rather than a wrong one."""
    with users.target.client() as client:
        for key in client.keys("*shop"):
            client.hset(key, feature_field("users", "visits"), b"\x12\x01x")

    answer = read(users, {"user_id": [1] * rows})

    assert (answer.degraded, values(answer)["visits"]) == ("unreadable", [None] * rows)
    assert words(answer)["visits"] == ["default"] * rows


@pytest.mark.parametrize(
    ("keys", "field"),
    [
        ({}, "keys.user_id"),
        ({"user_id": 1, "city": 2}, "keys.city"),
        ({"user_id": "1"}, "keys.user_id"),
        ({"user_id": [1, None]}, "keys.user_id"),
        ({"user_id": True}, "keys.user_id"),
        ({"user_id": 1.0}, "keys.user_id"),
        ({"user_id": [1, 2**63]}, "keys.user_id"),
        ([1], "keys"),
        ("user_id", "keys"),
        (None, "keys"),
    ],
)
def test_a_wrong_key_is_refused_by_name(users, read, keys, field):
    with pytest.raises(RequestError) as refused:
        read(users, keys)

    assert refused.value.field == field


def test_lists_of_several_lengths_are_refused(store, read):
    stored = Stored(store, [USERS, PRODUCTS], [service("users:visits", "products:price")])
    with pytest.raises(RequestError, match=r"2 values where keys\.user_id has 3") as refused:
        read(stored, {"user_id": [1, 2, 3], "product_id": [1, 2]})

    assert refused.value.field == "keys.product_id"


@pytest.mark.parametrize("as_of", [datetime(2026, 3, 1), "2026-03-01"])  # noqa: DTZ001 - the point
def test_a_moment_without_its_zone_is_refused(users, read, as_of):
    """Rule 1."""
    with pytest.raises(RequestError) as refused:
        read(users, {"user_id": 1}, as_of=as_of)

    assert refused.value.field == "as_of"


@pytest.mark.parametrize("spelled", ["0001-01-01T00:00:00+05:00", "9999-12-31T23:59:59-05:00"])
def test_a_moment_that_utc_does_not_have_is_refused(users, read, spelled):
    with pytest.raises(RequestError, match="no moment of the years 1 to 9999") as refused:
        read(users, {"user_id": 1}, as_of=datetime.fromisoformat(spelled))

    assert refused.value.field == "as_of"


@pytest.mark.parametrize("name", ["other", ["ranking"], {}, None])
def test_an_unknown_service_is_refused(users, read, name):
    with pytest.raises(RequestError, match="no service") as refused:
        read(users, {"user_id": 1}, name=name)

    assert refused.value.field == "service"


def test_request_fields_that_are_no_mapping_are_refused(users, read):
    with pytest.raises(RequestError, match="list is no mapping") as refused:
        read(users, {"user_id": 1}, [1])

    assert refused.value.field == "request"


def test_a_service_of_two_tenants_is_refused(store):
    other = PRODUCTS.model_copy(update={"tenant": "acme"})
    stored = Stored(store, [USERS, other], [service("users:visits", "products:price")])

    with pytest.raises(UsageError, match="spans the tenants acme, default"):
        FeatureReader.open(stored.catalog, store)


def test_a_service_that_only_trains_is_not_opened_unasked(users):
    offline = PRODUCTS.model_copy(update={"online": False})
    users.tables = (USERS, offline)
    users.services += (service("products:price", name="training"),)

    with FeatureReader.open(users.catalog, users.target) as reader:
        assert list(reader.plans) == ["ranking"]
    with pytest.raises(UsageError, match="products, which is not online"):
        FeatureReader.open(users.catalog, users.target, ["training"])


def test_an_answer_becomes_rows_arrow_and_numpy(users, read):
    answer = read(users, {"user_id": [1, 3]}, as_of=NOON)

    assert answer.to_rows() == [
        {
            "keys": {"user_id": 1},
            "values": {"visits": 5, "city": "Bonn"},
            "statuses": {"visits": "ok", "city": "ok"},
            "ages": {"users": 0.0},
        },
        {
            "keys": {"user_id": 3},
            "values": {"visits": None, "city": None},
            "statuses": {"visits": "missing", "city": "missing"},
            "ages": {"users": None},
        },
    ]
    table = answer.to_arrow()
    assert table.drop_columns(["visits__status", "city__status"]).to_pydict() == {
        "user_id": [1, 3],
        "visits": [5, None],
        "city": ["Bonn", None],
        "users__event_at": [NOON, None],
    }
    assert table.column("visits__status").to_pylist() == ["ok", "missing"]
    assert (table.schema.field("visits").type, table.schema.field("city").type) == (
        pa.int64(),
        pa.string(),
    )
    assert table.schema.metadata[b"snapshots"] == b'{"users": "s1"}'
    arrays = answer.to_numpy()
    np.testing.assert_array_equal(arrays["visits"], [5.0, np.nan])
    assert arrays["city"].tolist() == ["Bonn", None]


def test_moments_come_back_as_moments(store, read):
    table = feature_table(
        "seen", features={"day": "DATE", "second": "TIMESTAMP", "flag": "BOOLEAN"}
    )
    table = with_defaults(table, day="2026-01-31", second="2026-01-31T06:00:00", flag=False)
    stored = Stored(store, [table], [service("seen:day", "seen:second", "seen:flag")])
    stored.put(table, (1, NOON, date(2026, 2, 3), datetime(2026, 2, 3, 4), True))  # noqa: DTZ001 - as DuckDB has it
    stored.serve()

    answer = read(stored, {"user_id": [1, 2]})

    assert values(answer) == {
        "day": [date(2026, 2, 3), date(2026, 1, 31)],
        "second": [datetime(2026, 2, 3, 4, tzinfo=UTC), datetime(2026, 1, 31, 6, tzinfo=UTC)],
        "flag": [True, False],
    }
    arrays = answer.to_numpy()
    assert arrays["day"].dtype == "datetime64[D]"
    assert arrays["second"][0] == np.datetime64("2026-02-03T04:00:00")
    assert arrays["flag"].dtype == np.bool_
    assert answer.to_arrow().column("day").to_pylist() == [date(2026, 2, 3), date(2026, 1, 31)]


def test_no_rows_are_an_answer_of_none(users, read):
    answer = read(users, {"user_id": []})

    assert (answer.rows, values(answer)) == (0, {"visits": [], "city": []})


def computed(name, kind, sql):
    return RequestFeature(name=name, type=parse_type(kind), sql=sql)


@pytest.fixture
def carts(store):
    """A service with features computed on request, over a stored one with a default."""
    table = with_defaults(USERS, rate=0.25)
    asked = service(
        "users:rate",
        request_fields=(RequestField(name="cart", type=parse_type("DOUBLE")),),
        request_features=(
            computed("cart_rate", "DOUBLE", "cart * rate"),
            computed("hour", "BIGINT", "hour(as_of)"),
        ),
    )
    stored = Stored(store, [table], [asked])
    stored.put(table, (1, NOON, 5, "Bonn", 0.5))
    stored.serve()
    return stored


def test_request_features_come_after_the_stored_ones(carts, read):
    """Over what is answered, defaults included; the clock is as_of (rule 2)."""
    for users, cart, rates in (
        ([1, 2], [2.0, 4.0], [0.5, 0.25]),
        ([1, 2], 2.0, [0.5, 0.25]),
        (1, [2.0, 4.0], [0.5, 0.5]),
    ):
        answer = read(carts, {"user_id": users}, {"cart": cart}, as_of=NOON + HOUR)
        given = cart if isinstance(cart, list) else [cart] * 2
        assert answer.names == ("rate", "cart_rate", "hour")
        assert values(answer) == {
            "rate": rates,
            "cart_rate": [one * other for one, other in zip(given, rates, strict=True)],
            "hour": [13, 13],
        }
        assert words(answer)["cart_rate"] == words(answer)["rate"]
        assert words(answer)["hour"] == ["ok", "ok"]
        assert answer.view_of == (0, None, None)
    one = read(carts, {"user_id": 1}, {"cart": 2.0}, as_of=NOON)
    assert values(one) == {"rate": [0.5], "cart_rate": [1.0], "hour": [12]}
    assert one.to_arrow().column("hour").to_pylist() == [12]


@pytest.mark.parametrize(
    ("sent", "field"),
    [
        (None, "request.cart"),
        ({"cart": "x"}, "request.cart"),
        ({"cart": 1.0, "other": 2}, "request.other"),
        ({"cart": [1.0, 2.0, 3.0]}, "request.cart"),
    ],
)
def test_a_wrong_request_field_is_refused_by_name(carts, read, sent, field):
    with pytest.raises(RequestError) as refused:
        read(carts, {"user_id": [1, 2]}, sent)

    assert refused.value.field == field
