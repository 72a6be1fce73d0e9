"""The data behaves as a shop's would: it refers, follows, repeats and rests plausibly."""

from __future__ import annotations

from datetime import date

import pytest


def test_the_event_types_have_their_shares(clean):
    found = dict(
        clean.rows("select event_type, count(*) / sum(count(*)) over () from events group by 1")
    )
    assert found == {
        "view": pytest.approx(0.55, abs=0.02),
        "click": pytest.approx(0.20, abs=0.02),
        "watch": pytest.approx(0.20, abs=0.02),
        "purchase": pytest.approx(0.05, abs=0.01),
    }


def test_each_event_has_the_columns_of_its_type_and_no_others(dirty):
    violations = dirty.value("""
        select count(*) from events
        where (product_id is null) <> (event_type = 'watch')
            or (video_id is null) <> (event_type <> 'watch')
            or (quantity is null) <> (event_type <> 'purchase')
            or (amount is null) <> (event_type <> 'purchase')
            or (watch_seconds is null) <> (event_type <> 'watch')
            or (play_position_seconds is null) <> (event_type <> 'watch')
            or session_id is null or event_id is null or ingested_at is null
    """)
    assert violations == 0


@pytest.mark.parametrize("data", ["clean", "dirty"])
def test_the_newest_midnight_of_the_data_is_its_end(data, request):
    first, last, newest = request.getfixturevalue(data).one("""
        select
            min(event_at),
            max(event_at) filter (where event_at <= ingested_at),
            date_trunc('day', max(ingested_at))
        from events
    """)
    assert first.date() == date(2025, 11, 6)
    assert last.date() == date(2025, 12, 31)
    assert newest.date() == date(2026, 1, 1)


def test_events_refer_to_rows_that_existed_before_them(clean):
    for table, key, since in (
        ("users", "user_id", "signed_up_at"),
        ("products", "product_id", "updated_at"),
        ("videos", "video_id", "released_at"),
    ):
        orphans = clean.value(f"""
            with known as (select {key}, min({since}) as since from {table} group by 1)
            select count(*) from events left join known using ({key})
            where events.{key} is not null and (since is null or since > event_at)
        """)
        assert orphans == 0, table


def test_a_purchase_costs_the_price_of_its_moment_and_is_of_an_active_product(clean):
    purchases, wrong = clean.one("""
        select
            count(*),
            count(*) filter (where amount <> price * quantity or not is_active)
        from events
        asof join products
            on events.product_id = products.product_id and events.event_at >= products.updated_at
        where event_type = 'purchase'
    """)
    assert purchases > 0
    assert wrong == 0


def test_a_purchase_follows_a_view_of_the_product_in_its_session(clean):
    purchases, followed, median_seconds = clean.one("""
        with waits as (
            select purchase.event_id, min(epoch(purchase.event_at - seen.event_at)) as seconds
            from events as purchase
            left join events as seen
                on seen.session_id = purchase.session_id
                and seen.user_id = purchase.user_id
                and seen.product_id = purchase.product_id
                and seen.event_type = 'view'
                and seen.event_at < purchase.event_at
            where purchase.event_type = 'purchase'
            group by 1
        )
        select count(*), count(seconds), median(seconds) from waits
    """)
    assert purchases == followed
    assert 60 < median_seconds < 600


def test_a_session_is_of_one_user_and_under_half_an_hour(clean):
    users, minutes, mean_events = clean.one("""
        with sessions as (
            select
                count(distinct user_id) as users,
                max(event_at) - min(event_at) as length,
                count(*) as events
            from events group by session_id
        )
        select max(users), max(length) < interval 30 minutes, avg(events) from sessions
    """)
    assert users == 1
    assert minutes
    assert 4 < mean_events < 9


def test_a_watch_stays_within_its_video(clean):
    wrong = clean.value("""
        select count(*) from events join videos using (video_id)
        where not (
            0 < watch_seconds
            and watch_seconds <= play_position_seconds
            and play_position_seconds <= duration_seconds
        )
    """)
    assert wrong == 0


@pytest.mark.parametrize(
    ("key", "least", "most"),
    [("user_id", 0.2, 0.5), ("product_id", 0.3, 0.7), ("video_id", 0.3, 0.7)],
)
def test_a_tenth_of_the_ids_has_a_large_part_of_the_events(clean, key, least, most):
    share = clean.value(f"""
        with counted as (
            select count(*) as events, percent_rank() over (order by count(*) desc) as place
            from events where {key} is not null group by {key}
        )
        select sum(events) filter (where place < 0.1) / sum(events) from counted
    """)
    assert least < share < most


def test_evenings_are_busier_than_nights_and_weekends_than_mondays(clean):
    night, evening, monday, saturday = clean.one("""
        select
            count(*) filter (where hour(event_at) between 2 and 4),
            count(*) filter (where hour(event_at) between 19 and 21),
            count(*) filter (where isodow(event_at) = 1),
            count(*) filter (where isodow(event_at) = 6)
        from events
    """)
    assert evening > 5 * night
    assert saturday > 1.2 * monday


def test_a_quarter_of_the_products_changes_and_some_are_withdrawn(clean):
    products, changed, most_changes, withdrawn, first_late, revived = clean.one("""
        with logs as (
            select
                count(*) filter (where is_active) - 1 as changes,
                min(updated_at) as first_at,
                bool_or(not is_active) as is_withdrawn,
                arg_max(is_active, updated_at) as is_active
            from products group by product_id
        )
        select
            count(*),
            count(*) filter (where changes > 0),
            max(changes),
            count(*) filter (where is_withdrawn),
            count(*) filter (where first_at >= timestamp '2025-11-06'),
            count(*) filter (where is_withdrawn and is_active)
        from logs
    """)
    assert changed / products == pytest.approx(0.25, abs=0.01)
    assert withdrawn / products == pytest.approx(0.03, abs=0.01)
    assert (most_changes, first_late, revived) == (3, 0, 0)
    assert clean.value("select count(distinct category) from products") == 12
