"""A followed log: each commit is read once, and another table in its place is not taken for it."""

from __future__ import annotations

import shutil

import pyarrow as pa
import pytest
from deltalake import CommitProperties, DeltaTable, write_deltalake

from featmill.errors import LakeError
from featmill.warehouse import delta_log
from featmill.warehouse.delta_log import Commit, DeltaLog


class Versions(DeltaLog):
    """Which commits were taken, and what they said."""

    def forget(self) -> None:
        self.said: list[tuple[int, str]] = []

    def take(self, commit: Commit) -> None:
        if commit.info.get("word") == "stop":
            raise LakeError("refused")
        self.said.append((commit.version, commit.info["word"]))


def commit(folder, word):
    write_deltalake(
        str(folder),
        pa.table({"n": [1]}),
        mode="append",
        commit_properties=CommitProperties(custom_metadata={"word": word}),
    )


def test_a_commit_is_read_once(tmp_path, monkeypatch):
    """A backfill of n dates must not read n times n commits."""
    read: list[int] = []
    parse = delta_log._commit

    def watched(location, version, text):
        read.append(version)
        return parse(location, version, text)

    monkeypatch.setattr(delta_log, "_commit", watched)
    for word in ("a", "b", "c"):
        commit(tmp_path, word)
        assert Versions.of(tmp_path).said[-1][1] == word
        assert Versions.of(tmp_path) is Versions.of(tmp_path)

    assert read == [0, 1, 2]


def test_a_table_that_was_replaced_is_read_anew(tmp_path):
    """A restored folder may hold fewer commits, or as many others."""
    live, kept = tmp_path / "live", tmp_path / "kept"
    commit(live, "a")
    shutil.copytree(live, kept)
    commit(live, "b")
    assert Versions.of(live).said == [(0, "a"), (1, "b")]

    shutil.rmtree(live)
    shutil.copytree(kept, live)
    assert Versions.of(live).said == [(0, "a")]

    shutil.rmtree(live)
    assert not Versions.of(live).is_table
    commit(live, "c")
    assert Versions.of(live).said == [(0, "c")]
    assert Versions.of(live).delta_table().version() == 0


def test_a_refused_commit_is_refused_each_time(tmp_path):
    commit(tmp_path, "a")
    commit(tmp_path, "stop")

    for _ in range(2):
        with pytest.raises(LakeError, match="refused"):
            Versions.of(tmp_path)


def test_a_damaged_or_shortened_log_is_an_error(tmp_path):
    """Its first commits say what the first snapshots are: a checkpoint does not."""
    commit(tmp_path, "a")
    DeltaTable(str(tmp_path)).create_checkpoint()
    (first,) = (tmp_path / "_delta_log").glob("*.json")
    text = first.read_text()

    first.write_text(text[:40])
    with pytest.raises(LakeError, match="cannot be read as a Delta commit"):
        Versions.of(tmp_path)
    first.unlink()
    with pytest.raises(LakeError, match="has lost its first commits"):
        Versions.of(tmp_path)
