"""`feast materialize` through our compute engine: released snapshots go online whole, and forward only (rule 21)."""

from __future__ import annotations

import io
from datetime import timedelta

import pytest

from exporters.redis import verify_view
from exporters.rows import visible_rows
from featmill import clock
from featmill.errors import ContractError, NoRelease, OnlineRefused
from featmill.online.live import live_key, read_live
from featmill.online.plan import feature_field, plan_view
from featmill.online.serving_state import PublishMode, next_epoch, put_state, read_state
from featmill.warehouse import promotions
from tests.integration.feast.shop import (
    CUSTOMERS,
    DAY_1,
    DAY_2,
    DAY_3,
    HOUR,
    PRICES,
    catalog,
    customers,
    export,
    open_feast,
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

ONLINE = catalog(CUSTOMERS, PRICES)


@pytest.fixture
def store(settings, released, online):
    folder, _ = export(settings, released, ONLINE, online.feast_online_config())
    return open_feast(folder)


def entities(online):
    """How many entities there are."""
    with online.client() as client:
        return sum(1 for key in client.scan_iter() if not key.startswith(b"featmill:"))


def test_every_view_is_online_as_the_newest_release_of_it(store, settings, released, online):
    store.materialize(DAY_1, DAY_3)

    live = read_live(online, "shop")
    assert {name: (r.as_of, r.is_complete) for name, r in live.items()} == {
        "customers": (DAY_2, True),
        "prices": (DAY_1, True),
    }
    for table in (CUSTOMERS, PRICES):
        snapshots = released.registry.released_snapshots(table.name)
        with visible_rows(table, snapshots[-1], snapshots) as rows:
            assert verify_view(online, "shop", table, rows.reader()).is_equal
    # Customer 8 is not in the newest snapshot (rule 11).
    assert entities(online) == 2


def test_readers_and_the_ledger_are_told(store, released, online):
    store.materialize(DAY_1, DAY_1 + HOUR, feature_views=["customers"])
    store.materialize(DAY_1, DAY_3)

    state = read_state(online, "shop")
    assert (state.epoch, state.mode, state.is_complete) == (2, PublishMode.IN_PLACE, True)
    newest = {n: released.registry.released_snapshots(n)[-1] for n in ("customers", "prices")}
    assert {n: (v.snapshot_id, v.rows) for n, v in state.views.items()} == {
        n: (s.snapshot_id, 1) for n, s in newest.items()
    }
    first, second = promotions.ledger(released.registry.lake)
    assert set(first.snapshots) == {"customers"}
    assert second.snapshots == {n: s.snapshot_id for n, s in newest.items()}


def test_what_was_materialised_once_is_not_written_again(store, released, online):
    store.materialize(DAY_1, DAY_3)
    before = read_live(online, "shop")

    store.materialize_incremental(DAY_3 + HOUR)

    # The record names the run that looked last, so that an earlier one cannot take the view over.
    after = read_live(online, "shop")
    assert {name: record.epoch for name, record in after.items()} == {"customers": 2, "prices": 2}
    assert {n: r.model_copy(update={"epoch": before[n].epoch}) for n, r in after.items()} == before
    assert len(promotions.ledger(released.registry.lake)) == 1


def test_only_what_differs_is_written(store, released, online):
    store.materialize(DAY_1, DAY_3)
    prefix = plan_view("shop", CUSTOMERS).key_prefix
    with online.client() as client:
        (key,) = (key for key in client.scan_iter() if key.startswith(prefix))
        # A value that somebody else wrote in the place of one that does not change: it stays.
        client.hset(key, feature_field("customers", "orders"), b"\x18\x63")
    again = released.snapshot(
        "customers", DAY_3, customers((7, 2, "Köln"), (9, 4, "Ulm")), published_at=DAY_3
    )
    released.release(again)

    store.materialize_incremental(DAY_3 + HOUR)

    rows = [{"customer_id": 7}, {"customer_id": 9}]
    with clock.frozen(DAY_3 + HOUR):
        found = store.get_online_features(["customers:orders", "customers:city"], rows).to_dict()
    assert (found["orders"], found["city"]) == ([99, 4], ["Köln", "Ulm"])


def test_keys_that_another_view_lets_expire_stay(store, online):
    """A row's key holds the rows of all views with its keys; Feast knows of no end of theirs."""
    store.materialize(DAY_1, DAY_1 + HOUR)
    prefix = plan_view("shop", CUSTOMERS).key_prefix
    record = read_live(online, "shop")["prices"].model_copy(update={"may_expire": True})
    with online.client() as client:
        client.hset(live_key("shop"), "prices", record.model_dump_json())
        for key in client.scan_iter():
            if key.startswith(prefix):
                client.pexpire(key, 3_600_000)

    store.materialize_incremental(DAY_2)

    with online.client() as client:
        assert [client.pttl(k) for k in client.scan_iter() if k.startswith(prefix)] == [-1]


def test_the_progress_bar_ends_at_every_row(store, online, monkeypatch):
    """Also where there is nothing to write."""
    from feast import feature_store

    bars = []

    def bar(**given):
        bars.append(real(**given, file=io.StringIO()))
        return bars[-1]

    real = feature_store.tqdm
    monkeypatch.setattr(feature_store, "tqdm", bar)
    for _ in range(2):
        store.materialize(DAY_1, DAY_1 + HOUR, feature_views=["customers"])

    # A bar that is closed draws no more.
    assert [(one.n, one.total, one.disable) for one in bars] == [(2, 2, True)] * 2


def test_the_end_date_chooses_the_release(store, online):
    store.materialize(DAY_1, DAY_2 - timedelta(microseconds=1), feature_views=["customers"])
    assert (read_live(online, "shop")["customers"].as_of, entities(online)) == (DAY_1, 2)

    store.materialize_incremental(DAY_2, feature_views=["customers"])

    assert (read_live(online, "shop")["customers"].as_of, entities(online)) == (DAY_2, 1)


def test_before_the_first_release_nothing_goes_online(store, online):
    with pytest.raises(NoRelease, match="has no release with an as_of up to 2026-02-28"):
        store.materialize(DAY_1 - timedelta(days=2), DAY_1 - timedelta(days=1))

    assert entities(online) == 0
    assert read_state(online, "shop") is None


def test_what_is_not_released_cannot_go_online(store, released, online):
    """Rule 20: a snapshot that its gate blocked is in no release."""
    released.snapshot("customers", DAY_3, customers((7, 99, "Trier")), published_at=DAY_3)

    store.materialize(DAY_1, DAY_3 + HOUR)

    found = store.get_online_features(["customers:orders"], [{"customer_id": 7}])
    assert read_live(online, "shop")["customers"].as_of == DAY_2
    assert found.to_dict()["orders"] != [99]


def test_it_does_not_go_back(store, online):
    """Rule 21: a run that is tried again late must not undo what went online since."""
    store.materialize(DAY_1, DAY_3)
    before = read_state(online, "shop")

    with pytest.raises(OnlineRefused, match="customers serves 2026-03-02"):
        store.materialize(DAY_1, DAY_1 + HOUR)

    assert read_state(online, "shop") == before


def test_generations_are_not_for_feast_to_write(store, online):
    store.materialize(DAY_1, DAY_1 + HOUR)
    state = read_state(online, "shop")
    generation = {"mode": PublishMode.GENERATION, "rows_project": "shop__g2"}
    epoch = next_epoch(online, "shop")
    put_state(online, "shop", state.model_copy(update=generation | {"epoch": epoch}))
    before = read_live(online, "shop")

    with pytest.raises(OnlineRefused, match="serves generation shop__g2") as refused:
        store.materialize(DAY_1, DAY_3)

    assert "featmill promote" in refused.value.hint
    assert read_live(online, "shop") == before


def test_a_run_that_fails_leaves_readers_told(store, online, monkeypatch):
    """A view is incomplete until all of its rows are there (rule 21)."""
    from exporters.redis import snapshot

    def fail(*_, **__):
        raise OnlineRefused("out of memory")

    monkeypatch.setattr(snapshot, "export_view", fail)
    with pytest.raises(OnlineRefused, match="out of memory"):
        store.materialize(DAY_1, DAY_3)

    state = read_state(online, "shop")
    assert not state.is_complete
    assert [view.snapshot_id for view in state.views.values()] == [None]
    monkeypatch.undo()
    store.materialize(DAY_1, DAY_3)
    assert read_state(online, "shop").is_complete


def test_a_view_of_another_source_is_refused(store, tmp_path):
    from feast import FeatureView, Field, FileSource
    from feast.types import Int64

    view = FeatureView(
        name="foreign",
        entities=[store.get_entity("customer")],
        schema=[Field(name="customer_id", dtype=Int64), Field(name="n", dtype=Int64)],
        source=FileSource(path=str(tmp_path / "none.parquet"), timestamp_field="t"),
    )
    store.registry.apply_feature_view(view, "shop")

    with pytest.raises(ContractError, match="view foreign has a FileSource"):
        store.materialize(DAY_1, DAY_3, feature_views=["foreign"])
