"""Reading a manifest: which ones are taken, how long it takes."""

from __future__ import annotations

import time

import pytest

from featmill.contract.manifest import check, load, read_manifest
from featmill.errors import ContractError
from tests.unit.contract.manifests import Project, column, feature_table, publish_node, window


def test_a_missing_manifest_says_what_to_run(tmp_path):
    with pytest.raises(ContractError, match=r"there is no manifest at .*manifest\.json") as raised:
        load(tmp_path / "target" / "manifest.json")

    assert raised.value.hint == "run dbt parse"


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"metadata": 1}', "\xff"])
def test_another_file_is_not_a_manifest(tmp_path, text):
    path = tmp_path / "manifest.json"
    path.write_text(text, encoding="utf-8")

    with pytest.raises(ContractError, match=r"is not a dbt manifest"):
        read_manifest(path)


@pytest.mark.parametrize(
    "schema",
    [
        "https://schemas.getdbt.com/dbt/manifest/v11.json",
        "https://schemas.getdbt.com/dbt/manifest/v20.json",
        "https://schemas.getdbt.com/dbt/catalog/v12.json",
        None,
    ],
)
def test_the_schema_of_another_dbt_is_refused(project, schema):
    project.schema = schema

    with pytest.raises(ContractError, match=r"in the schema .*expected v12"):
        project.load()


def test_load_lists_every_mistake(project):
    del project.table["ttl"]
    project.columns["buys_7d"]["description"] = ""

    with pytest.raises(ContractError) as raised:
        project.load()

    assert raised.value.message.splitlines() == [
        "the project declares 2 mistakes:",
        "models/feat_user__buys.yml:1: feat_user__buys: no ttl; expected ttl: how long a row is "
        "valid, such as 3d, or none: it never expires",
        "models/feat_user__buys.yml:1: feat_user__buys.buys_7d: no description; expected "
        "description: what the feature says",
    ]


def test_one_mistake_is_told_in_the_singular(project):
    del project.table["ttl"]

    with pytest.raises(ContractError, match="the project declares 1 mistake:"):
        project.load()


def test_a_table_descends_from_each_source_once_the_nearest_first(project):
    project.models[0]["depends_on"]["nodes"] = ["seed.shop.s", "source.shop.raw.b", "model.shop.m"]
    source = {"source_name": "raw", "config": {"enabled": True}}
    project.sources = {
        f"source.shop.raw.{name}": {
            **source,
            "unique_id": f"source.shop.raw.{name}",
            "name": name,
            "loaded_at_field": "at" if name == "a" else None,
        }
        for name in ("a", "b", "unread")
    }
    middle = publish_node("m")
    middle["config"]["materialized"] = "view"
    middle["depends_on"]["nodes"] = ["source.shop.raw.a", "source.shop.raw.b", "model.shop.m"]
    project.models.append(middle)

    catalog = project.load()

    assert catalog.table("user__buys").sources == ("source.shop.raw.b", "source.shop.raw.a")
    assert [(s.name, s.loaded_at) for s in catalog.sources] == [("raw.a", "at"), ("raw.b", None)]


def test_a_project_of_500_tables_loads_in_two_seconds(tmp_path):
    features = [
        column(f"f{n}", "decimal(15, 2)", window("sum", "7d", value="a")) for n in range(20)
    ]
    tables = [feature_table(f"feat_user__t{n}", *features) for n in range(500)]
    nodes = [publish_node(f"user__t{n}", f"feat_user__t{n}") for n in range(500)]
    path = Project(tmp_path, [*tables, *nodes]).write()

    started = time.process_time()
    catalog = load(path)
    seconds = time.process_time() - started

    assert len(catalog.tables) == 500
    assert seconds < 2, "of this process alone: other work on the machine does not count"


def test_many_mistakes_take_no_longer(tmp_path):
    tables = [feature_table(f"feat_user__t{n}", ttl="soon") for n in range(500)]
    path = Project(tmp_path, tables).write()

    started = time.process_time()

    assert len(check(path, tmp_path)) == 500
    assert time.process_time() - started < 2
