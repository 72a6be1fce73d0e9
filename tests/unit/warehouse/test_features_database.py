"""The file that people open, on a lake without tables."""

from __future__ import annotations

import os
from datetime import timedelta

import duckdb

from featmill import clock
from featmill.warehouse.features_database import write_features_database
from featmill.warehouse.registry import open_registry


def test_what_a_killed_process_left_is_removed_and_what_is_young_is_not(tmp_path):
    """A file that another process writes now has the same form of name."""
    path = tmp_path / "features.duckdb"
    stray, young = tmp_path / ".features.duckdb.aa", tmp_path / ".features.duckdb.bb"
    other = tmp_path / ".other.duckdb.cc"
    for file in (stray, young, other):
        file.write_bytes(b"")
    old = (clock.now() - timedelta(hours=2)).timestamp()
    for file in (stray, other):
        os.utime(file, (old, old))

    assert write_features_database(path, open_registry(tmp_path / "lake")) == []

    assert sorted(file.name for file in tmp_path.iterdir() if file.is_file()) == [
        ".features.duckdb.bb",
        ".other.duckdb.cc",
        "features.duckdb",
    ]
    with duckdb.connect(str(path), read_only=True) as connection:
        views = connection.execute("SELECT view_name FROM duckdb_views() WHERE NOT internal")
        assert views.fetchall() == []
