"""What is one definition to dbt and what is two (rule 19); the parts one by one: `tests/unit/warehouse`."""

from __future__ import annotations

import shutil

import pytest

from tests.projects.depot_project import TABLES

pytestmark = [pytest.mark.dbt, pytest.mark.xdist_group("dbt")]

FEATURES = "models/features/feat_dock__load"
COUNTED = "        config: {meta: {feature: {aggregate: count, window: 3d"
STAGING = "models/staging/stg_yard__scans.sql"


def fingerprints(depot) -> dict[str, str]:
    return {table: depot.snapshots(table)[-1].fingerprint for table in TABLES}


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        pytest.param(
            f"{FEATURES}.sql",
            "select\n    depot_code,",
            "SELECT\n  depot_code ,",
            id="case and layout",
        ),
        pytest.param(
            FEATURES + ".sql",
            "from load",
            "from {{ 'load' }} -- {{ 1 + 1 }}",
            id="jinja without effect",
        ),
        pytest.param(
            STAGING,
            "weight_kg <= {{ var('heaviest_kg') }}",
            "weight_kg<=1000",
            id="a var written out",
        ),
        pytest.param(
            "models/intermediate/int_docks.sql",
            "select ",
            "/* every dock */ select ",
            id="a parent's comment",
        ),
        pytest.param(
            "dbt_project.yml",
            "lightest_kg: 0",
            "lightest_kg: 0\n  unread: 1",
            id="a var nobody reads",
        ),
        pytest.param(
            "dbt_project.yml",
            "+materialized: table",
            "+materialized: view",
            id="views instead of tables",
        ),
        pytest.param(
            "dbt_project.yml",
            "    +materialized: table",
            "    +materialized: table\n    +schema: other",
            id="a schema",
        ),
        pytest.param(
            "profiles.yml",
            "      threads: 2\n",
            "      threads: 1\n      schema: elsewhere\n",
            id="a profile's schema",
        ),
    ],
)
def test_what_compiles_to_the_same_is_the_same_definition(depot, file, old, new):
    """Rule 19: nothing is appended, whatever was rewritten."""
    before = depot.state()
    depot.edit(file, old, new)

    depot.build_one()

    assert depot.state() == before


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        pytest.param(
            STAGING,
            "refused_because is null and",
            "refused_because is null and kind <> 'tub' and",
            id="a parent's where",
        ),
        pytest.param(
            STAGING,
            "{{ var('heaviest_kg') }}",
            "{{ env_var('HEAVIEST', '1000.0') }}",
            id="another literal",
        ),
        pytest.param(
            FEATURES + ".yml",
            f"data_type: integer\n{COUNTED}",
            f"data_type: bigint\n{COUNTED}",
            id="a type",
        ),
        pytest.param(
            FEATURES + ".yml",
            "      event_time: valid_at\n",
            "      event_time: valid_at\n      pre_hook: select 1\n",
            id="a hook",
        ),
        pytest.param(
            "seeds/_seeds.yml",
            "{depot_code: varchar, dock_no: integer}",
            "{depot_code: varchar, dock_no: bigint}",
            id="how a seed is typed",
        ),
        pytest.param(
            "dbt_project.yml",
            "models:\n",
            "on-run-start: create or replace macro twice(x) as x * 2\nmodels:\n",
            id="a hook before the run",
        ),
    ],
)
def test_what_can_change_a_value_is_another_definition(depot, file, old, new):
    """Rule 19: also where the values happen to be the same."""
    before = fingerprints(depot)["dock__load"]
    if "data_type" in old:
        # A new type of a live column is refused: it starts anew.
        shutil.rmtree(depot.home)
    depot.edit(file, old, new)

    depot.build_one()

    assert fingerprints(depot)["dock__load"] != before


def test_an_environment_variable_counts_by_what_it_makes_of_the_sql(depot):
    """Rule 19."""
    depot.edit(STAGING, "{{ var('heaviest_kg') }}", "{{ env_var('HEAVIEST', '1000') }}")
    before = fingerprints(depot)

    depot.build_one()
    assert fingerprints(depot) == before
    depot.build_one(HEAVIEST="1000")
    assert fingerprints(depot) == before

    depot.edit(STAGING, "select * from deduplicated", "select * from deduplicated ")
    depot.build_one(HEAVIEST="10")
    assert fingerprints(depot)["dock__load"] != before["dock__load"]
    assert fingerprints(depot)["van__trips"] == before["van__trips"]


def test_a_macro_counts_by_what_it_makes_of_the_sql(depot):
    """Rule 19: rewritten without effect it is the same, also through another macro."""
    (depot.root / "macros").mkdir()
    depot.add("macros/heavy.sql", "{% macro heavy(kg) %}weight_kg > {{ kg }}{% endmacro %}")
    depot.edit(STAGING, "weight_kg <= {{ var('heaviest_kg') }}", "not ({{ heavy(1000) }})")
    depot.build_one()
    before = depot.state()

    depot.add(
        "macros/heavy.sql",
        "{# kilograms #}{% macro limit(kg) %}{{ return(kg | int) }}{% endmacro %}"
        "{% macro heavy(kg) %}{%- set most = limit(kg) -%}weight_kg   >   {{ most }} -- kg\n{% endmacro %}",
    )
    depot.build_one()
    assert depot.state() == before

    depot.edit("macros/heavy.sql", "kg | int", "(kg | int) + 1")
    depot.build_one()
    assert len(depot.snapshots("dock__load")) == len(before["snapshots"]["dock__load"]) + 1


def test_every_date_of_a_build_has_the_same_definition(depot):
    """Rule 19: as_of and cut-off are no part of it, nor is where everything lies."""
    before = fingerprints(depot)

    depot.build("2026-03-03", "2026-03-04", "2026-03-05")
    depot.build_one("2026-03-05", FEATMILL_CUT_OFF="2026-03-05T10:00:00Z")

    for table in TABLES:
        assert {s.fingerprint for s in depot.snapshots(table)} == {before[table]}
    depot.home = depot.home.with_name("another home")
    depot.sources = depot.sources.rename(depot.sources.with_name("other sources"))
    # Parsed again: the manifest names the sources' folder.
    depot.edit("dbt_project.yml", "name: depot", "name: depot")
    depot.build_one("2026-03-04")
    assert fingerprints(depot) == before


def test_an_incremental_parent_has_one_definition_whether_it_is_there_or_not(depot):
    """Rule 19: the first run compiles another text than the second."""
    depot.edit(
        "models/staging/stg_fleet__trips.sql",
        "select * from deduplicated",
        "select * from deduplicated\n"
        "{% if is_incremental() %}where loaded_at > (select max(loaded_at) from {{ this }}){% endif %}",
    )
    depot.edit(
        "models/staging/stg_fleet__trips.sql",
        "with source as (",
        "{{ config(materialized='incremental', unique_key='trip_no') }}\nwith source as (",
    )
    shutil.rmtree(depot.home)
    depot.build_one()
    first = fingerprints(depot)

    depot.build_one()
    assert fingerprints(depot) == first
    assert depot.dbt("build", "--full-refresh").is_success
    assert fingerprints(depot) == first

    depot.edit("models/staging/stg_fleet__trips.sql", "where loaded_at >", "where loaded_at >=")
    depot.build_one()
    assert fingerprints(depot)["van__trips"] != first["van__trips"]
