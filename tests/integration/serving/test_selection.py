"""Which entities go online: a condition and a budget, and what reads they miss (rule 12 for those that are there)."""

from __future__ import annotations

import duckdb
import pytest

from exporters.redis import verify_view
from featmill.contract.catalog import OnlineSelection
from featmill.errors import ContractError, LakeError, UsageError
from orchestration import selection as selection_module
from orchestration.selection import selections
from tests.integration.serving.chain import CLICKS, day

ROWS = [(user, day(3), user % 5, f"city {user}") for user in range(1, 11)]


def select(table, **given):
    return table.model_copy(update={"selection": OnlineSelection(**given)})


@pytest.fixture
def chosen(chain, monkeypatch):
    """Declare a selection over ten published users with counts 0 to 4."""
    monkeypatch.setattr(selection_module, "load_catalog", lambda _: chain.catalog)
    chain.publish(CLICKS, day(3), ROWS)

    def declare(**given):
        chain.tables = (select(CLICKS, **given),)
        return chain

    return declare


def online(chain):
    """Which users the store holds."""
    found = []
    for user, *_ in ROWS:
        (report,) = [
            verify_view(chain.target, "shop", CLICKS, reader) for reader in [rows_of(user)]
        ]
        missing = any(d.actual == "missing" for d in report.differences if f"={user}" in d.key)
        if not missing:
            found.append(user)
    return found


def rows_of(user):
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        kept = next(row for row in ROWS if row[0] == user)
        connection.execute(
            "CREATE TABLE one (user_id BIGINT, feature_at TIMESTAMPTZ, count_7d BIGINT, city VARCHAR)"
        )
        connection.execute("INSERT INTO one VALUES (?, ?, ?, ?)", kept)
        return connection.sql("SELECT * FROM one").to_arrow_table().to_reader()


def test_only_what_the_condition_holds_for_goes_online(chosen):
    chain = chosen(where="count_7d >= 3")

    exported = chain.export()

    assert chain.view(exported).entities == 4
    assert online(chain) == [3, 4, 8, 9]
    assert chain.verify().reports[0].is_equal


def test_a_condition_may_look_at_the_moment_of_the_snapshot(chosen):
    chain = chosen(where="feature_at < as_of")

    assert chain.view(chain.export()).entities == 0


def test_a_budget_keeps_the_greatest_and_of_equals_the_smallest_keys(chosen):
    chain = chosen(top=3, by="count_7d")

    chain.export()

    assert online(chain) == [3, 4, 9]


def test_a_budget_is_of_those_the_condition_holds_for(chosen):
    chain = chosen(where="count_7d < 3", top=2, by="count_7d")

    chain.export()

    assert online(chain) == [2, 7]


def test_what_is_not_selected_any_more_is_taken_away(chosen):
    chain = chosen(where="count_7d >= 3")
    chain.export()

    chain = chosen(where="count_7d = 3")
    result = chain.view(chain.export())

    assert (result.entities, result.deleted) == (2, 2)
    assert online(chain) == [3, 8]
    assert chain.verify().reports[0].is_equal


def test_who_falls_out_of_the_selection_the_next_day_is_taken_away(chosen):
    chain = chosen(where="count_7d >= 3")
    chain.export()
    chain.publish(CLICKS, day(4), [(u, day(4), 4 - c, city) for u, _, c, city in ROWS])

    chain.export()

    assert chain.keys() == 4
    assert chain.verify().reports[0].is_equal


@pytest.mark.parametrize(
    "selection",
    [
        {"where": "city > 3"},
        {"where": "count_7d * 9000000000000000000 > 5"},
        {"where": "substr(city, count_7d * 3000000000) = 'a'"},
        {"top": 3, "by": "count_7d * 9000000000000000000"},
    ],
)
def test_an_expression_that_the_columns_refuse(chosen, selection):
    """Their types, or the values of some row."""
    chain = chosen(**selection)

    with pytest.raises(ContractError, match="selection of clicks cannot be computed"):
        chain.export()
    assert chain.keys() == 0


def test_a_file_that_is_gone_is_not_the_selections_fault(chosen):
    chain = chosen(where="count_7d >= 3")
    for file in chain.registry.lake.location("clicks").rglob("*.parquet"):
        file.unlink()

    with pytest.raises(LakeError, match="cannot be read"):
        chain.export()


def test_the_report_counts_reads_that_hit(chosen, tmp_path):
    chain = chosen(where="count_7d >= 3")
    file = tmp_path / "reads.parquet"
    duckdb.sql("SELECT unnest([3, 3, 3, 4, 5, 99]) AS user_id").write_parquet(str(file))

    (report,) = selections(chain.settings, requests=str(file))

    assert (report.visible, report.selected, report.share) == (10, 4, 0.4)
    assert (report.requests, report.known, report.hits) == (6, 5, 4)
    assert (report.asked, report.asked_hits, report.hit_rate) == (4, 2, 0.8)


def test_the_report_of_a_file_without_the_key(chosen, tmp_path):
    chain = chosen(where="count_7d >= 3")
    file = tmp_path / "reads.csv"
    file.write_text("user\n1\n", encoding="utf-8")

    with pytest.raises(UsageError, match="cannot be read as requests of clicks"):
        selections(chain.settings, requests=str(file))


def test_no_table_with_a_selection_no_report(chain, monkeypatch):
    monkeypatch.setattr(selection_module, "load_catalog", lambda _: chain.catalog)
    chain.publish(CLICKS, day(3), ROWS)

    assert selections(chain.settings) == []
    (report,) = selections(chain.settings, "clicks")
    assert (report.share, report.hit_rate) == (1.0, None)
