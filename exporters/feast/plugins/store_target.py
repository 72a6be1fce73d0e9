"""The online store of a `feature_store.yaml` as featmill's target: the way back from `feast_online_config`."""

from __future__ import annotations

from typing import Any

from feast.infra.online_stores.redis import RedisOnlineStore, RedisOnlineStoreConfig

from featmill.errors import SettingError
from featmill.online.connection import OnlineTarget, StoreKind
from featmill.online.tls import TLS_OPTIONS

_KINDS = {
    "redis": StoreKind.SINGLE,
    "redis_sentinel": StoreKind.SENTINEL,
    "redis_cluster": StoreKind.CLUSTER,
}


def store_target(online_store: Any) -> OnlineTarget:  # noqa: ANN401 - whatever store Feast has
    """Where Feast's Redis store is, or ours, which is one.

    Raises:
        SettingError: it is another store, or has an option that featmill does not know.
    """
    if not isinstance(online_store, RedisOnlineStoreConfig):
        kind = getattr(online_store, "type", "none")
        raise SettingError(
            f"the online store is {kind}; featmill writes to Redis alone",
            hint="set online_store in feature_store.yaml to `type: redis`, or to featmill's own store",
        )
    nodes, given = RedisOnlineStore._parse_connection_string(online_store.connection_string)
    options: dict[str, Any] = dict(given)
    kind = _KINDS[str(online_store.redis_type.value)]
    hosts = tuple((str(node["host"]), int(node["port"])) for node in nodes)
    sentinels = dict(options.pop("sentinel_kwargs", None) or {})
    target = OnlineTarget(
        host=hosts[0][0],
        port=hosts[0][1],
        socket_path=options.pop("unix_socket_path", None),
        username=_text(options.pop("username", None)),
        password=_text(options.pop("password", None)),
        db=int(options.pop("db", 0)),
        tls=bool(options.pop("ssl", False)),
        tls_options=tuple((k, _option(options.pop(k))) for k in TLS_OPTIONS if k in options),
        kind=kind,
        hosts=() if kind is StoreKind.SINGLE else hosts,
        service=online_store.sentinel_master if kind is StoreKind.SENTINEL else "",
        sentinel_username=_text(sentinels.get("username")),
        sentinel_password=_text(sentinels.get("password")),
        sentinel_tls=bool(sentinels.get("ssl", False)),
    )
    if options:
        raise SettingError(
            f"the connection string at {target.url} has unknown options: {', '.join(options)}",
            hint=f"known: unix_socket_path, username, password, db, ssl, {', '.join(TLS_OPTIONS)}",
        )
    return target


def _text(value: object) -> str | None:
    # Feast reads each value as JSON: a password of digits comes as a number.
    return None if value is None else str(value)


def _option(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
