"""A reader from a project's folder alone: its manifest, its settings, its store."""

from __future__ import annotations

import asyncio

import pytest

from featmill.errors import ContractError
from featmill.serving import open_async_reader, open_reader
from tests.unit.contract.manifests import Project, exposure, feature_table, publish_node


@pytest.fixture
def folder(tmp_path, monkeypatch, store):
    """A project of one service, as dbt's manifest tells of it, beside an empty store."""
    models = [feature_table("feat_user__buys"), publish_node("user__buys", "feat_user__buys")]
    Project(tmp_path, models, [exposure("ranking", "user__buys")]).write()
    monkeypatch.setenv("FEATMILL_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FEATMILL_REDIS_URL", f"unix://{store.socket_path}")
    return tmp_path


def test_a_reader_needs_a_manifest_and_a_store(folder):
    with open_reader(folder) as reader:
        answer = reader.read("ranking", {"user_id": [1, 2]})

    assert answer.to_dict()["values"] == {"buys_7d": [0, 0]}
    assert answer.degraded == "empty"


def test_a_reader_for_an_event_loop(folder):
    async def read():
        async with await open_async_reader(str(folder), ["ranking"]) as reader:
            return await reader.read("ranking", {"user_id": 7})

    assert asyncio.run(read()).to_dict()["statuses"] == {"buys_7d": ["default"]}


def test_no_manifest_no_reader(tmp_path):
    with pytest.raises(ContractError, match=r"manifest\.json"):
        open_reader(tmp_path)
