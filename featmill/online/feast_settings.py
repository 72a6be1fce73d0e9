"""The online store in Feast's words: the `online_store` section of `feature_store.yaml`.

Feast 0.67 reads one string of comma-separated parts: those without `=` are addresses, the others options, each value
JSON. `redis_type` says what the addresses are of.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from featmill.errors import SettingError
from featmill.online.tls import client_tls

if TYPE_CHECKING:
    from featmill.online.connection import OnlineTarget


def feast_online_config(target: OnlineTarget) -> dict[str, Any]:
    """`type`, `connection_string`, and for a cluster or sentinels `redis_type` and `sentinel_master`.

    Raises:
        SettingError: Feast cannot express this target.
    """
    config: dict[str, Any] = {"type": "redis"}
    if target.kind == "cluster":
        config["redis_type"] = "redis_cluster"
    if target.kind == "sentinel":
        config |= {"redis_type": "redis_sentinel", "sentinel_master": target.service}
    return config | {"connection_string": ",".join([*_addresses(target), *_options(target)])}


def _addresses(target: OnlineTarget) -> list[str]:
    if target.socket_path is not None:
        return ["localhost:0"]
    hosts = target.hosts or ((target.host, target.port),)
    for host, _ in hosts:
        if ":" in host:
            raise SettingError(
                f"{target.url}: Feast's connection string cannot hold an IPv6 address",
                hint="use a host name that resolves to it",
            )
    return [f"{host}:{port}" for host, port in hosts]


def _options(target: OnlineTarget) -> list[str]:
    values: dict[str, Any] = {
        "unix_socket_path": target.socket_path,
        "username": target.username,
        "password": target.password,
    }
    tls = dict(target.tls_options)
    values |= tls
    if "ssl_check_hostname" in tls:
        values["ssl_check_hostname"] = client_tls(tls)["ssl_check_hostname"]
    if target.kind == "sentinel":
        values["sentinel_kwargs"] = _sentinel_login(target)
    parts = [f"{name}={_json(value)}" for name, value in values.items() if value is not None]
    if target.kind != "cluster":
        parts.append(f"db={target.db}")
    return [*parts, *(["ssl=true"] if target.tls else [])]


def _sentinel_login(target: OnlineTarget) -> dict[str, Any] | None:
    """What Feast hands to redis-py for the sentinels: its string has room for one value."""
    values = {
        "username": target.sentinel_username,
        "password": target.sentinel_password,
        "ssl": target.sentinel_tls or None,
    }
    known = {name: value for name, value in values.items() if value is not None}
    if len(known) > 1:
        raise SettingError(
            f"{target.url}: Feast's connection string cannot hold more than one of the sentinels' "
            f"{', '.join(values)}",
            hint="give the sentinels' default user the password, or let them answer without TLS (sentinel_ssl=false)",
        )
    return known or None


def _json(value: object) -> str:
    """JSON without a comma: quotes keep a password such as 1234 or true a string."""
    return json.dumps(value).replace(",", "\\u002c")
