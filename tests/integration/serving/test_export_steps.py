"""Export and verify over a lake: online is what a lookup at the release's as_of finds (rules 12 to 14, 21)."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from exporters.redis import RetiredView
from featmill.contract.types import parse_type
from featmill.errors import LakeError, NoRelease, ParityError
from featmill.online.live import read_live, read_record
from featmill.warehouse.lake import files
from tests.integration.serving.chain import CLICKS, ORDERS, carrying, day

pytestmark = pytest.mark.redis

BRIEF = CLICKS.model_copy(update={"ttl": timedelta(days=2)})


def test_an_entity_that_left_the_snapshot_leaves_the_store_with_it(chain):
    """Rules 11 and 20, as offline: a snapshot holds every entity there is, so what it lacks is gone, ttl or not."""
    chain.tables = (BRIEF,)
    chain.publish(BRIEF, day(1), [(1, day(1), 10, "a"), (2, day(1), 20, "b")])
    first = chain.view(chain.export())
    assert (first.entities, chain.keys()) == (2, 2)
    chain.publish(BRIEF, day(2), [(1, day(2), 11, "a")])

    second = chain.view(chain.export())

    assert (second.entities, second.deleted, chain.keys()) == (1, 1, 1)
    assert chain.verify().reports[0].checked_entities == 1
    chain.publish(BRIEF, day(3), [(1, day(3), 12, "a"), (2, day(3), 22, "b")])
    third = chain.view(chain.export())
    assert (third.entities, third.deleted, chain.keys()) == (2, 0, 2)
    chain.verify()


def test_a_row_past_its_ttl_is_not_written(chain):
    """Rule 12, to the microsecond."""
    chain.tables = (BRIEF,)
    ends = day(5) - timedelta(days=2)
    chain.publish(BRIEF, day(5), [(1, ends, 1, "a"), (2, ends + timedelta(microseconds=1), 2, "b")])

    assert chain.view(chain.export()).entities == 1
    assert chain.keys() == 1


def test_a_correction_takes_away_what_came_from_it(chain):
    """Rule 13: what is no longer in the newest correction is gone, not older."""
    old = [(1, day(1), 10, "a"), (2, day(1), 20, "b"), (3, day(1), 30, "c")]
    chain.publish(CLICKS, day(1), old)
    assert chain.view(chain.export()).entities == 3
    chain.publish(CLICKS, day(1), [*old[:1], (2, day(1), 21, "b")])

    again = chain.view(chain.export())

    assert (again.entities, again.deleted, again.unchanged) == (2, 1, False)
    chain.verify()


def test_a_shorter_ttl_takes_away_what_it_expires(chain):
    """The same snapshot, and fewer of its rows."""
    chain.publish(CLICKS, day(5), [(1, day(1), 10, "a"), (2, day(5), 20, "b")])
    assert chain.view(chain.export()).entities == 2
    chain.tables = (BRIEF,)

    again = chain.view(chain.export())

    assert (again.entities, again.deleted, chain.keys()) == (1, 1, 1)
    chain.verify()


def test_an_older_release_is_exported_as_of_its_own_moment(chain):
    """Rule 12 at its as_of: later snapshots are of no concern, and a rollback is whole."""
    chain.tables = (BRIEF,)
    first = chain.publish(BRIEF, day(1), [(1, day(1), 10, "a")])
    chain.publish(BRIEF, day(2), [(1, day(2), 11, "a"), (2, day(2), 20, "b")])
    assert chain.view(chain.export()).entities == 2

    rolled_back = chain.view(chain.export(first))

    assert (rolled_back.entities, rolled_back.deleted, chain.keys()) == (1, 1, 1)
    chain.verify(first)


def test_what_did_not_change_is_not_written_again(chain):
    """A back-fill whose rows serve nobody changes nothing."""
    chain.publish(CLICKS, day(3), [(1, day(3), 10, "a")])
    chain.export()
    chain.publish(CLICKS, day(1), [(1, day(1), 9, "z")])

    again = chain.view(chain.export())

    assert (again.written, again.unchanged) == (0, True)


def test_a_backfill_that_fills_a_carried_value_is_written(chain):
    """Rule 14, online as offline: the value carried comes from another snapshot than the row."""
    chain.tables = (carrying(CLICKS, "city"),)
    chain.publish(CLICKS, day(3), [(1, day(3), 10, None)])
    release = chain.export().release_id
    chain.publish(CLICKS, day(1), [(1, day(1), 9, "z")])
    chain.verify()
    with pytest.raises(ParityError, match='city: published "z", online NULL'):
        chain.verify(release)

    again = chain.view(chain.export())

    assert (again.written, again.unchanged) == (1, False)
    chain.verify(release)


def test_another_declaration_of_the_same_rows_is_written(chain):
    """Rule 14 and the online type: neither the snapshot nor a name changed."""
    chain.publish(CLICKS, day(1), [(1, day(1), 9, "z")])
    chain.publish(CLICKS, day(3), [(1, day(3), 10, None)])
    chain.export()
    stored = parse_type("BIGINT").stored_as("int32")
    count, city = CLICKS.features
    for table in (
        carrying(CLICKS, "city"),
        CLICKS,
        CLICKS.model_copy(update={"features": (count.model_copy(update={"type": stored}), city)}),
    ):
        chain.tables = (table,)
        again = chain.view(chain.export())
        assert (again.written, again.unchanged) == (1, False)
        chain.verify()
        assert chain.view(chain.export()).unchanged


def test_a_feature_that_the_snapshot_does_not_have_is_named(chain):
    kinds = {"user_id": "BIGINT", "feature_at": "TIMESTAMPTZ", "count_7d": "BIGINT"}
    chain.publish(CLICKS, day(1), [(1, day(1), 10)], columns=kinds)

    for step in (chain.export, chain.verify):
        with pytest.raises(
            LakeError, match=r"clicks declares city, which its snapshot 2026\S+ does not have"
        ) as caught:
            step()
        assert "build again" in caught.value.hint
    assert read_live(chain.target, "shop") == {}


def test_a_missing_or_damaged_file_is_an_error_of_the_lake(chain):
    snapshot = chain.snapshot(CLICKS, day(1), [(n, day(1), n, "a") for n in range(5_000)])
    chain.release(snapshot)
    chain.export()
    (path,) = map(Path, files([snapshot]))
    whole = path.read_bytes()

    for broken in (b"\0" * len(whole), whole[:4] + b"\0" * 2_000 + whole[2_004:], None):
        if broken is None:
            path.unlink()
        else:
            path.write_bytes(broken)
        for step in (chain.export, chain.verify):
            with pytest.raises(LakeError, match="published rows of clicks cannot be read"):
                step(**({"force": True} if step == chain.export else {}))


@pytest.fixture
def two_views(chain):
    chain.tables = (CLICKS, ORDERS)
    clicks = chain.snapshot(CLICKS, day(1), [(n, day(1), n, "a") for n in range(5)])
    orders = chain.snapshot(ORDERS, day(1), [(n, day(1), n / 2) for n in range(3, 9)])
    chain.release(clicks, orders)
    exported = chain.export()
    assert (exported.retired, exported.absent) == ((), ())
    return chain


@pytest.mark.parametrize(
    "declared", [(CLICKS,), (CLICKS, ORDERS.model_copy(update={"online": False}))]
)
def test_a_view_that_is_not_declared_online_any_more_is_retired(two_views, declared):
    two_views.tables = declared
    with pytest.raises(ParityError, match="orders: online but not declared"):
        two_views.verify()

    exported = two_views.export()

    assert exported.retired == (RetiredView("shop", "orders", 6),)
    assert list(read_live(two_views.target, "shop")) == ["clicks"]
    assert two_views.keys() == 5
    two_views.verify()
    assert two_views.export().retired == ()


def test_where_nothing_is_declared_online_everything_is_retired(two_views):
    two_views.tables = ()

    assert [view.view for view in two_views.export().retired] == ["clicks", "orders"]
    assert two_views.keys() == 0
    with pytest.raises(NoRelease, match="holds no online table"):
        two_views.export()


def test_a_table_of_another_tenant_leaves_the_project_it_was_in(two_views):
    two_views.tables = (CLICKS, ORDERS.model_copy(update={"tenant": "eu"}))

    exported = two_views.export()

    assert exported.retired == (RetiredView("shop", "orders", 6),)
    assert list(read_live(two_views.target, "shop_eu")) == ["orders"]
    two_views.verify()


def test_the_newest_release_must_hold_what_is_declared_online(chain):
    chain.publish(CLICKS, day(1), [(1, day(1), 10, "a")])
    chain.tables = (CLICKS, ORDERS)

    for step in (chain.export, chain.verify):
        with pytest.raises(
            NoRelease, match="lacks orders, declared online: it was released before"
        ) as caught:
            step()
        assert "build again" in caught.value.hint
    assert read_live(chain.target, "shop") == {}


def test_a_release_that_is_asked_for_is_exported_with_what_it_holds(chain):
    release = chain.publish(CLICKS, day(1), [(1, day(1), 10, "a")])
    chain.tables = (CLICKS, ORDERS)

    exported, verified = chain.export(release), chain.verify(release)

    assert ([view.view for view in exported.views], exported.absent) == (["clicks"], ("orders",))
    assert ([report.view for report in verified.reports], verified.absent) == (
        ["clicks"],
        ("orders",),
    )
    chain.tables = (ORDERS,)
    with pytest.raises(NoRelease, match="holds no online table of this project"):
        chain.export(release)
    assert read_record(chain.target, "shop", "clicks") is not None


def test_a_view_that_was_never_exported_is_not_equal_without_a_row(chain):
    chain.publish(CLICKS, day(1), [])

    with pytest.raises(ParityError, match="clicks: nothing was ever exported"):
        chain.verify()

    chain.export()
    chain.verify()
