"""Generating: deterministic, of the promised shape, and all or nothing."""

from __future__ import annotations

from datetime import date
from importlib import import_module
from pathlib import Path

import pytest

from featmill.errors import FeatmillError, UsageError
from featmill.generator import DirtyShares, generate

# The package exports a function of the same name, which hides the module from an import statement.
MODULE = import_module("featmill.generator.generate")
SAMPLE = Path(__file__).parents[3] / "seeds" / "sample"

SCHEMA = {
    "events": {
        "event_id": "VARCHAR",
        "event_type": "VARCHAR",
        "user_id": "BIGINT",
        "product_id": "BIGINT",
        "video_id": "BIGINT",
        "session_id": "VARCHAR",
        "quantity": "INTEGER",
        "amount": "DECIMAL(12,2)",
        "watch_seconds": "INTEGER",
        "play_position_seconds": "INTEGER",
        "event_at": "TIMESTAMP",
        "ingested_at": "TIMESTAMP",
    },
    "users": {
        "user_id": "BIGINT",
        "country": "VARCHAR",
        "signed_up_at": "TIMESTAMP",
        "ingested_at": "TIMESTAMP",
    },
    "products": {
        "product_id": "BIGINT",
        "title": "VARCHAR",
        "category": "VARCHAR",
        "price": "DECIMAL(12,2)",
        "rating": "DECIMAL(3,2)",
        "is_active": "BOOLEAN",
        "updated_at": "TIMESTAMP",
        "ingested_at": "TIMESTAMP",
    },
    "videos": {
        "video_id": "BIGINT",
        "title": "VARCHAR",
        "category": "VARCHAR",
        "duration_seconds": "INTEGER",
        "released_at": "TIMESTAMP",
        "ingested_at": "TIMESTAMP",
    },
}


def content(files):
    return {file.name: file.path.read_bytes() for file in files}


def test_the_files_do_not_depend_on_the_number_of_threads(tmp_path):
    one, two, five = (
        generate(tmp_path / str(n), events=150_000, days=30, seed=5, threads=n) for n in (1, 2, 5)
    )
    assert content(one) == content(two) == content(five)


def test_another_seed_gives_other_data(tmp_path):
    first = generate(tmp_path / "1", events=1_000, days=10, seed=1)
    second = generate(tmp_path / "2", events=1_000, days=10, seed=2)
    assert all(content(first)[name] != content(second)[name] for name in content(first))


def test_the_committed_sample_is_what_the_generator_makes(tmp_path):
    """After a wanted change, make the sample again.

    `featmill generate --events 3000 --days 45 --seed 42 --format csv --out seeds/sample`
    """
    made = content(generate(tmp_path, events=3_000, days=45, seed=42, file_format="csv"))
    assert made == {path.stem: path.read_bytes() for path in SAMPLE.glob("*.csv")}


def test_each_table_has_its_columns_and_types(dirty):
    found = {
        name: {row[0]: row[1] for row in dirty.rows(f"describe {name}")} for name in dirty.files
    }
    assert found == SCHEMA


def test_what_is_reported_is_what_is_in_the_files(dirty):
    for name, file in dirty.files.items():
        assert file.rows == dirty.value(f"select count(*) from {name}")
        assert file.bytes == file.path.stat().st_size
    assert dirty.events.rows == 200_000
    assert not dirty.files["users"].planted


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"events": 0}, "--events: expected a number from 1 to 1000000000, got 0"),
        ({"days": 0}, "--days: expected a number from 1 to 3660, got 0"),
        ({"seed": -1}, "--seed: expected a number from 0"),
        ({"end": date(1901, 1, 1)}, "--end: expected 1980-01-01 or later, got 1901-01-01"),
        ({"file_format": "avro"}, "--format: expected parquet or csv, got 'avro'"),
    ],
)
def test_an_argument_out_of_its_range_is_named(tmp_path, arguments, message):
    with pytest.raises(UsageError, match=message):
        generate(tmp_path, **{"events": 10, "days": 1, "seed": 0, **arguments})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("share", [-0.1, 0.51, float("nan")])
def test_a_share_out_of_its_range_names_its_option(share):
    with pytest.raises(UsageError, match=r"--null-key: expected a share from 0 to 0\.5"):
        DirtyShares(null_key=share)


def test_exclusive_shares_cannot_sum_to_more_than_one():
    with pytest.raises(UsageError, match=r"sum to 1 at most, got 1\.2"):
        DirtyShares(late=0.4, null_key=0.4, null_time=0.4, future=0)


def test_the_largest_shares_and_the_fewest_events_work(tmp_path):
    shares = DirtyShares(0.25, 0.5, 0.5, 0.25, 0.25, 0.25)
    for events in (1, 2, 3):
        files = generate(tmp_path, events=events, days=1, seed=0, shares=shares)
        assert files[-1].rows == events


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    blocker = tmp_path / "file"
    blocker.write_text("")
    with pytest.raises(UsageError, match="cannot make the folder") as raised:
        generate(blocker / "raw", events=10, days=1, seed=0)
    assert raised.value.hint == "choose another with --out"


def test_a_folder_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(MODULE, "TemporaryDirectory", refuse)
    with pytest.raises(UsageError, match=r"cannot write to .*: Permission denied"):
        generate(tmp_path, events=10, days=1, seed=0)


def test_a_second_form_of_a_table_is_refused(tmp_path):
    generate(tmp_path, events=10, days=1, seed=0)
    with pytest.raises(
        UsageError, match=r"users\.parquet exists and would compete with users\.csv"
    ):
        generate(tmp_path, events=10, days=1, seed=0, file_format="csv")


def test_a_failure_leaves_the_files_as_they_were(tmp_path, monkeypatch):
    before = content(generate(tmp_path, events=10, days=1, seed=0))
    # Too little for the tables of a larger request.
    monkeypatch.setattr(MODULE, "_MEMORY_LIMIT", "1MB")
    with pytest.raises(FeatmillError, match="generating stopped") as raised:
        generate(tmp_path, events=100_000, days=10, seed=0)
    assert str(raised.value.hint).startswith("nothing was written")
    assert {path.stem: path.read_bytes() for path in tmp_path.iterdir()} == before
