"""Where the online store is, and the ways in: a raw socket, a redis-py client, Feast's string."""

from __future__ import annotations

import json
import socket
import ssl
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from featmill.errors import OnlineRefused, OnlineUnreachable, SettingError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from redis import Redis

_PORT = 6379
_TIMEOUT = 10.0

#: Options of a `rediss://` URL that both our socket and redis-py understand.
_TLS_OPTIONS = (
    "ssl_cert_reqs",
    "ssl_ca_certs",
    "ssl_certfile",
    "ssl_keyfile",
    "ssl_check_hostname",
)

_HINT = "start the server, or point FEATMILL_REDIS_URL at another; unset, featmill runs its own"


@dataclass(frozen=True, slots=True)
class OnlineTarget:
    """One Redis database. `socket_path` is set for a unix socket, else `host` and `port` hold.

    The password is left out of `repr` and of every message.
    """

    host: str = "localhost"
    port: int = _PORT
    socket_path: str | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    db: int = 0
    tls: bool = False
    tls_options: tuple[tuple[str, str], ...] = ()

    @classmethod
    def from_url(cls, url: str) -> OnlineTarget:
        """Read a `redis://`, `rediss://` or `unix://` URL.

        Raises:
            SettingError: the URL is malformed or has an option that is not known here.
        """
        from redis.connection import parse_url

        shown = _without_password(url)
        try:
            parts = dict(parse_url(url))
        except ValueError as error:
            raise SettingError(
                f"{shown} is not a Redis URL",
                hint="redis://[user:password@]host:port/db, rediss://..., or unix:///path?db=0",
            ) from error
        parts.pop("connection_class", None)
        target = cls(
            host=str(parts.pop("host", "localhost")),
            port=int(parts.pop("port", _PORT)),
            socket_path=parts.pop("path", None),
            username=parts.pop("username", None),
            password=parts.pop("password", None),
            db=int(parts.pop("db", 0)),
            tls=url.startswith("rediss://"),
            tls_options=tuple((k, str(parts.pop(k))) for k in _TLS_OPTIONS if k in parts),
        )
        if parts:
            known = ", ".join(("db", *_TLS_OPTIONS))
            raise SettingError(
                f"{shown} has unknown options: {', '.join(parts)}", hint=f"known: {known}"
            )
        if url.startswith("unix:") and not target.socket_path:
            raise SettingError(f"{shown} has no path", hint="unix:///path/of/the/socket")
        return target

    @property
    def url(self) -> str:
        """The target as a URL with the password masked: what messages show."""
        user = self.username or ""
        login = f"{user}:***@" if self.password is not None else f"{user}@" if user else ""
        if self.socket_path is not None:
            return f"unix://{login}{self.socket_path}?db={self.db}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'rediss' if self.tls else 'redis'}://{login}{host}:{self.port}/{self.db}"

    def client(self, *, timeout: float = _TIMEOUT) -> Redis:
        """A redis-py client that answers in bytes; use it inside `translated_errors`."""
        from redis import Redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        options: dict[str, Any] = {
            # redis-py would retry for seconds; whether to try again is the caller's business.
            "retry": Retry(NoBackoff(), 0),
            "db": self.db,
            "username": self.username,
            "password": self.password,
            "socket_timeout": timeout,
            "socket_connect_timeout": timeout,
        }
        if self.socket_path is not None:
            return Redis(unix_socket_path=self.socket_path, **options)
        if self.tls:
            options |= {"ssl": True, **_client_tls(dict(self.tls_options))}
        return Redis(host=self.host, port=self.port, **options)

    def connect(self, *, timeout: float = _TIMEOUT) -> socket.socket:
        """A blocking socket, logged in and on the right database.

        Raises:
            OnlineUnreachable: nothing answers there, or it refused the login.
        """
        with translated_errors(self):
            opened = self._open(timeout)
            try:
                self._log_in(opened)
            except BaseException:
                opened.close()
                raise
        return opened

    def feast_connection_string(self) -> str:
        """The target as Feast's Redis store wants it: `host:port,name=value,...`.

        Raises:
            SettingError: Feast's parser cannot express this target.
        """
        if self.socket_path is None and ":" in self.host:
            raise SettingError(
                f"{self.url}: Feast's connection string cannot hold an IPv6 address",
                hint="use a host name that resolves to it",
            )
        values: dict[str, Any] = {
            "unix_socket_path": self.socket_path,
            "username": self.username,
            "password": self.password,
            **dict(self.tls_options),
        }
        for name, value in values.items():
            if value is not None and "," in value:
                raise SettingError(
                    f"{self.url}: Feast's connection string cannot hold a comma; {name} has one",
                    hint=f"choose a {name} without commas",
                )
        # Feast reads each value as JSON: quotes keep a password such as 1234 or true a string.
        parts = [f"{k}={json.dumps(v)}" for k, v in values.items() if v is not None]
        address = "localhost:0" if self.socket_path is not None else f"{self.host}:{self.port}"
        return ",".join([address, *parts, f"db={self.db}", *(["ssl=true"] if self.tls else [])])

    def _open(self, timeout: float) -> socket.socket:
        if self.socket_path is not None:
            local = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            local.settimeout(timeout)
            try:
                local.connect(self.socket_path)
            except BaseException:
                local.close()
                raise
            return local
        remote = socket.create_connection((self.host, self.port), timeout=timeout)
        try:
            remote.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.tls:
                context = _tls_context(dict(self.tls_options))
                return context.wrap_socket(remote, server_hostname=self.host)
        except BaseException:
            remote.close()
            raise
        return remote

    def _log_in(self, opened: socket.socket) -> None:
        from hiredis import Reader, ReplyError

        commands: list[list[str]] = []
        if self.password is not None:
            commands.append(["AUTH", *([self.username] if self.username else []), self.password])
        commands.append(["SELECT", str(self.db)])
        reader = Reader()
        for command in commands:
            opened.sendall(_resp(command))
            reply: object = False
            while reply is False:
                received = opened.recv(1 << 12)
                if not received:
                    raise ConnectionResetError("the server closed the connection")
                reader.feed(received)
                reply = reader.gets()
            if isinstance(reply, ReplyError):
                raise OnlineUnreachable(f"{self.url} refused {command[0]}: {reply}", hint=_HINT)


@contextmanager
def translated_errors(target: OnlineTarget) -> Iterator[None]:
    """Turn what sockets and redis-py raise inside the block into featmill's errors.

    Raises:
        OnlineUnreachable: there is no server, it went away, or it refused the login.
        OnlineRefused: the server answered a command with an error.
    """
    from redis import exceptions

    refused_login = (exceptions.AuthenticationError, exceptions.NoPermissionError)
    try:
        yield
    except refused_login as error:
        raise OnlineUnreachable(f"{target.url} refused the login: {error}", hint=_HINT) from error
    except (OSError, exceptions.ConnectionError, exceptions.TimeoutError) as error:
        raise OnlineUnreachable(
            f"no online store answers at {target.url}: {error}", hint=_HINT
        ) from error
    except exceptions.ResponseError as error:
        raise OnlineRefused(f"{target.url} refused a command: {error}") from error


def _resp(command: list[str]) -> bytes:
    parts = [argument.encode() for argument in command]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(p), p) for p in parts)


def _client_tls(options: dict[str, str]) -> dict[str, Any]:
    checks = options.get("ssl_check_hostname", "true").lower() not in ("0", "false", "no")
    without_checks = options.get("ssl_cert_reqs") in ("none", "optional")
    return {**options, "ssl_check_hostname": checks and not without_checks}


def _tls_context(options: dict[str, str]) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=options.get("ssl_ca_certs"))
    settings = _client_tls(options)
    context.check_hostname = settings["ssl_check_hostname"]
    modes = {"none": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}
    wanted = options.get("ssl_cert_reqs", "required")
    if wanted not in modes:
        raise SettingError(f"ssl_cert_reqs is {wanted!r}", hint=f"one of: {', '.join(modes)}")
    context.verify_mode = modes[wanted]
    if "ssl_certfile" in options:
        context.load_cert_chain(options["ssl_certfile"], options.get("ssl_keyfile"))
    return context


def _without_password(url: str) -> str:
    """A URL that may be malformed, with anything that could be a password masked."""
    scheme, separator, rest = url.partition("://")
    if not separator or "@" not in rest:
        return url
    login, _, address = rest.rpartition("@")
    return f"{scheme}://{login.partition(':')[0]}:***@{address}"
