"""What is one text of a definition and what is two (rule 19)."""

from __future__ import annotations

import pytest

from featmill.warehouse.canonical_sql import canonical_compiled, canonical_jinja, with_moments

PLACES = {
    '"build"."main"."stg_scans"': "model.stg_scans",
    "featmill_source('/raw', 'scans')": "source.yard.scans",
    "build.main.stg": "model.stg",
}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("select a  from t", "select a\nfrom t"),
        ("select a from t -- why", "select a from t"),
        ("select /* how */ a from t", "select a from t"),
        ("SELECT a FROM t WHERE a IS NOT NULL", "select a from t where a is not null"),
        ("select a b from t", "select a as b from t"),
        ("select a::integer from t", "select cast(a as int) from t"),
        ("select a from t where a != 1", "select a from t where a <> 1"),
        ("select SUM(a) from t", "select sum(a) from t"),
        ("with c as (select 1 as a) select a from c", "with c as (\n select 1 as a\n)\nselect a\nfrom c"),
        (
            "select timestamp '2026-01-01 00:00:00' /* featmill:as_of */ as t",
            "select timestamp '2026-01-02 06:00:00.5' /* featmill:as_of */ as t",
        ),
        (
            "select 1 where x <= timestamp '2026-01-01 00:00:00' /* featmill:cut_off */",
            "select 1 where x <= timestamp '2026-03-01 00:00:00' /* featmill:cut_off */",
        ),
        (
            "select a from t qualify row_number() over (order by a) = 1 -- x",
            "select a from t qualify row_number() over (order by a) = 1",
        ),
    ],
)  # fmt: skip
def test_layout_comments_case_of_keywords_and_moments_are_no_part_of_a_definition(one, other):
    """Rule 19."""
    assert canonical_compiled(one, {}) == canonical_compiled(other, {})


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("select 'a -- b'", "select 'a -- c'"),
        ("select 'a  b'", "select 'a b'"),
        ("select 'a'", 'select "a"'),
        ("select 'it' s", "select 'it''s'"),
        ("select a, b from t", "select b, a from t"),
        ("select a from t where a < 1", "select a from t where a <= 1"),
        ("select a from t", "select distinct a from t"),
        ("select a from t union all select 1", "select a from t union select 1"),
        ("select a::decimal(15, 2) from t", "select a::decimal(15, 3) from t"),
        ("select 1.5", "select 1.50"),
        ("select a / 2 from t", "select a // 2 from t"),
        ("select sum(a) filter (where b) from t", "select sum(a) from t"),
        ("select first(a order by b) from t", "select first(a order by b desc) from t"),
        ("select * exclude (a) from t", "select * exclude (b) from t"),
        ("select a from t left join u using (a)", "select a from t join u using (a)"),
        ("select a from t asof join u using (a, b)", "select a from t join u using (a, b)"),
        ("select a from t semi join u using (a)", "select a from t anti join u using (a)"),
        ("select a from t qualify row_number() over (order by a) = 1", "select a from t"),
        ("select arg_min(a, b) from t", "select arg_max(a, b) from t"),
        ("select a from t limit 5", "select a from t limit 6"),
        ("select a from t order by b nulls first", "select a from t order by b"),
        (
            "select max(a) over (order by b rows between 1 preceding and current row) from t",
            "select max(a) over (order by b range between 1 preceding and current row) from t",
        ),
        ("select try_cast(a as int) from t", "select cast(a as int) from t"),
        ("select timestamp '2026-01-01'", "select timestamp '2026-01-02'"),
        ("select timestamp '2026-01-01' /* as_of */", "select timestamp '2026-01-02' /* as_of */"),
        (
            "select timestamp '2026-01-01' /* featmill:as_of */",
            "select timestamp '2026-01-01' /* featmill:cut_off */",
        ),
        # Not SQL that sqlglot knows: by tokens.
        ("from t select a frobnicate b", "from t select a frobnicate c"),
        ("select list_transform(x, lambda y: y + 1)", "select list_transform(x, lambda y: y + 2)"),
        ("pivot t on a using sum(b)", "pivot t on a using max(b)"),
    ],
)
def test_what_can_change_a_value_changes_the_text(one, other):
    """Rule 19."""
    assert canonical_compiled(one, {}) != canonical_compiled(other, {})


def test_a_relation_counts_by_its_node_wherever_it_lies():
    """Rule 19: database, schema and folder are no part of a definition; which relation is."""
    elsewhere = {
        '"prod"."team"."stg_scans"': "model.stg_scans",
        "featmill_source('/other', 'scans')": "source.yard.scans",
    }
    here = 'select * from "build"."main"."stg_scans" join featmill_source(\'/raw\', \'scans\') s using (id)'
    there = 'select * from "prod"."team"."stg_scans" join featmill_source(\'/other\', \'scans\') s using (id)'

    assert canonical_compiled(here, PLACES) == canonical_compiled(there, elsewhere)
    assert canonical_compiled(here, PLACES) != canonical_compiled(there, PLACES)
    assert "build.main.stg_trips" in canonical_compiled(
        "select 1 from build.main.stg_trips", PLACES
    )


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("{# what #}select {{ ref('t') }}", "select {{ ref( 't' ) }}", True),
        ("SELECT {{ ref('t') }}", "select {{ ref('t') }}", True),
        ("select {{ var('x') }}", "select {{ var('y') }}", False),
        # Jinja runs inside an SQL comment too.
        ("-- {% set days = 7 %}\nselect 1", "-- {% set days = 30 %}\nselect 1", False),
        ("-- waits for {{ ref('b') }}\nselect 1", "-- then {{ref('b')}}\nselect 1", True),
    ],
)
def test_what_dbt_does_not_compile_counts_by_its_tokens(one, other, same):
    """Rule 19: hooks and functions."""
    assert (canonical_jinja(one) == canonical_jinja(other)) is same


def test_moments_are_replaced_where_the_macros_wrote_them_and_nowhere_else():
    sql = (
        "select timestamp '2026-01-01 00:00:00' /* featmill:as_of */, timestamp '2026-01-01 00:00:00', "
        "timestamp '2026-02-01 00:00:00' /* featmill:cut_off */"
    )

    assert with_moments(sql, "2026-01-05 00:00:00", "2026-03-01 00:00:00.5") == (
        "select timestamp '2026-01-05 00:00:00' /* featmill:as_of */, timestamp '2026-01-01 00:00:00', "
        "timestamp '2026-03-01 00:00:00.5' /* featmill:cut_off */"
    )
