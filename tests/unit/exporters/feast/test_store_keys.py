"""Where our Feast stores look: the keys of entities, and the store that a `feature_store.yaml` names."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from featmill.errors import SettingError
from featmill.online.connection import OnlineTarget

pytestmark = [pytest.mark.feast, pytest.mark.filterwarnings("ignore::DeprecationWarning:feast")]

KEYS = st.one_of(
    st.integers(-(2**63), 2**63 - 1).map(lambda v: {"int64_val": v}),
    st.integers(-(2**31), 2**31 - 1).map(lambda v: {"int32_val": v}),
    st.text(max_size=20).map(lambda v: {"string_val": v}),
    st.binary(max_size=20).map(lambda v: {"bytes_val": v}),
    st.integers(0, int(datetime(2100, 1, 1, tzinfo=UTC).timestamp())).map(
        lambda v: {"unix_timestamp_val": v}
    ),
)
NAMES = st.lists(st.text("abcdé_", min_size=1, max_size=8), min_size=1, max_size=3, unique=True)


@given(st.data())
def test_a_key_is_feast_s_to_the_byte(data):
    from feast.infra.key_encoding_utils import serialize_entity_key
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey
    from feast.protos.feast.types.Value_pb2 import Value

    from exporters.feast.plugins.entity_keys import keys_of_rows

    names = data.draw(NAMES)
    values = {name: Value(**data.draw(KEYS)) for name in names}
    view = SimpleNamespace(name="v", join_keys=names)

    (found,) = keys_of_rows(view, {name: [value] for name, value in values.items()}).prefixed

    key = EntityKey(join_keys=list(values), entity_values=list(values.values()))
    assert found == serialize_entity_key(key, 3)


@pytest.mark.parametrize(
    "target",
    [
        OnlineTarget(),
        OnlineTarget(host="h", port=7, username="u", password="1234", db=3, tls=True),
        OnlineTarget(socket_path="/run/a.sock", db=1, password="a,b"),
        OnlineTarget.from_url("redis+sentinel://u:p@h:26379,i:26380/main/2"),
        OnlineTarget.from_url("redis+cluster://u:p@h:7000,i:7001"),
        OnlineTarget.from_url("rediss://h:1/0?ssl_cert_reqs=none&ssl_ca_certs=/ca.pem"),
    ],
    ids=lambda target: target.url,
)
def test_the_engine_writes_where_feast_reads(target):
    from exporters.feast.plugins.online_store import FeatmillOnlineStoreConfig
    from exporters.feast.plugins.store_target import store_target

    config = target.feast_online_config()
    del config["type"]

    found = store_target(FeatmillOnlineStoreConfig(**config))

    if target.socket_path is not None:
        # Feast's string needs an address also where a socket is meant.
        assert (found.host, found.port) == ("localhost", 0)
        found = OnlineTarget(socket_path=found.socket_path, db=found.db, password=found.password)
    assert found == target


def test_only_redis_can_be_written_to():
    from feast.infra.online_stores.sqlite import SqliteOnlineStoreConfig

    from exporters.feast.plugins.store_target import store_target

    with pytest.raises(SettingError, match="the online store is sqlite"):
        store_target(SqliteOnlineStoreConfig())


def test_an_option_that_nobody_knows_is_said():
    from exporters.feast.plugins.online_store import FeatmillOnlineStoreConfig
    from exporters.feast.plugins.store_target import store_target

    with pytest.raises(SettingError, match="unknown options: retries"):
        store_target(FeatmillOnlineStoreConfig(connection_string="localhost:1,retries=3"))
