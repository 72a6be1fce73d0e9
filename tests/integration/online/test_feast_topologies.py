"""Stock Feast finds the same rows, by the settings that featmill generates for clusters and sentinels."""

from __future__ import annotations

import warnings
from types import SimpleNamespace

import pytest

from tests.integration.online.cluster_servers import running_cluster, running_sentinels
from tests.integration.online.publications import PROJECT, TABLE, export, snapshot
from tests.unit.online.tables import feast

pytestmark = [pytest.mark.redis, pytest.mark.feast, pytest.mark.xdist_group("cluster")]


def feast_reads(target, users):
    """`count_7d` of some users, read by Feast's own Redis store."""
    _, entity_key, convert, value_type, _ = feast()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from feast.infra.online_stores.redis import RedisOnlineStore, RedisOnlineStoreConfig
    config = SimpleNamespace(
        project=PROJECT,
        entity_key_serialization_version=3,
        registry=SimpleNamespace(enable_online_feature_view_versioning=False),
        online_store=RedisOnlineStoreConfig(**target.feast_online_config()),
    )
    keys = [
        entity_key(join_keys=["user_id"], entity_values=convert([user], value_type.INT64))
        for user in users
    ]
    view = SimpleNamespace(name=TABLE.name, features=[SimpleNamespace(name="count_7d")])
    store = RedisOnlineStore()
    try:
        read = store.online_read(config, view, keys, ["count_7d"])
    finally:
        store._client.close()
    return [values["count_7d"].int64_val for _, values in read]


def test_feast_reads_a_cluster(tmp_path):
    with running_cluster(tmp_path) as cluster:
        export(cluster.target, snapshot(300))

        found = feast_reads(cluster.target, range(300))

    assert found == [user * 10 for user in range(300)]


def test_feast_reads_behind_sentinels(tmp_path):
    """The password has what Feast's connection string would be cut at."""
    with running_sentinels(tmp_path, sentinels=1, password="p,=w") as group:
        export(group.target, snapshot(50))

        found = feast_reads(group.target, range(50))

    assert found == [user * 10 for user in range(50)]
