"""A training set made again from its manifest: identical, or the cause of the difference by name (rule 22)."""

from __future__ import annotations

import json
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from featmill.errors import ManifestError
from featmill.training.spine_source import file_spine, frame_spine
from featmill.training.verify import verify_training_set
from tests.integration.point_in_time.ledgers import CLICKS, LedgerLake, hour


@pytest.fixture
def lake(tmp_path):
    lake = LedgerLake(tmp_path)
    release = lake.publish(hour(24), [(1, hour(24), 7, "a")], at=hour(25))
    lake.live(release, at=hour(26))
    return lake


@pytest.fixture
def spine(tmp_path):
    path = tmp_path / "spine.parquet"
    moments = pa.array([hour(30), hour(24)], pa.timestamp("us", "UTC"))
    pq.write_table(pa.table({"user_id": [1, 2], "asked_at": moments, "label": [1, 0]}), path)
    return path


@pytest.fixture
def made(lake, spine, tmp_path):
    return lake.build(spine, tmp_path / "set.parquet", status=True)


def causes(made, lake, **more):
    return list(verify_training_set(made.manifest, lake.lake, **more).causes)


def test_a_set_is_identical_whatever_was_published_since(made, lake):
    """Rule 22: also after a correction, a new day and a promotion."""
    lake.publish(hour(24), [(1, hour(24), 8, "b"), (2, hour(24), 8, "b")], at=hour(40))
    lake.publish(hour(30), [(1, hour(30), 9, "c")], at=hour(41))

    found = verify_training_set(made.manifest, lake.lake)

    assert (found.is_identical, found.rows, found.causes) == (True, 2, ())


def test_a_served_set_is_identical_after_later_promotions(lake, spine, tmp_path):
    made = lake.build(spine, tmp_path / "served.parquet", mode="served", value_status=True)
    lake.record("down", at=hour(27))
    lake.live(lake.publish(hour(26), [(1, hour(26), 9, "z")], at=hour(28)), at=hour(29))

    assert causes(made, lake) == []


@pytest.mark.parametrize("more", [{}, {"status": True, "source_times": True, "value_status": True}])
def test_a_set_of_a_frame_is_made_again_from_its_own_first_columns(lake, spine, tmp_path, more):
    """A frame is gone when its process is; the set has its rows."""
    frame = pq.read_table(spine)
    made = lake.build(frame, tmp_path / "of_frame.parquet", **more)

    assert causes(made, lake) == []
    assert causes(made, lake, spine=frame_spine(frame)) == []
    (other, *_) = causes(made, lake, spine=frame_spine(frame.slice(1)))
    assert other.startswith("spine changed: Table is not what the set was made of")


def test_a_changed_spine_is_named(made, lake, spine):
    table = pq.read_table(spine)
    pq.write_table(table.set_column(2, "label", pa.array([0, 0])), spine)

    assert causes(made, lake) == [
        f"spine changed: {spine} has another hash",
        "value differs: label in 1 rows (row 0: was 1, is 0)",
    ]
    spine.unlink()
    assert causes(made, lake) == [f"spine missing: {spine}"]


def test_a_spine_may_have_moved(made, lake, spine, tmp_path):
    moved = tmp_path / "elsewhere.parquet"
    spine.rename(moved)

    assert causes(made, lake, spine=file_spine(moved)) == []


def test_an_edited_output_is_named_with_the_value(made, lake):
    table = pq.read_table(made.path)
    position = table.schema.get_field_index("clicks__count_7d")
    edited = table.set_column(position, "clicks__count_7d", pa.array([8, None], pa.int64()))
    pq.write_table(edited, made.path)

    (cause,) = causes(made, lake)

    assert cause.startswith(f"output edited: {made.path} ")
    made.path.write_bytes(b"PAR1")
    assert causes(made, lake)[0].startswith("output edited: ")
    made.path.unlink()
    assert causes(made, lake) == [f"output missing: {made.path}"]


def test_a_rewritten_output_of_the_same_rows_is_no_edit(made, lake):
    """The hash is of values and order, not of bytes."""
    pq.write_table(pq.read_table(made.path), made.path, compression="none")

    assert causes(made, lake) == []


def test_an_expired_snapshot_is_a_clear_error(made, lake):
    """Rule 9: what was erased or expired is said to be."""
    shutil.rmtree(lake.lake.location("clicks"))

    (cause,) = causes(made, lake)

    assert cause.startswith("snapshot gone: 1 snapshots are not in the lake")
    assert lake.registry.releases()[0].snapshots["clicks"] in cause


def test_another_value_is_shown_with_its_place(made, lake):
    """As other code would make it: here the declared ttl of the manifest is another."""
    said = json.loads(made.manifest.read_text())
    said["tables"][0]["ttl"] = "PT1H"
    made.manifest.write_text(json.dumps(said))

    assert causes(made, lake) == [
        "value differs: clicks__count_7d in 1 rows (row 0: was 7, is None)",
        "value differs: clicks__city in 1 rows (row 0: was a, is None)",
        "value differs: clicks__status in 1 rows (row 0: was ok, is expired)",
    ]


def test_other_libraries_and_code_are_noted(made, lake):
    said = json.loads(made.manifest.read_text())
    said["versions"]["duckdb"] = "1.0.0"
    said["git_sha"] = "abc"
    made.manifest.write_text(json.dumps(said))

    found = verify_training_set(made.manifest, lake.lake)

    assert found.is_identical
    assert [note.partition(" ")[0] for note in found.notes] == ["other", "other"]
    assert "duckdb was 1.0.0, is 2." in found.notes[0]
    assert "was at abc" in found.notes[1]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "cannot be read as a manifest"),
        ("[1]", "is a manifest of format None"),
        ('{"format": 1}', "is a manifest of format 1, expected 2"),
        ('{"format": 2}', "is not a whole manifest: 'time_column'"),
    ],
)
def test_what_is_no_manifest_is_refused(lake, tmp_path, text, told):
    path = tmp_path / "m.json"
    path.write_text(text)

    with pytest.raises(ManifestError, match=told):
        verify_training_set(path, lake.lake)


def test_the_declaration_of_the_day_is_what_a_set_is_made_again_by(made, lake):
    """What the project declares by now is of no concern: the manifest has all it needs."""
    lake.table = CLICKS.model_copy(update={"event_time": "gone"})

    assert causes(made, lake) == []
