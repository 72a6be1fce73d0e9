"""A project as dbt parses it: the catalogue of its sound part, each mistake of the rest."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
import typer
from typer.testing import CliRunner

from featmill.cli.check import register
from featmill.contract.catalog import Source, Window
from featmill.contract.manifest import check, load, read_manifest
from featmill.contract.types import OnlineKind
from featmill.errors import ContractError, SettingError, UsageError

pytestmark = [pytest.mark.dbt, pytest.mark.xdist_group("dbt-2")]

ANNOTATION = re.compile(r"# !! (.*)$")


@pytest.fixture(scope="module")
def catalog(parsed):
    return load(parsed.sound)


@pytest.fixture(scope="module")
def visits(catalog):
    return catalog.table("visitor__visits")


def test_a_sound_project_has_no_mistakes(parsed):
    assert check(parsed.sound, parsed.folder) == []


def test_each_mistake_is_found_on_its_line_and_no_other(parsed):
    written = {
        (path.relative_to(parsed.folder).as_posix(), line, message.strip())
        for path in sorted((parsed.folder / "models/mistaken").glob("*.yml"))
        for line, text in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if (found := ANNOTATION.search(text)) and not text.startswith("#")
        for message in found[1].split(";")
    }

    problems = check(parsed.mistaken, parsed.folder)

    assert [p for p in problems if not any(is_about(p, w) for w in written)] == []
    assert [w for w in written if not any(is_about(p, w) for p in problems)] == []
    assert problems == sorted(problems, key=lambda p: (p.file, p.line))


def is_about(problem, written) -> bool:
    file, line, message = written
    return (problem.file, problem.line) == (file, line) and problem.message.startswith(message)


def test_load_raises_every_mistake_with_file_and_line(parsed):
    with pytest.raises(ContractError, match=r"mistakes:\n") as raised:
        load(parsed.mistaken)

    problems = check(parsed.mistaken, parsed.folder)
    assert len(problems) > 20
    assert raised.value.message.splitlines()[1:] == [str(problem) for problem in problems]


def test_the_published_node_names_the_table(visits):
    assert visits.name == "visitor__visits"
    assert visits.model == "feat_visitor__visits"
    assert visits.candidate == "model.outlet.feat_visitor__visits"
    assert visits.publish_node == "model.outlet.visitor__visits"


def test_dbts_own_words_are_taken_as_they_are(visits):
    assert visits.event_time == "feature_at"
    assert visits.owner == "growth@example.com"
    assert visits.access == "protected"
    assert visits.tags == ("growth",)
    assert visits.description == "How often a visitor comes."


def test_a_folder_declares_the_tenant(catalog):
    assert {table.tenant for table in catalog.tables} == {"north"}
    assert catalog.feast_project("north") == "outlet_north"


def test_a_declared_ttl_of_none_never_expires(catalog, visits):
    assert visits.ttl == timedelta(days=3)
    assert catalog.table("visitor__spend").ttl is None


def test_every_column_that_is_neither_key_nor_time_nor_excluded_is_a_feature(visits):
    assert visits.key_names == ("visitor_id",)
    assert [f.name for f in visits.features] == [
        "visit_count_7d",
        "mean_seconds_30d",
        "first_seen_at",
    ]


def test_a_window_has_its_tables_hop_and_delay_unless_it_declares_its_own(visits):
    assert visits.feature("visit_count_7d").window == Window(
        aggregate="count",
        value=None,
        length=timedelta(days=7),
        hop=timedelta(hours=1),
        delay=timedelta(minutes=5),
        where=None,
    )
    assert visits.feature("mean_seconds_30d").window == Window(
        aggregate="mean",
        value="seconds",
        length=timedelta(days=30),
        hop=None,
        delay=timedelta(0),
        where="seconds > 0",
        scale=2,
    )


def test_a_declared_null_is_a_default(catalog, visits):
    mean = visits.feature("mean_seconds_30d")

    assert (mean.has_default, mean.default) == (True, None)
    assert visits.feature("visit_count_7d").default == 0
    assert not catalog.table("visitor__spend").features[0].has_default


def test_a_time_declared_int64_is_stored_as_int64(visits):
    seen = visits.feature("first_seen_at")

    assert (seen.type.sql, seen.type.kind) == ("TIMESTAMP", OnlineKind.INT64)
    assert seen.window.length is None


def test_each_version_is_a_table_and_the_name_alone_means_the_latest(catalog):
    assert catalog.table("visitor__spend").version == "2"
    assert catalog.table("visitor__spend").features[0].name == "total_spend"
    assert catalog.table("visitor__spend", "1").features[0].name == "spend"
    with pytest.raises(UsageError, match="visitor__spend version 3"):
        catalog.table("visitor__spend", "3")


def test_a_table_descends_from_its_sources(catalog, visits):
    assert visits.sources == ("source.outlet.site.visits",)
    assert catalog.sources == (
        Source(unique_id="source.outlet.site.visits", name="site.visits", loaded_at="ingested_at"),
    )


def test_a_service_reads_all_it_depends_on_or_what_it_names(catalog):
    assert [str(f) for f in catalog.service("churn").features] == [
        "visitor__spend:total_spend",
        "visitor__visits:visit_count_7d",
        "visitor__visits:mean_seconds_30d",
        "visitor__visits:first_seen_at",
    ]
    assert [str(f) for f in catalog.service("ranking").features] == [
        "visitor__visits:first_seen_at",
        "visitor__visits:visit_count_7d",
    ]


def test_only_enabled_exposures_of_type_ml_are_services(catalog):
    assert [(s.name, s.owner) for s in catalog.services] == [
        ("churn", "Ada"),
        ("ranking", "ada@example.com"),
    ]


def test_what_is_not_declared_names_what_is(catalog, visits):
    with pytest.raises(UsageError, match="visitor__visits has no feature 'spend'") as raised:
        visits.feature("spend")
    assert raised.value.hint == "it has: visit_count_7d, mean_seconds_30d, first_seen_at"
    with pytest.raises(UsageError, match="no feature service 'churns'") as raised:
        catalog.service("churns")
    assert raised.value.hint == "the project declares: churn, ranking"


def test_the_packages_own_example_is_not_read(parsed):
    assert {m.package for m in read_manifest(parsed.sound).models.values()} == {"outlet"}


def test_check_says_what_it_found(parsed):
    done = run("--project-dir", str(parsed.folder))

    assert done.exit_code == 0, done.output
    assert done.stdout == "3 feature tables, 5 features, 2 services: no mistakes\n"


def test_check_lists_the_mistakes_and_fails(parsed, monkeypatch):
    monkeypatch.setattr(
        "featmill.settings.Settings.manifest", property(lambda settings: parsed.mistaken)
    )
    problems = check(parsed.mistaken, parsed.folder)

    done = run("--project-dir", str(parsed.folder))

    assert done.exit_code == 2
    assert done.stdout.splitlines() == [str(problem) for problem in problems]
    assert done.stderr == f"{len(problems)} mistakes\n"


def test_check_shows_people_a_table(parsed, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "250")
    monkeypatch.setattr(
        "featmill.settings.Settings.manifest", property(lambda settings: parsed.mistaken)
    )

    done = run("--project-dir", str(parsed.folder))

    assert done.exit_code == 2
    assert "models/mistaken/_exposures.yml:5" in done.stdout
    assert "expected" in done.stdout.splitlines()[1]


def test_check_outside_a_dbt_project_says_where_to_stand(tmp_path):
    done = run("--project-dir", str(tmp_path))

    assert isinstance(done.exception, SettingError)
    assert "no dbt_project.yml" in done.exception.message


def run(*arguments: str):
    app = typer.Typer()
    app.callback()(lambda: None)
    register(app)
    return CliRunner().invoke(app, ["check", *arguments])
