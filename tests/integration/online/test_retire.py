"""A view that is not declared any more goes offline whole, and nothing else does (rule 21)."""

from __future__ import annotations

import pytest

from exporters.redis import RetiredView, retire, writing
from exporters.redis.retire import retire_view
from featmill.errors import LakeError, OnlineError, OnlineUnreachable
from featmill.online.live import live_key, live_views, read_live, read_record
from featmill.online.plan import feature_field
from tests.integration.online.lakes import Shop, replaced
from tests.integration.online.publications import PROJECT, TABLE, dump, export, snapshot, verify
from tests.unit.online.tables import feature_table

pytestmark = pytest.mark.redis

ORDERS = feature_table("orders", features={"count_7d": "BIGINT"})
BY_CITY = feature_table("cities", keys={"city": "VARCHAR", "user_id": "BIGINT"})


def cities(count):
    rows = snapshot(count)
    filled = rows["city"].fill_null("")
    return rows.set_column(rows.schema.get_field_index("city"), "city", filled)


def test_its_fields_and_its_record_go_and_other_views_and_projects_stay(store):
    rows = snapshot(30_000)
    export(store, rows)
    export(store, rows.slice(10), table=ORDERS)
    export(store, cities(100), table=BY_CITY)
    export(store, rows.slice(0, 50), project="work" + PROJECT)

    done = retire_view(store, PROJECT, "clicks")

    assert done == RetiredView(PROJECT, "clicks", 30_000)
    assert sorted(read_live(store, PROJECT)) == ["cities", "orders"]
    assert verify(store, rows.slice(10), table=ORDERS).is_equal
    assert verify(store, cities(100), table=BY_CITY).is_equal
    assert verify(store, rows.slice(0, 50), project="work" + PROJECT).is_equal
    assert len(dump(store)) == 29_990 + 100 + 50


def test_fields_of_features_dropped_before_go_too(store):
    """A run that stopped left fields that only its record knows."""
    rows = snapshot(10)
    export(store, rows)
    narrow = feature_table("clicks", features={"count_7d": "BIGINT"})
    with pytest.raises(LakeError):
        export(store, rows.slice(0, 2), "s2", table=narrow, total_rows=3)
    assert read_record(store, PROJECT, "clicks").dropped == ("rate_7d", "city")

    assert retire_view(store, PROJECT, "clicks").entities == 10
    assert dump(store) == {}


def test_what_is_no_entity_is_left_alone(store):
    export(store, snapshot(3))
    with store.client() as client:
        client.set("a string of the shop", "x")
        client.hset("a hash of the shop", "_ts:clicks", "x")

        assert retire_view(store, PROJECT, "clicks").entities == 3
        assert sorted(client.keys()) == [b"a hash of the shop", b"a string of the shop"]


def test_a_field_that_another_view_owns_is_kept(store):
    """A field is only a 32-bit hash, and two can be the same."""
    rows = snapshot(3)
    export(store, rows)

    retire_view(store, PROJECT, "clicks", keep={feature_field("clicks", "city")})

    assert [list(fields) for fields in dump(store).values()] == [
        [feature_field("clicks", "city")]
    ] * 3


def test_replaced_by_other_join_keys_a_field_that_another_view_owns_is_kept(store, monkeypatch):
    """Two names can have one 32-bit hash, and the entities of both views are the same keys."""
    rows = snapshot(3)
    export(store, rows)
    export(store, rows, table=ORDERS)
    monkeypatch.setattr(retire, "feature_field", lambda *_: feature_field("orders", "count_7d"))
    by_city = feature_table("clicks", keys={"city": "VARCHAR"}, features={"rate_7d": "DOUBLE"})

    export(store, cities(3).slice(1, 1), "s2", table=by_city)

    assert verify(store, rows, table=ORDERS).is_equal


def test_a_view_that_was_never_live_is_retired_already(store):
    assert retire_view(store, PROJECT, "clicks") == RetiredView(PROJECT, "clicks", 0)


def test_killed_half_way_it_is_incomplete_and_the_next_run_takes_the_rest(store, monkeypatch):
    """Rule 21: declared again, every row is written again."""
    rows = snapshot(10)
    export(store, rows)

    def refuse(*_, **__):
        raise OnlineUnreachable("gone")

    with monkeypatch.context() as broken:
        broken.setattr(retire, "key_commands", refuse)
        with pytest.raises(OnlineUnreachable):
            retire_view(store, PROJECT, "clicks")

    assert verify(store, rows).is_incomplete
    assert export(store, rows).rows == 10
    assert retire_view(store, PROJECT, "clicks").entities == 10
    assert dump(store) == {}


def test_retired_in_the_middle_of_a_difference_every_row_is_written_again(
    store, tmp_path, monkeypatch
):
    shop = Shop(tmp_path)
    shop.export(store, shop.publish(0, snapshot(10)))
    second = shop.publish(1, replaced(snapshot(10), "count_7d", {1: 1, 2: 2}))
    with monkeypatch.context() as broken:
        broken.setattr(writing, "last_record", lambda _: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            shop.export(store, second)
    record = read_record(store, PROJECT, "clicks")
    assert record.differing == 2
    retire._begin(store, PROJECT, "clicks")

    result = shop.export(store, second)

    assert (result.changed, result.resumed_from, result.rows) == (None, 0, 10)


def test_a_record_that_cannot_be_read_says_what_to_do(store):
    with store.client() as client:
        client.hset(live_key(PROJECT), "clicks", '{"state": "done"}')

    assert live_views(store, PROJECT) == ("clicks",)
    with pytest.raises(OnlineError, match="live record of clicks cannot be read") as caught:
        retire_view(store, PROJECT, "clicks")
    assert "declare it, export with --force" in caught.value.hint


def test_a_table_with_other_join_keys_replaces_all_of_the_one_before(store):
    """Its entities have other keys in Redis, so none would be written over."""
    export(store, cities(10))
    rows = cities(20)
    again = TABLE.model_copy(
        update={"join_keys": BY_CITY.join_keys, "features": TABLE.features[:1]}
    )

    result = export(store, rows, "s2", table=again, vanished=lambda _: pytest.fail("asked"))

    assert result.rows == 20
    assert len(dump(store)) == 20
    assert verify(store, rows, table=again).is_equal
