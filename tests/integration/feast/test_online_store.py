"""`get_online_features` through our online store: generations, ttl and statuses (rules 12, 18 and 21)."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from exporters.feast.apply import apply
from exporters.feast.reader import online_vector
from exporters.feast.repository import write_repository
from exporters.redis import ExportJob, export_view
from exporters.rows import visible_rows
from featmill import clock
from featmill.errors import OnlineError, OnlineUnreachable, UsageError
from featmill.online.serving_state import PublishMode, next_epoch, put_state, read_state
from tests.integration.feast.shop import (
    CUSTOMERS,
    DAY_1,
    DAY_2,
    HOUR,
    NOWHERE,
    PRICES,
    RISK,
    SHOP,
    catalog,
    export,
    feature,
    open_feast,
    service,
)

pytestmark = [
    pytest.mark.feast,
    pytest.mark.redis,
    pytest.mark.xdist_group("feast"),
    # Feast and what lies below it warn of what they do themselves.
    pytest.mark.filterwarnings(
        "ignore::DeprecationWarning:feast",
        # The lake asks delta-rs by an argument that is going away.
        "ignore:.partition_filters.:DeprecationWarning",
    ),
]

PRESENT, NULL_VALUE, NOT_FOUND, OUTSIDE_MAX_AGE = 1, 2, 3, 4
FEATURES = ["customers:orders", "customers:city"]
ROWS = [{"customer_id": 7}, {"customer_id": 8}, {"customer_id": 9}]


@pytest.fixture
def folder(settings, released, online):
    """The repository, with the first day online."""
    declared = catalog(CUSTOMERS, PRICES, services=(RISK,))
    folder, _ = export(settings, released, declared, online.feast_online_config())
    open_feast(folder).materialize(DAY_1, DAY_1 + HOUR)
    return folder


def read(store, rows=ROWS, features=FEATURES, **options):
    """Values and statuses of each feature."""
    return as_read(store.get_online_features(features, rows, **options))


def as_read(answer):
    values = answer.to_dict()
    names = answer.proto.metadata.feature_names.val
    return {
        name: (values[name], list(vector.statuses))
        for name, vector in zip(names, answer.proto.results, strict=True)
    }


def read_async(store, rows=ROWS, features=FEATURES):
    async def once():
        answer = await store.get_online_features_async(features, rows)
        await store.close()
        return answer

    return as_read(asyncio.run(once()))


def test_each_value_says_what_it_is(folder):
    """Rule 18, in Feast's words."""
    with clock.frozen(DAY_1 + HOUR):
        found = read(open_feast(folder))

    assert found == {
        "customer_id": ([7, 8, 9], [PRESENT] * 3),
        "orders": ([1, 5, None], [PRESENT, PRESENT, NOT_FOUND]),
        "city": (["Ulm", None, None], [PRESENT, NULL_VALUE, NOT_FOUND]),
    }


def test_a_row_past_its_ttl_has_no_value(folder):
    """Rule 12: at the end of the ttl it serves no more, and before it does; its time is told all the same."""
    end = DAY_1 + timedelta(days=2)
    store = open_feast(folder)

    with clock.frozen(end - timedelta(microseconds=1)):
        before = read(store)["orders"]
    with clock.frozen(end):
        after = read(store)["orders"]
        times = store.get_online_features(FEATURES, ROWS).to_dict(include_event_timestamps=True)

    assert before == ([1, 5, None], [PRESENT, PRESENT, NOT_FOUND])
    assert after == ([None] * 3, [OUTSIDE_MAX_AGE, OUTSIDE_MAX_AGE, NOT_FOUND])
    assert times["orders__ts"] == [int(DAY_1.timestamp())] * 2 + [0]


def test_reading_without_blocking_is_the_same(folder):
    with clock.frozen(DAY_1 + HOUR):
        assert read_async(open_feast(folder)) == read(open_feast(folder))


def test_a_service_of_two_views_and_a_composite_key(folder):
    rows = [{"shop": "north", "customer_id": 7}, {"shop": "south", "customer_id": 8}]
    store = open_feast(folder)

    with clock.frozen(DAY_1 + HOUR):
        found = read(store, rows, store.get_feature_service("risk"), full_feature_names=True)

    assert found["customers__spent"] == ([1.25, 6.25], [PRESENT, PRESENT])
    assert found["prices__discount"] == ([0.5, None], [PRESENT, NOT_FOUND])


def test_rows_and_duplicates_are_answered_in_their_order(folder):
    rows = [{"customer_id": c} for c in (9, 8, 7, 8, 9, 7, 7)]

    with clock.frozen(DAY_1 + HOUR):
        found = read(open_feast(folder), rows)

    assert found["orders"][0] == [None, 5, 1, 5, None, 1, 1]


def test_the_api_below_gives_no_value_that_does_not_serve(folder):
    """What other code of Feast's reads with."""
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey
    from feast.protos.feast.types.Value_pb2 import Value

    store = open_feast(folder)
    view, keys = (
        store.get_feature_view("customers"),
        [EntityKey(join_keys=["customer_id"], entity_values=[Value(int64_val=c)]) for c in (7, 9)],
    )
    online = store._get_provider().online_store

    with clock.frozen(DAY_1 + HOUR):
        serving = online.online_read(store.config, view, keys, ["orders"])
    with clock.frozen(DAY_2 + timedelta(days=5)):
        expired = online.online_read(store.config, view, keys)

    assert serving == [(DAY_1, {"orders": Value(int32_val=1)}), (None, None)]
    assert expired == [(DAY_1, None), (None, None)]


def second_generation(online, released):
    """Day 2 as a generation beside what serves, and the state that points at it."""
    snapshots = released.registry.released_snapshots("customers")
    with visible_rows(CUSTOMERS, snapshots[-1], snapshots) as rows:
        job = ExportJob(
            project="shop__g2",
            table=CUSTOMERS,
            snapshot_id=snapshots[-1].snapshot_id,
            release_id="r2",
            as_of=DAY_2,
            total_rows=rows.count,
        )
        export_view(online, job, rows.reader(), vanished=None)
    state = read_state(online, "shop")
    update = {"mode": PublishMode.GENERATION, "rows_project": "shop__g2"}
    return state.model_copy(update=update | {"epoch": next_epoch(online, "shop")})


def test_a_flip_is_followed_within_the_read_that_meets_it(folder, released, online):
    """Rule 21."""
    store = open_feast(folder)
    before = read_state(online, "shop")
    with clock.frozen(DAY_2 + HOUR):
        assert read(store)["orders"][0] == [1, 5, None]
        put_state(online, "shop", second_generation(online, released))
        assert read(store)["orders"] == ([2, None, None], [PRESENT, NOT_FOUND, NOT_FOUND])
        assert read_async(open_feast(folder))["orders"][0] == [2, None, None]
        back = before.model_copy(update={"epoch": next_epoch(online, "shop")})
        put_state(online, "shop", back)
        assert read(store)["orders"][0] == [1, 5, None]


def test_a_read_of_rows_that_are_gone_is_repeated(folder, released, online):
    """A generation that was removed must not read as entities that are missing."""
    store = open_feast(folder)
    state = second_generation(online, released)
    with clock.frozen(DAY_2 + HOUR):
        assert read(store)["orders"][0] == [1, 5, None]
        put_state(online, "shop", state)
        with online.client() as client:
            client.delete(*[k for k in client.scan_iter() if k.endswith(b"shop")])

        assert read(store)["orders"][0] == [2, None, None]


def test_a_pointer_that_never_rests_is_an_error(folder, online, monkeypatch):
    from exporters.feast.plugins.pointer import Pointer

    monkeypatch.setattr(Pointer, "learn", lambda *_: True)
    monkeypatch.setattr(Pointer, "known", (b"other", "shop"))

    with pytest.raises(OnlineError, match="its generation changed 10 times"):
        read(open_feast(folder))


def test_a_published_view_is_not_pushed_to(folder):
    """Rule 20: what serves is a release."""
    import pandas as pd

    store = open_feast(folder)
    columns = store.get_feature_view("prices").batch_source.get_table_column_names_and_types(
        store.config
    )
    frame = pd.DataFrame(
        {name: [1] for name, _ in columns} | {"shop": "a", "as_of": DAY_2, "published_at": DAY_2}
    )

    with pytest.raises(UsageError, match="prices is published by featmill"):
        store.write_to_online_store("prices", df=frame)


def test_a_view_of_another_source_is_feast_s_to_write(folder, tmp_path, online):
    """The same bytes under the same keys as Feast's own store, generation or not; a ttl applies as well."""
    import pandas as pd
    from feast import FeatureStore, FeatureView, Field, FileSource, RepoConfig
    from feast.types import Int64, String

    store = open_feast(folder)
    path = tmp_path / "clicks.parquet"
    frame = pd.DataFrame({"customer_id": [7], "clicks": [3], "page": ["a"], "t": [DAY_1]})
    frame.to_parquet(path)
    fields = {"customer_id": Int64, "clicks": Int64, "page": String}
    view = FeatureView(
        name="clicks",
        entities=[store.get_entity("customer")],
        schema=[Field(name=name, dtype=kind) for name, kind in fields.items()],
        ttl=timedelta(hours=1),
        source=FileSource(path=str(path), timestamp_field="t"),
    )
    store.apply([view])

    store.write_to_online_store("clicks", df=frame)

    with clock.frozen(DAY_1 + timedelta(minutes=59)):
        assert read(store, ROWS[:1], ["clicks:page"])["page"] == (["a"], [PRESENT])
    with clock.frozen(DAY_1 + HOUR):
        assert read(store, ROWS[:1], ["clicks:page"])["page"] == ([None], [OUTSIDE_MAX_AGE])
    as_stock = FeatureStore(
        config=RepoConfig(
            project="shop",
            provider="local",
            registry=str(folder / "registry.db"),
            online_store=online.feast_online_config(),
            entity_key_serialization_version=3,
        )
    )
    assert as_stock.get_online_features(["clicks:clicks"], ROWS[:1]).to_dict()["clicks"] == [3]


def test_removing_a_view_leaves_the_online_rows_to_their_writer(settings, released, online, folder):
    with online.client() as client:
        before = client.dbsize()

        export(settings, released, catalog(CUSTOMERS), online.feast_online_config())
        open_feast(folder).teardown()

        assert client.dbsize() == before


def test_a_missing_or_empty_join_key_is_said(folder):
    store = open_feast(folder)

    with pytest.raises(KeyError, match="shop"):
        read(store, [{"customer_id": 7}], ["prices:discount"])
    with pytest.raises(ValueError, match="join key customer_id is NULL"):
        read(store, [{"customer_id": None}])


def test_stock_feast_reads_the_same_rows(settings, folder):
    """In place the bytes are Feast's own; it looks at no ttl."""
    found = online_vector(settings, "risk", {"customer_id": 7, "shop": "north"})
    unknown = online_vector(settings, "risk", {"customer_id": 9, "shop": "north"})

    assert found == {
        "customer_id": 7,
        "shop": "north",
        "orders": 1,
        "spent": 1.25,
        "discount": 0.5,
    }
    assert (unknown["orders"], unknown["spent"]) == (None, None)


def test_features_of_one_name_are_told_apart(settings, released, online):
    prices = PRICES.model_copy(update={"features": (feature("orders", "DOUBLE"),)})
    both = service("both", "customers:orders", "prices:orders")
    declared = catalog(CUSTOMERS, prices, services=(both,))
    export(settings, released, declared, online.feast_online_config())

    found = online_vector(settings, "both", {"customer_id": 7, "shop": "north"})

    assert set(found) == {"customer_id", "shop", "customers__orders", "prices__orders"}


def test_the_reader_says_what_is_wrong(settings, released):
    with pytest.raises(UsageError, match="no Feast repository"):
        online_vector(settings, "risk", {})
    write_repository(settings, SHOP, released.released(), NOWHERE)
    with pytest.raises(UsageError, match="nothing was applied"):
        online_vector(settings, "risk", {})
    apply(settings)
    with pytest.raises(UsageError, match="no service 'rust'") as unknown:
        online_vector(settings, "rust", {})
    assert unknown.value.hint == "it knows: risk"
    with pytest.raises(UsageError, match="is asked for customer_id") as missing:
        online_vector(settings, "risk", {"customer_id": 7})
    assert missing.value.hint == "it needs exactly: customer_id, shop"


def test_the_reader_says_that_no_store_answers(settings, released, monkeypatch):
    monkeypatch.setattr("redis.retry.sleep", lambda _: None)
    export(settings, released)

    with pytest.raises(OnlineUnreachable, match="no online store"):
        online_vector(settings, "risk", {"customer_id": 7, "shop": "north"})


def served(store, asked):
    """What Feast's feature server answers: statuses by feature."""
    from feast.feature_server import get_app
    from httpx import ASGITransport, AsyncClient

    async def once():
        transport = ASGITransport(get_app(store))
        async with AsyncClient(transport=transport, base_url="http://feast") as client:
            answer = await client.post("/get-online-features", json=asked)
        await store.close()
        return answer.json()

    answer = asyncio.run(once())
    return dict(zip(answer["metadata"]["feature_names"], answer["results"], strict=True))


def test_feast_s_feature_server_tells_the_statuses(folder):
    asked = {"features": ["customers:city"], "entities": {"customer_id": [7, 8, 9]}}

    with clock.frozen(DAY_1 + HOUR):
        found = served(open_feast(folder), asked)["city"]
    with clock.frozen(DAY_1 + timedelta(days=2)):
        late = served(open_feast(folder), asked)["city"]

    assert found["statuses"] == ["PRESENT", "NULL_VALUE", "NOT_FOUND"]
    assert found["values"] == ["Ulm", None, None]
    assert late["statuses"] == ["OUTSIDE_MAX_AGE", "OUTSIDE_MAX_AGE", "NOT_FOUND"]
    assert late["values"] == [None] * 3


def test_a_store_that_lost_its_data_is_an_error_and_not_a_store_without_entities(folder, online):
    store = open_feast(folder)
    read(store)
    with online.client() as client:
        client.flushall()

    with pytest.raises(OnlineError, match="it lost its data"):
        read(store)
