"""Lines: of what is written, and of what is missing where it should have been."""

from __future__ import annotations

import pytest

from featmill.contract.nodes import Place
from featmill.contract.places import YamlFiles

YML = """\
version: 2

models:
  - name: other
  - name: wanted
    config:
      meta:
        feature_table:
          entity: user
          join_keys: [user_id]
    columns:
      - name: user_id
      - {name: spend, config: {meta: {feature: {
          default: 0}}}}
    versions:
      - v: 1
      - v: 2
        config:
          event_time: at
        columns:
          - include: all
          - name: more
            data_type: bigint
  - name: old_style
    meta:
      feature_table:
        ttl: 3d
"""

IN_TABLE = ("config", "meta", "feature_table")


@pytest.fixture
def line(tmp_path):
    """`line("wanted", *path)`: the line a key of a model is found at."""
    (tmp_path / "models.yml").write_text(YML, encoding="utf-8")
    files = YamlFiles("shop", tmp_path)

    def find(name, *path, version=None, column=None):
        place = Place("shop", "models.yml", "models", name, version, column, path)
        return files.find(place)[1]

    return find


def test_what_is_written_is_found(line):
    assert line("wanted") == 5
    assert line("wanted", *IN_TABLE, "join_keys") == 10
    assert line("wanted", *IN_TABLE, "join_keys", 0) == 10
    assert line("wanted", "name", column="user_id") == 12
    assert line("wanted", "config", "meta", "feature", "default", column="spend") == 14


def test_what_is_missing_is_found_at_its_parent(line):
    assert line("wanted", *IN_TABLE, "ttl") == 8
    assert line("wanted", "description") == 5
    assert line("wanted", "config", "event_time") == 6
    assert line("wanted", "data_type", column="nowhere") == 5
    assert line("nowhere") == 1


def test_a_version_is_asked_first(line):
    assert line("wanted", "config", "event_time", version="2") == 19
    assert line("wanted", *IN_TABLE, "entity", version="2") == 9
    assert line("wanted", "data_type", version="2", column="more") == 23
    assert line("wanted", "name", version="2", column="user_id") == 12
    assert line("wanted", "config", "event_time", version="1") == 6


def test_meta_outside_of_config_is_found(line):
    assert line("old_style", *IN_TABLE, "ttl") == 27
    assert line("old_style", *IN_TABLE, "entity") == 26


@pytest.mark.parametrize("text", [None, "", "a: [", "models: {}", "models: [x]", "- a"])
def test_a_file_that_says_nothing_of_it_has_a_first_line(tmp_path, text):
    if text is not None:
        (tmp_path / "models.yml").write_text(text, encoding="utf-8")
    place = Place("shop", "models.yml", "models", "wanted")

    assert YamlFiles("shop", tmp_path).find(place) == ("models.yml", 1)


def test_a_packages_file_is_below_the_packages(tmp_path):
    package = tmp_path / "dbt_packages" / "lent"
    package.mkdir(parents=True)
    (package / "models.yml").write_text(YML, encoding="utf-8")
    place = Place("lent", "models.yml", "models", "wanted")

    assert YamlFiles("shop", tmp_path).find(place) == ("dbt_packages/lent/models.yml", 5)


def test_sql_has_a_first_line(tmp_path):
    (tmp_path / "m.sql").write_text("select 1", encoding="utf-8")

    assert YamlFiles("shop", tmp_path).find(Place("shop", "m.sql", "models", "m")) == ("m.sql", 1)
