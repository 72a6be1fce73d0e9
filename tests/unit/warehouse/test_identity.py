"""What two snapshots must share to be the same (rules 9 and 19), and what a definition is."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featmill.warehouse.columns import published_expression
from featmill.warehouse.fingerprint import canonical, fingerprint
from featmill.warehouse.identity import (
    SnapshotIdentity,
    SourceRelation,
    content_hash,
    release_id,
    source_version,
)

VALUES = st.one_of(st.none(), st.sampled_from(["", "a", ",", '"', "null", "a,b", "b"]))
ROWS = st.lists(st.tuples(VALUES, VALUES), max_size=6)


def hashed(rows) -> tuple[int, str]:
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE t (x VARCHAR, y VARCHAR)")
        if rows:
            connection.executemany("INSERT INTO t VALUES (?, ?)", rows)
        return content_hash(connection, ["x", "y"], "t")


@given(ROWS, ROWS)
def test_a_content_hash_is_equal_for_equal_bags_of_rows_only(one, other):
    """Rule 9: whatever the order; NULL is not '', and nothing runs together or cancels out."""
    same = sorted(map(repr, one)) == sorted(map(repr, other))

    assert (hashed(one) == hashed(other)) is same


@given(ROWS.flatmap(lambda rows: st.tuples(st.just(rows), st.permutations(rows))))
def test_a_content_hash_does_not_depend_on_the_order(pair):
    assert hashed(pair[0]) == hashed(pair[1])


def test_a_source_counts_up_to_its_cut_off():
    """Rule 9: the row at the cut-off itself is read; one without a moment never is."""
    known = ["2026-03-01", "2026-03-02", "2026-03-02 00:00:00.000001", None, "soon"]
    with duckdb.connect() as connection:
        connection.execute("CREATE TABLE t (x VARCHAR)")
        connection.executemany("INSERT INTO t VALUES (?)", [[text] for text in known])
        cut_off = datetime(2026, 3, 2, tzinfo=UTC)

        version = source_version(connection, SourceRelation("yard.scans", "t", "x"), cut_off)
        reference = source_version(connection, SourceRelation("yard.docks", "t", None), cut_off)

    assert (version.rows, version.newest) == (2, cut_off)
    assert (reference.rows, reference.newest) == (5, None)


def test_ids_sort_by_as_of_then_by_correction():
    """Rule 13: of two corrections the later one has the higher id."""
    identity = SnapshotIdentity(
        as_of=datetime(2026, 3, 4, tzinfo=UTC),
        cut_off=datetime(2026, 3, 4, tzinfo=UTC),
        fingerprint="f",
        sources=(),
        content_hash="c",
    )
    ids = [
        replace(identity, as_of=datetime(2026, 3, day, tzinfo=UTC)).snapshot_id(ordinal)
        for day in (4, 5, 11)
        for ordinal in (0, 1, 2, 10)
    ]

    assert ids == sorted(ids)
    assert len(set(ids)) == len(ids)


def test_a_release_is_its_set_of_snapshots():
    as_of = datetime(2026, 3, 4, tzinfo=UTC)

    assert release_id(as_of, {"a": "1", "b": "2"}) == release_id(as_of, {"b": "2", "a": "1"})
    assert release_id(as_of, {"a": "1", "b": "2"}) != release_id(as_of, {"a": "2", "b": "1"})


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("select a  from t", "select a\nfrom t", True),
        ("select a from t -- why", "select a from t", True),
        ("select /* how */ a from t", "select a from t", True),
        ("{# what #}select {{ ref('t') }}", "select {{ ref( 't' ) }}", True),
        ("select 'a -- b'", "select 'a -- c'", False),
        ("select 'a  b'", "select 'a b'", False),
        ("select 'a'", 'select "a"', False),
        ("select {{ var('x') }}", "select {{ var('y') }}", False),
        ("select a, b from t", "select b, a from t", False),
        ("select 'it' s", "select 'it''s'", False),
        # Jinja runs inside an SQL comment too.
        ("-- {% set days = 7 %}\nselect 1", "-- {% set days = 30 %}\nselect 1", False),
        ("-- waits for {{ ref('b') }}\nselect 1", "-- then {{ref('b')}}\nselect 1", True),
    ],
)
def test_layout_and_comments_are_no_part_of_a_definition(one, other, same):
    """Rule 19."""
    assert (canonical(one) == canonical(other)) is same


def node(unique_id: str, sql: str, *parents: str, macros=(), meta=None, columns=None) -> Any:
    config = SimpleNamespace(meta=meta or {}, pre_hook=[], post_hook=[])
    depends_on = SimpleNamespace(nodes=list(parents), macros=list(macros))
    checksum = SimpleNamespace(checksum=f"checksum of {unique_id}")
    return SimpleNamespace(
        unique_id=unique_id,
        resource_type="model",
        language="sql",
        raw_code=sql,
        depends_on=depends_on,
        config=config,
        columns=columns or {},
        checksum=checksum,
    )


def macro(sql: str, package: str = "depot", path: str = "macros/m.sql", calls=()) -> Any:
    return SimpleNamespace(
        unique_id="", macro_sql=sql, package_name=package, original_file_path=path,
        depends_on=SimpleNamespace(macros=list(calls)),
    )  # fmt: skip


def definition(**changed: Any) -> str:
    parts = {
        "model": "select * from {{ ref('p') }}",
        "parent": "select {{ m() }}, {{ env_var('UNIT', 'kg') }}",
        "macro": "{{ n() }}",
        "inner": "{{ var('rate') }}",
        "moment": "as_of",
        "foreign": "dbt's own",
        "window": "7d",
        "drift": "none",
        "rate": 1,
        "unit": "kg",
        "home": "/a",
        **changed,
    }
    feature = {"aggregate": "count", "window": parts["window"], "drift": parts["drift"]}
    column = SimpleNamespace(data_type="bigint", config=SimpleNamespace(meta={"feature": feature}))
    nodes = [
        node("model.depot.feat", parts["model"], "model.depot.p", columns={"n": column},
             meta={"feature_table": {"join_keys": ["k"]}}),
        node("model.depot.p", parts["parent"], "source.depot.yard.scans", macros=["macro.depot.m"]),
    ]  # fmt: skip
    macros = {
        "macro.depot.m": macro(
            parts["macro"], calls=["macro.depot.n", "macro.featmill.as_of", "macro.dbt.d"]
        ),
        "macro.depot.n": macro(parts["inner"]),
        "macro.featmill.as_of": macro(parts["moment"], "featmill", "macros/snapshots/as_of.sql"),
        "macro.dbt.d": macro(parts["foreign"], "dbt"),
    }
    for name, found in macros.items():
        found.unique_id = name
    manifest: Any = SimpleNamespace(nodes={n.unique_id: n for n in nodes}, macros=macros)
    environment = {"UNIT": parts["unit"], "FEATMILL_HOME": parts["home"]}
    variables = {"rate": parts["rate"], "unread": parts.get("unread")}
    return fingerprint(manifest, "model.depot.feat", variables=variables, environment=environment)


@pytest.mark.parametrize(
    ("changed", "same"),
    [
        ({"model": "select 1 from {{ ref('p') }}"}, False),
        ({"parent": "select 2"}, False),
        ({"macro": "{{ n() }} + 1"}, False),
        ({"inner": "{{ var('rate') }} + 1"}, False),
        ({"window": "8d"}, False),
        ({"rate": 2}, False),
        ({"unit": "lb"}, False),
        ({"moment": "another as_of"}, True),
        ({"foreign": "another dbt"}, True),
        ({"drift": "psi"}, True),
        ({"unread": 2}, True),
        ({"home": "/b"}, True),
        ({"model": "select *\nfrom {{ ref('p') }} -- all"}, True),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_fingerprint_covers_what_can_change_a_value(changed, same):
    """Rule 19: model, parents, macros, declarations and variables; not moments, places and dbt itself."""
    assert (definition(**changed) == definition()) is same


@pytest.mark.parametrize(
    ("kind", "value", "published"),
    [
        ("UTINYINT", "255", 255),
        ("USMALLINT", "65535", 65535),
        ("UINTEGER", "4294967295", 4294967295),
        ("UUID", "'7f1c2b1e-0000-4000-8000-000000000000'", "7f1c2b1e-0000-4000-8000-000000000000"),
        ("ENUM ('a', 'b')", "'b'", "b"),
        ("TIMESTAMP", "'2026-03-01 00:00:00.000001'", datetime(2026, 3, 1, 0, 0, 0, 1, tzinfo=UTC)),
        ("TIMESTAMP_S", "'2026-03-01'", datetime(2026, 3, 1, tzinfo=UTC)),
        ("TIMESTAMPTZ", "'2026-03-01 09:00:00+09'", datetime(2026, 3, 1, tzinfo=UTC)),
        ("INTEGER[2]", "[1, 2]", [1, 2]),
        ("UINTEGER[2]", "[1, 4294967295]", [1, 4294967295]),
        ("VARCHAR", "'x'", "x"),
        ("DECIMAL(18, 3)", "1.250", 1.25),
    ],
)
def test_a_type_that_delta_lacks_is_published_without_loss(tmp_path, kind, value, published):
    """Rule 1 for moments; written to a real Delta table and read back."""
    from deltalake import DeltaTable, write_deltalake

    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(f'CREATE TABLE t AS SELECT {value}::{kind} AS "a b"')
        described = connection.execute("DESCRIBE t").fetchall()[0][1]
        expression = published_expression("a b", described)
        write_deltalake(
            str(tmp_path), connection.sql(f"SELECT {expression} FROM t").to_arrow_table()
        )

    (found,) = DeltaTable(str(tmp_path)).to_pyarrow_table().column("a b").to_pylist()
    assert found == published


def test_a_seed_is_its_rows_whatever_dbt_makes_of_its_checksum(tmp_path):
    """Rule 19: dbt's checksum of a seed over 1 MiB is its path."""
    config = SimpleNamespace(meta={}, column_types={})
    seed = SimpleNamespace(
        unique_id="seed.depot.codes", resource_type="seed", root_path=str(tmp_path),
        original_file_path="codes.csv", raw_code="", config=config, depends_on=SimpleNamespace(macros=[]), columns={},
    )  # fmt: skip
    manifest: Any = SimpleNamespace(nodes={"seed.depot.codes": seed}, macros={})

    def of(rows: str) -> str:
        (tmp_path / "codes.csv").write_text(rows)
        return fingerprint(manifest, "seed.depot.codes", variables={}, environment={})

    assert of("a,1") != of("a,2")


def test_macros_of_one_name_in_two_packages_both_count():
    """Rule 19: neither hides a change of the other."""

    def of(first: str, second: str) -> str:
        macros = {"macro.depot.m": macro(first), "macro.yard.m": macro(second, package="yard")}
        for name, found in macros.items():
            found.unique_id = name
        model = node("model.depot.feat", "{{ m() }}", macros=list(macros))
        manifest: Any = SimpleNamespace(nodes={"model.depot.feat": model}, macros=macros)
        return fingerprint(manifest, "model.depot.feat", variables={}, environment={})

    assert len({of("1", "1"), of("2", "1"), of("1", "2")}) == 3
