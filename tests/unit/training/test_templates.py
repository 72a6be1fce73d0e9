"""dbt's dialect of Jinja, outside dbt."""

from __future__ import annotations

import pytest

from featmill.errors import ContractError
from featmill.training.templates import feature_rows_sql, render

VIEW = {
    "name": "load",
    "relation": "rows_of_load",
    "keys": ["key"],
    "event_time": "feature_at",
    "ttl_us": None,
    "features": [{"name": "n", "ignore_nulls": False}],
}


def test_a_macro_that_returns_answers_a_value():
    assert render("_microseconds", "2h") == 7_200_000_000


def test_a_macro_that_does_not_return_answers_its_text():
    assert feature_rows_sql(VIEW).split()[:2] == ["select", '"key",']


def test_a_macro_sees_what_another_returns():
    sql = render("window_start", "t", "7d", "1h", delay="1d")

    assert f"to_microseconds({8 * 86_400_000_000})" in sql
    assert str(sql).startswith("time_bucket(to_microseconds(3600000000)")


def test_what_a_macro_refuses_is_an_error_of_the_contract():
    with pytest.raises(ContractError, match="a duration is a whole number"):
        render("_microseconds", "7 days")


def test_a_macro_that_asks_a_run_says_what_it_misses():
    from jinja2 import UndefinedError

    with pytest.raises(UndefinedError, match="'model' is undefined"):
        render("_feature_node")


def test_a_macro_that_is_not_there_is_named():
    with pytest.raises(AttributeError, match="there is no macro _nothing"):
        render("_nothing")
