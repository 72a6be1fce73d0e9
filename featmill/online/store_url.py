"""The URL of the online store: one server, a primary that sentinels know, or a cluster.

| URL | store |
|---|---|
| `redis://`, `rediss://`, `unix://` | one server |
| `redis+sentinel://[user:pw@]h:26379,h2:26379/<service>/<db>` | the primary that the sentinels name |
| `redis+cluster://[user:pw@]h:7000,h2:7001` | a cluster; the hosts are where its map is asked for |

`rediss+sentinel://` and `rediss+cluster://` are TLS. Options follow a `?`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlencode

from featmill.errors import SettingError
from featmill.online.tls import TLS_OPTIONS

if TYPE_CHECKING:
    from featmill.online.connection import OnlineTarget

PORT = 6379
SENTINEL_PORT = 26379

_SENTINEL_OPTIONS = ("sentinel_username", "sentinel_password", "sentinel_ssl")
_HIDDEN_OPTIONS = ("password", "sentinel_password")

_FORMS = (
    "redis://[user:password@]host:port/db, rediss://..., unix:///path?db=0, "
    "redis+sentinel://[user:password@]host:port,host:port/service/db, "
    "or redis+cluster://[user:password@]host:port,host:port"
)


def target_fields(url: str) -> dict[str, Any]:
    """The fields of the `OnlineTarget` that a URL describes.

    Raises:
        SettingError: the URL is malformed, or has an option that is not known here.
    """
    scheme = url.partition("://")[0]
    parsers = {"sentinel": _sentinel, "cluster": _cluster}
    base, _, kind = scheme.partition("+")
    if base in ("redis", "rediss") and kind in parsers:
        return parsers[kind](_Parts(url))
    return _single(url)


def shown_url(target: OnlineTarget) -> str:
    """The target as a URL with the passwords masked."""
    user = target.username or ""
    login = f"{user}:***@" if target.password is not None else f"{user}@" if user else ""
    if target.socket_path is not None:
        return f"unix://{login}{target.socket_path}?db={target.db}"
    scheme = "rediss" if target.tls else "redis"
    if not target.hosts:
        return f"{scheme}://{login}{host_port(target.host, target.port)}/{target.db}"
    hosts = ",".join(host_port(host, port) for host, port in target.hosts)
    path = f"/{target.service}/{target.db}" if target.service else ""
    return f"{scheme}+{target.kind}://{login}{hosts}{path}"


def host_port(host: str, port: int) -> str:
    """An address, an IPv6 one in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def without_password(url: str) -> str:
    """A URL that may be malformed, with anything that could be a password masked."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        scheme, rest = "", url
    rest, mark, query = rest.partition("?")
    if mark and any(name in query for name in _HIDDEN_OPTIONS):
        pairs = parse_qsl(query, keep_blank_values=True)
        shown = [(k, "***" if k in _HIDDEN_OPTIONS else v) for k, v in pairs]
        query = urlencode(shown, safe="*/")
    rest = f"{rest}{mark}{query}"
    if "@" in rest:
        login, _, address = rest.rpartition("@")
        rest = f"{login.partition(':')[0]}:***@{address}"
    return f"{scheme}{separator}{rest}"


class _Parts:
    """The parts of a URL with several hosts, which no library reads."""

    def __init__(self, url: str) -> None:
        self.shown = without_password(url)
        scheme, _, rest = url.partition("://")
        rest, _, query = rest.partition("?")
        authority, _, path = rest.partition("/")
        login, at, hosts = authority.rpartition("@")
        username, colon, password = login.partition(":")
        self.hosts = hosts
        self.path = tuple(unquote(part) for part in path.split("/") if part)
        self.options = dict(parse_qsl(query, keep_blank_values=True))
        self.fields: dict[str, Any] = {
            "username": unquote(username) or None,
            "password": unquote(password) if at and colon else None,
            "tls": scheme.startswith("rediss"),
        }

    def wrong(self, what: str) -> SettingError:
        return SettingError(f"{self.shown} {what}", hint=_FORMS)

    def addresses(self, default_port: int) -> tuple[tuple[str, int], ...]:
        return tuple(self._address(part, default_port) for part in self.hosts.split(","))

    def take_tls(self, *more: str) -> None:
        """Move the TLS options into the fields; what is left, but for `more`, is unknown."""
        self.fields["tls_options"] = tuple(
            (name, self.options.pop(name)) for name in TLS_OPTIONS if name in self.options
        )
        unknown = [name for name in self.options if name not in more]
        if unknown:
            raise SettingError(
                f"{self.shown} has unknown options: {', '.join(unknown)}",
                hint=f"known: {', '.join((*more, *TLS_OPTIONS))}",
            )

    def _address(self, text: str, default_port: int) -> tuple[str, int]:
        host, port = text, ""
        if text.startswith("["):
            host, bracket, rest = text[1:].partition("]")
            port = rest.removeprefix(":")
            if not bracket or (rest and not rest.startswith(":")):
                raise self.wrong(f"has no address in {text!r}")
        elif text.count(":") == 1:
            host, _, port = text.partition(":")
        elif ":" in text:
            raise self.wrong(f"has an IPv6 address without brackets: {text!r}")
        if not host:
            raise self.wrong("names no host" if not text else f"has no host in {text!r}")
        if not port:
            return unquote(host), default_port
        if not port.isdecimal() or not 0 < int(port) < 1 << 16:
            raise self.wrong(f"has no port number in {text!r}")
        return unquote(host), int(port)


def _sentinel(parts: _Parts) -> dict[str, Any]:
    hosts = parts.addresses(SENTINEL_PORT)
    if not 1 <= len(parts.path) <= 2:
        raise parts.wrong("must name the service, then the database: /mymaster/0")
    service, db = (*parts.path, "0")[:2]
    if not db.isdecimal():
        raise parts.wrong(f"has no database number in {db!r}")
    parts.take_tls(*_SENTINEL_OPTIONS)
    tls = parts.options.get("sentinel_ssl", str(parts.fields["tls"])).lower()
    return {
        "kind": "sentinel",
        "host": hosts[0][0],
        "port": hosts[0][1],
        "hosts": hosts,
        "service": service,
        "db": int(db),
        "sentinel_username": parts.options.get("sentinel_username"),
        "sentinel_password": parts.options.get("sentinel_password"),
        "sentinel_tls": tls in ("1", "true", "yes"),
        **parts.fields,
    }


def _cluster(parts: _Parts) -> dict[str, Any]:
    hosts = parts.addresses(PORT)
    db = parts.options.pop("db", "".join(parts.path) or "0")
    if len(parts.path) > 1 or db != "0":
        raise SettingError(
            f"{parts.shown} names database {db!r}: a cluster has only database 0",
            hint="leave it out; Feast projects keep tables apart within one database",
        )
    parts.take_tls()
    return {
        "kind": "cluster",
        "host": hosts[0][0],
        "port": hosts[0][1],
        "hosts": hosts,
        **parts.fields,
    }


def _single(url: str) -> dict[str, Any]:
    from redis.connection import parse_url

    shown = without_password(url)
    try:
        parts = dict(parse_url(url))
    except ValueError as error:
        raise SettingError(f"{shown} is not a Redis URL", hint=_FORMS) from error
    parts.pop("connection_class", None)
    fields = {
        "host": str(parts.pop("host", "localhost")),
        "port": int(parts.pop("port", PORT)),
        "socket_path": parts.pop("path", None),
        "username": parts.pop("username", None),
        "password": parts.pop("password", None),
        "db": int(parts.pop("db", 0)),
        "tls": url.startswith("rediss://"),
        "tls_options": tuple((k, str(parts.pop(k))) for k in TLS_OPTIONS if k in parts),
    }
    if parts:
        known = ", ".join(("db", *TLS_OPTIONS))
        raise SettingError(
            f"{shown} has unknown options: {', '.join(parts)}", hint=f"known: {known}"
        )
    if url.startswith("unix:") and not fields["socket_path"]:
        raise SettingError(f"{shown} has no path", hint="unix:///path/of/the/socket")
    return fields
