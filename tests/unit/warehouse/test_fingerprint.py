"""What a definition is made of (rule 19), over made-up manifests; with real dbt: `tests/integration/chain`."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from featmill.warehouse.fingerprint import fingerprint


class Rendered:
    """Stands in for dbt's compiler: a node's text is its compiled SQL."""

    def __init__(self, variables=None, environment=None) -> None:
        self.environment = environment or {}
        self._variables = variables or {}

    def sql(self, node: Any) -> list[str]:
        return [node.raw_code]

    def variables(self, node: Any) -> dict[str, Any]:
        return self._variables


class Config(SimpleNamespace):
    def to_dict(self) -> dict[str, Any]:
        return dict(vars(self))


def node(unique_id: str, sql: str, *parents: str, columns=None, **config: Any) -> Any:
    defaults = {"meta": {}, "pre_hook": [], "post_hook": [], "materialized": "table"}
    return SimpleNamespace(
        unique_id=unique_id,
        resource_type=unique_id.partition(".")[0],
        language="sql",
        raw_code=sql,
        relation_name=f'"build"."main"."{unique_id.rpartition(".")[2]}"',
        depends_on=SimpleNamespace(nodes=list(parents), macros=[]),
        config=Config(**{**defaults, **config}),
        columns=columns or {},
        tags=[],
    )


def macro(name: str, sql: str, package: str = "depot", calls=()) -> Any:
    return SimpleNamespace(
        unique_id=f"macro.{package}.{name}", name=name, macro_sql=sql, package_name=package,
        depends_on=SimpleNamespace(macros=list(calls)),
    )  # fmt: skip


def manifest_of(nodes, macros=(), functions=()) -> Any:
    return SimpleNamespace(
        nodes={n.unique_id: n for n in nodes},
        macros={m.unique_id: m for m in macros},
        functions={f.unique_id: f for f in functions},
        sources={},
    )


def definition(**changed: Any) -> str:
    parts: dict[str, Any] = {
        "model": 'select * from "build"."main"."p"',
        "parent": "select 1 as n",
        "hook": "update t set n = {{ factor() }} * {{ var('rate') }}",
        "macro": "{{ inner() }}",
        "inner": "{{ env_var('UNIT', 'kg') }}",
        "foreign": "dbt's own",
        "run_hook": "create macro twice(x) as x * 2",
        "window": "7d",
        "default": 0,
        "drift": "none",
        "type": "bigint",
        "materialized": "table",
        "parent_materialized": "table",
        "unique_key": "n",
        "tags": [],
        "rate": 1,
        "unit": "kg",
        "home": "/a",
        "function": "x + 1",
        "ttl": "1d",
        **changed,
    }
    feature = {key: parts[key] for key in ("window", "default", "drift")}
    column = SimpleNamespace(
        data_type=parts["type"], config=SimpleNamespace(meta={"feature": feature})
    )
    hook = SimpleNamespace(sql=parts["hook"])
    run_hook = node("operation.depot.start", parts["run_hook"])
    run_hook.tags = ["on-run-start"]
    nodes = [
        node(
            "model.depot.feat", parts["model"], "model.depot.p", columns={"n": column},
            meta={"feature_table": {"join_keys": ["k"], "ttl": parts["ttl"]}}, materialized=parts["materialized"],
        ),
        node(
            "model.depot.p", parts["parent"], "function.depot.f", pre_hook=[hook],
            materialized=parts["parent_materialized"], unique_key=parts["unique_key"], tags=parts["tags"],
        ),
        run_hook,
    ]  # fmt: skip
    macros = [
        macro("factor", parts["macro"], calls=["macro.depot.inner", "macro.dbt.d"]),
        macro("inner", parts["inner"]),
        macro("d", parts["foreign"], package="dbt"),
        macro("unread", parts.get("unread_macro", "")),
    ]
    functions = [node("function.depot.f", parts["function"])]
    compiled = Rendered(
        {"rate": parts["rate"], "unread": parts.get("unread")},
        {"UNIT": parts["unit"], "FEATMILL_HOME": parts["home"]},
    )
    return fingerprint(manifest_of(nodes, macros, functions), "model.depot.feat", compiled)


@pytest.mark.parametrize(
    "changed",
    [
        {"model": 'select n + 0 from "build"."main"."p"'},
        {"model": 'select * from "build"."other"."p"'},
        {"parent": "select 2 as n"},
        {"hook": "update t set n = 2"},
        {"macro": "{{ inner() }} + 1"},
        {"inner": "{{ env_var('UNIT', 'lb') }}"},
        {"run_hook": "create macro twice(x) as x * 3"},
        {"function": "x + 2"},
        {"window": "8d"},
        {"default": 1},
        {"type": "integer"},
        {"materialized": "incremental"},
        {"parent_materialized": "incremental"},
        {"rate": 2},
        {"unit": "lb"},
    ],
    ids=str,
)
def test_what_can_change_a_value_changes_the_fingerprint(changed):
    """Rule 19."""
    assert definition(**changed) != definition()


@pytest.mark.parametrize(
    "changed",
    [
        {"model": 'SELECT *\nFROM "build"."main"."p" -- all'},
        {"parent": "select 1 n"},
        {"hook": "update t set n = {{ factor() }} * {{ var('rate') }} -- why"},
        {"macro": "{# what #}{{ inner() }}"},
        {"unread_macro": "anything"},
        {"foreign": "another dbt"},
        {"materialized": "view"},
        {"parent_materialized": "ephemeral"},
        {"unique_key": "other, of a table"},
        {"tags": ["nightly"]},
        {"drift": "psi"},
        {"ttl": "2d"},
        {"unread": 2},
        {"home": "/b"},
    ],
    ids=str,
)
def test_what_cannot_change_a_value_changes_nothing(changed):
    """Rule 19."""
    assert definition(**changed) == definition()


def test_how_an_incremental_parent_keeps_rows_is_part_of_the_definition():
    """Rule 19: which rows it replaces decides what its children read."""
    kept = {"parent_materialized": "incremental"}

    assert definition(**kept, unique_key="n") != definition(**kept, unique_key="k")
    assert definition(**kept, tags=["nightly"]) == definition(**kept)


def test_a_seed_is_its_rows_whatever_dbt_makes_of_its_checksum(tmp_path):
    """Rule 19: dbt's checksum of a seed over 1 MiB is its path."""

    def of(rows: str, **config: Any) -> str:
        seed = node("seed.depot.codes", "", column_types={}, delimiter=",", **config)
        seed.root_path, seed.original_file_path = str(tmp_path), "codes.csv"
        (tmp_path / "codes.csv").write_text(rows)
        return fingerprint(manifest_of([seed]), "seed.depot.codes", Rendered())

    assert of("a,1") != of("a,2")
    assert of("a,1") == of("a,1", tags=["nightly"])


def test_macros_of_one_name_in_two_packages_both_count():
    """Rule 19: neither hides a change of the other."""

    def of(first: str, second: str) -> str:
        macros = [macro("m", first), macro("m", second, package="yard")]
        model = node("model.depot.feat", "select 1", post_hook=[SimpleNamespace(sql="{{ m() }}")])
        return fingerprint(manifest_of([model], macros), "model.depot.feat", Rendered())

    assert len({of("1", "1"), of("2", "1"), of("1", "2")}) == 3
