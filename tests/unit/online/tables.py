"""Feature tables for tests, from SQL types; and rows as Feast's own code would write them."""

from __future__ import annotations

import functools
import warnings
from datetime import date, datetime

from featmill.contract.catalog import Feature, FeatureTable, JoinKey
from featmill.contract.types import OnlineKind, parse_type


def feature_table(name="clicks", *, keys=None, features=None):
    """A feature table; `keys` and `features` map a column to its DuckDB type."""
    keys = {"user_id": "BIGINT"} if keys is None else keys
    features = {"count_7d": "BIGINT"} if features is None else features
    return FeatureTable(
        name=name,
        model=f"model.shop.feat_{name}",
        candidate=f"feat_{name}",
        publish_node=None,
        version=None,
        entity="user",
        join_keys=tuple(JoinKey(name=k, type=parse_type(t)) for k, t in keys.items()),
        event_time="feature_at",
        ttl=None,
        online=True,
        tenant="default",
        owner=None,
        description="",
        tags=(),
        features=tuple(
            Feature(
                name=f,
                type=parse_type(t),
                description="",
                has_default=False,
                default=None,
                ignore_nulls=False,
                classification="internal",
                window=None,
            )
            for f, t in features.items()
        ),
        sources=(),
    )


@functools.cache
def feast():
    """The parts of Feast that decide its bytes; its import warns, and that is not ours to fix."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from feast.infra.online_stores import helpers
        from feast.infra.online_stores.redis import Timestamp
        from feast.protos.feast.types.EntityKey_pb2 import EntityKey
        from feast.type_map import python_values_to_proto_values
        from feast.value_type import ValueType
    return helpers, EntityKey, python_values_to_proto_values, ValueType, Timestamp


def feast_values(values: list, kind: OnlineKind) -> list[bytes]:
    """What Feast stores for Python values of one kind."""
    _, _, convert, value_type, _ = feast()
    midnights = [_midnight(v) for v in values]
    # Feast takes a column of nothing but empty bytes for one of NULLs: what an empty value becomes
    # would depend on its neighbours. One more value keeps it to its rule.
    sample = b"sample" if kind is OnlineKind.BYTES else 1
    messages = convert([*midnights, sample], value_type[kind.name])[:-1]
    return [message.SerializeToString() for message in messages]


def feast_lists(values: list, kind: OnlineKind) -> list[bytes]:
    """What Feast stores for lists of Python values of one kind; None is a NULL list."""
    _, _, convert, value_type, _ = feast()
    found = [v if v is None else [_midnight(element) for element in v] for v in values]
    return [m.SerializeToString() for m in convert(found, value_type[f"{kind.name}_LIST"])]


def _midnight(value):
    # Feast takes a naive moment for UTC, and knows no date.
    return datetime(value.year, value.month, value.day) if type(value) is date else value  # noqa: DTZ001


def feast_key(project: str, keys: dict[str, tuple[object, OnlineKind]]) -> bytes:
    """The Redis key Feast gives an entity."""
    helpers, entity_key, convert, value_type, _ = feast()
    message = entity_key(
        join_keys=list(keys),
        entity_values=[convert([v], value_type[k.name])[0] for v, k in keys.values()],
    )
    return helpers._redis_key(project, message)


def feast_field(view: str, feature: str) -> bytes:
    """The hash field Feast gives a feature."""
    return feast()[0]._mmh3(f"{view}:{feature}")


def feast_time(moment: datetime) -> bytes:
    """What Feast stores for an event time."""
    stamp = feast()[4]()
    stamp.FromDatetime(moment)
    return stamp.SerializeToString()


def parsed(stream) -> list[list[bytes]]:
    """RESP commands, or replies, as lists."""
    from hiredis import Reader

    reader = Reader()
    reader.feed(bytes(stream))
    return list(iter(reader.gets, False))
