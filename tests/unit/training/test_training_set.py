"""What a training set is refused for once its spine is sound, and what its manifest says."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from featmill.contract.catalog import Catalog, Feature, FeatureRef, FeatureTable, JoinKey
from featmill.contract.types import parse_type
from featmill.errors import LakeError, SpineError, UsageError
from featmill.training.recipe import recipe_of
from featmill.training.request import Recipe
from featmill.training.training_set import TrainingRequest, build_training_set
from featmill.warehouse.lake import Lake
from featmill.warehouse.registry import Registry
from tests.unit.warehouse.snapshots import snapshot

SPINE = "key,at\na,2026-03-06 00:00:00\nb,2026-03-06 00:00:00\n"


def feature(name: str) -> Feature:
    return Feature(
        name=name,
        type=parse_type("bigint"),
        description="",
        has_default=True,
        default=0,
        ignore_nulls=False,
        classification="internal",
        window=None,
    )


@pytest.fixture
def catalog() -> Catalog:
    """`load` with two features, of which one was declared after the table was published."""
    table = FeatureTable(
        name="load",
        model="feat_load",
        candidate="model.p.feat_load",
        publish_node="model.p.load",
        version=None,
        entity="thing",
        join_keys=(JoinKey(name="key", type=parse_type("varchar")),),
        event_time="feature_at",
        ttl=timedelta(days=3),
        online=True,
        tenant="default",
        owner=None,
        description="",
        tags=(),
        features=(feature("value"), feature("declared_since")),
        sources=(),
    )
    return Catalog(project="p", tables=(table,), services=(), sources=())


class AllReleased(Registry):
    """How a release comes about is no matter here: what lies in the lake is released."""

    def released_snapshots(self, table, *, at=None, release=None):
        return self.lake.snapshots(table)


@pytest.fixture
def registry(tmp_path) -> Registry:
    """One snapshot of one row."""
    registry = AllReleased(Lake(tmp_path / "lake"))
    wanted = snapshot()
    wanted = replace(wanted, location=str(registry.lake.location(wanted.table)))
    moments = pa.timestamp("us", "UTC")
    rows = {
        "key": ["a"],
        "feature_at": pa.array([datetime(2026, 3, 5, tzinfo=UTC)], moments),
        "value": pa.array([7], pa.int64()),
        "published_at": pa.array([wanted.published_at], moments),
        "snapshot_id": [wanted.snapshot_id],
    }
    registry.lake.append(pa.table(rows).to_reader(), wanted)
    return registry


@pytest.fixture
def train(catalog, registry, tmp_path):
    """`train(out, ...)`: build a training set of `load:value`."""
    (tmp_path / "spine.csv").write_text(SPINE)

    def training(out, *names, **more):
        features = tuple(FeatureRef(view="load", feature=name) for name in names or ("value",))
        spine = more.pop("spine", tmp_path / "spine.csv")
        request = TrainingRequest(spine, "at", features, out, **{"zone": "UTC", **more})
        return build_training_set(catalog, registry, request)

    return training


def test_a_feature_that_no_released_snapshot_has_is_named_with_its_table(train, tmp_path):
    """Rule 22: reads are of what is published, whatever is declared by now."""
    with pytest.raises(LakeError) as refused:
        train(tmp_path / "out" / "set.parquet", "value", "declared_since")

    assert refused.value.message == "load: no released snapshot has the feature declared_since"
    assert "build and publish" in str(refused.value.hint)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("left", [0.5, 0.99])
def test_a_lake_that_cannot_be_read_is_no_set_that_cannot_be_written(train, tmp_path, left):
    """The last set stays as it was; nothing else is left."""
    out = tmp_path / "out" / "set.parquet"
    train(out)
    before = {path.name: path.read_bytes() for path in out.parent.iterdir()}
    for path in (tmp_path / "lake").glob("default/load/**/*.parquet"):
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * left)])

    with pytest.raises(LakeError, match="the snapshots of load cannot be read") as refused:
        train(out)

    assert "SELECT" not in refused.value.message

    assert {path.name: path.read_bytes() for path in out.parent.iterdir()} == before


def test_a_lake_whose_pages_are_broken_is_a_read_error_too(train, tmp_path):
    """The footer is sound, so only the rows tell."""
    out = tmp_path / "out" / "set.parquet"
    for path in (tmp_path / "lake").glob("default/load/**/*.parquet"):
        whole = path.read_bytes()
        pages = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")
        path.write_bytes(whole[:4] + b"\xff" * (pages - 4) + whole[pages:])

    with pytest.raises(LakeError, match="the released snapshots cannot be read"):
        train(out)

    assert list(out.parent.glob("*")) == []


def test_a_spine_that_breaks_off_late_is_the_spine_s_fault(train, tmp_path):
    """Its first rows say what its columns are; a later one that is not so is met while the set is written."""
    spine = tmp_path / "long.csv"
    rows = ["a,2026-03-06 00:00:00,1"] * 60_000
    spine.write_text("\n".join(["key,at,label", *rows, "a,2026-03-06 00:00:00,not a number", ""]))

    with pytest.raises(SpineError, match=r"long\.csv cannot be read") as refused:
        train(tmp_path / "out" / "set.parquet", spine=spine)

    assert refused.value.exit_code == 2
    assert list((tmp_path / "out").glob("*")) == []


@pytest.mark.parametrize("out", ["file/set.parquet", "file/below/set.parquet", "taken.parquet"])
def test_an_output_that_cannot_be_written_is_named(train, tmp_path, out):
    (tmp_path / "file").touch()
    (tmp_path / "taken.parquet").mkdir()

    with pytest.raises(UsageError, match="could not be written") as refused:
        train(tmp_path / out)

    assert str(tmp_path / out) in refused.value.message
    assert "Errno" not in refused.value.message
    assert [path.name for path in tmp_path.glob(".*")] == []


@pytest.mark.parametrize("zone", ["Mars/X", "", "UTC'"])
def test_a_zone_that_does_not_exist_is_named(train, tmp_path, zone):
    """Rule 1."""
    with pytest.raises(SpineError) as refused:
        train(tmp_path / "set.parquet", zone=zone)

    assert refused.value.message == f"there is no zone {zone!r}"


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    done = subprocess.run(
        ["git", "-C", str(folder), *identity, *arguments],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def test_the_commit_is_the_project_s_wherever_one_stands(train, tmp_path, monkeypatch):
    """A manifest that named another repository's commit would be worse than none."""
    shas = {}
    for name in ("project", "elsewhere"):
        (tmp_path / name).mkdir()
        git(tmp_path / name, "init", "--quiet")
        git(tmp_path / name, "commit", "--quiet", "--allow-empty", "--message", name)
        shas[name] = git(tmp_path / name, "rev-parse", "HEAD")
    monkeypatch.chdir(tmp_path / "elsewhere")

    made = train(tmp_path / "set.parquet", project=tmp_path / "project")

    assert json.loads(made.manifest.read_text())["git_sha"] == shas["project"]
    assert shas["project"] != shas["elsewhere"]


@pytest.mark.parametrize("first", ["load", "other"])
@pytest.mark.parametrize(("kind", "agree"), [("integer", False), ("date", False), ("text", True)])
def test_tables_agree_on_a_key_or_are_told_apart(catalog, registry, first, kind, agree):
    """Rule 16: whichever is asked for first, both are named with their types."""
    load = catalog.table("load")
    key = JoinKey(name="key", type=parse_type(kind))
    other = load.model_copy(update={"name": "other", "join_keys": (key,)})
    tables = (load, other) if first == "load" else (other, load)
    recipe = Recipe("at", "UTC", tables, {}, datetime(2026, 3, 6, tzinfo=UTC))

    if agree:
        assert list(recipe.keys) == ["key"]
        return
    with pytest.raises(SpineError) as refused:
        recipe.keys  # noqa: B018 - it is the property that refuses
    told = [f"{key.type.sql} in {table.name}" for table in tables for key in table.join_keys]
    assert refused.value.message == f"key key is {' and '.join(told)}"


@pytest.mark.parametrize("late", ["load", "other"])
def test_labels_are_judged_by_the_table_that_had_learnt_least(catalog, late):
    """Rule 17: of each table its newest cut-off counts, and of these the earliest."""
    load = catalog.table("load")
    other = load.model_copy(update={"name": "other"})
    both = catalog.model_copy(update={"tables": (load, other)})
    days = {"load": (3, 6), "other": (3, 6)} | {late: (2, 5)}

    class OfDays(Registry):
        """Two snapshots of each table are released."""

        def released_snapshots(self, table, *, at=None, release=None):
            return [snapshot(table=table, day=day) for day in days[table]]

    features = tuple(FeatureRef(view=name, feature="value") for name in ("load", "other"))

    recipe = recipe_of(
        both, OfDays(Lake(Path("nowhere"))), TrainingRequest("spine.csv", "at", features)
    )

    assert recipe.cut_off == datetime(2026, 3, 5, tzinfo=UTC)
