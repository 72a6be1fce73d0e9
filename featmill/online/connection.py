"""Where the online store is, and the ways in: a raw socket, a redis-py client, Feast's string."""

from __future__ import annotations

import socket
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from featmill.errors import OnlineUnreachable, SettingError
from featmill.online.refusals import refusal, translated_errors
from featmill.online.store_url import PORT, shown_url, target_fields
from featmill.online.tls import client_tls, tls_context

if TYPE_CHECKING:
    import ssl

    from redis import Redis

__all__ = ["OnlineTarget", "StoreKind", "translated_errors"]

_TIMEOUT = 10.0


class StoreKind(StrEnum):
    """What answers at the target's address.

    `node` is one node of a cluster, which serves some of the slots; `watcher` is one sentinel, which has no data.
    """

    SINGLE = "single"
    SENTINEL = "sentinel"
    CLUSTER = "cluster"
    NODE = "node"
    WATCHER = "watcher"


@dataclass(frozen=True, slots=True)
class OnlineTarget:
    """One Redis database. `socket_path` is set for a unix socket, else `host` and `port` hold.

    Of a `sentinel` target, `hosts` are the sentinels and `service` is the name they know the primary by; of a
    `cluster`, `hosts` are nodes to ask for its map. Their `host` and `port` are the first of these.

    The passwords are left out of `repr` and of every message.
    """

    host: str = "localhost"
    port: int = PORT
    socket_path: str | None = None
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    db: int = 0
    tls: bool = False
    tls_options: tuple[tuple[str, str], ...] = ()
    kind: StoreKind = StoreKind.SINGLE
    hosts: tuple[tuple[str, int], ...] = ()
    service: str = ""
    sentinel_username: str | None = None
    sentinel_password: str | None = field(default=None, repr=False)
    sentinel_tls: bool = False

    @classmethod
    def from_url(cls, url: str) -> OnlineTarget:
        """Read a URL: `featmill.online.store_url` has the forms.

        Raises:
            SettingError: the URL is malformed or has an option that is not known here.
        """
        fields = target_fields(url)
        return cls(**{**fields, "kind": StoreKind(fields.get("kind", StoreKind.SINGLE))})

    @property
    def url(self) -> str:
        """The target as a URL with the passwords masked: what messages show."""
        return shown_url(self)

    @property
    def is_of_cluster(self) -> bool:
        """Whether it is a cluster or a node of one."""
        return self.kind in (StoreKind.CLUSTER, StoreKind.NODE)

    def server(self, host: str, port: int) -> OnlineTarget:
        """One server of this store, with the store's login and TLS: a cluster's node, a primary."""
        return OnlineTarget(
            host=host,
            port=port,
            username=self.username,
            password=self.password,
            db=self.db,
            tls=self.tls,
            tls_options=self.tls_options,
            kind=StoreKind.NODE if self.kind is StoreKind.CLUSTER else StoreKind.SINGLE,
        )

    def sentinel(self, host: str, port: int) -> OnlineTarget:
        """One sentinel of this store, with the sentinels' login."""
        return replace(
            self.server(host, port),
            username=self.sentinel_username,
            password=self.sentinel_password,
            db=0,
            tls=self.sentinel_tls,
            kind=StoreKind.WATCHER,
        )

    def client(self, *, timeout: float = _TIMEOUT) -> Redis:
        """A redis-py client that answers in bytes; use it inside `translated_errors`.

        A cluster's finds each key's node itself; a sentinel's is that of the present primary.

        Raises:
            OnlineUnreachable: the sentinels name no primary that answers.
        """
        from redis import Redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        if self.kind is StoreKind.SENTINEL:
            from featmill.online.sentinel import primary_of

            return primary_of(self, timeout=timeout).client(timeout=timeout)
        options = self._client_options(timeout)
        if self.kind is StoreKind.CLUSTER:
            from featmill.online.topology import cluster_client

            return cluster_client(self, options)
        # redis-py would retry for seconds; whether to try again is the caller's business.
        options |= {"retry": Retry(NoBackoff(), 0), "db": self.db}
        if self.socket_path is not None:
            return Redis(unix_socket_path=self.socket_path, **options)
        return Redis(host=self.host, port=self.port, **options)

    def connect(self, *, timeout: float = _TIMEOUT) -> socket.socket:
        """A blocking socket, logged in and on the right database; a sentinel's is to the primary.

        Raises:
            OnlineUnreachable: nothing answers there, or it refused the login.
            SettingError: it is a cluster, which is many servers: `topology_of` finds them.
        """
        if self.kind is StoreKind.SENTINEL:
            from featmill.online.sentinel import primary_of

            return primary_of(self, timeout=timeout).connect(timeout=timeout)
        if self.kind is StoreKind.CLUSTER:
            raise SettingError(f"{self.url} is a cluster: connect to one of its nodes")
        with translated_errors(self):
            opened = self._open(timeout)
            try:
                self._log_in(opened)
            except BaseException:
                opened.close()
                raise
        return opened

    def tls_context(self) -> ssl.SSLContext | None:
        """The context for a connection; None without TLS.

        Raises:
            SettingError: an option has a value that is not known, or a file cannot be read.
        """
        return tls_context(dict(self.tls_options)) if self.tls else None

    def login_commands(self) -> list[list[str]]:
        """What a new connection must send first; each is answered with an error or something else."""
        commands: list[list[str]] = []
        if self.password is not None:
            commands.append(["AUTH", *([self.username] if self.username else []), self.password])
        # Sent for database 0 too: it shows at once whether the server takes commands from us.
        is_watcher = self.kind is StoreKind.WATCHER
        commands.append(["PING"] if is_watcher else ["SELECT", str(self.db)])
        return commands

    def feast_connection_string(self) -> str:
        """The target as Feast's Redis store wants it: `host:port,name=value,...`.

        Raises:
            SettingError: Feast's parser cannot express this target.
        """
        return str(self.feast_online_config()["connection_string"])

    def feast_online_config(self) -> dict[str, Any]:
        """The target as the `online_store` of Feast's settings, without what is not about the connection.

        Raises:
            SettingError: Feast cannot express this target.
        """
        from featmill.online.feast_settings import feast_online_config

        return feast_online_config(self)

    def _client_options(self, timeout: float) -> dict[str, Any]:
        options: dict[str, Any] = {
            "username": self.username,
            "password": self.password,
            "socket_timeout": timeout,
            "socket_connect_timeout": timeout,
        }
        if self.tls:
            tls_context(dict(self.tls_options))  # a file that is missing is named here
            options |= {"ssl": True, **client_tls(dict(self.tls_options))}
        return options

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
        context = self.tls_context()
        remote = socket.create_connection((self.host, self.port), timeout=timeout)
        try:
            remote.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if context is not None:
                return context.wrap_socket(remote, server_hostname=self.host)
        except BaseException:
            remote.close()
            raise
        return remote

    def _log_in(self, opened: socket.socket) -> None:
        from hiredis import ReplyError

        for command in self.login_commands():
            reply = ask(opened, command)
            if isinstance(reply, ReplyError):
                found = refusal(self, reply)
                passing = found if isinstance(found, OnlineUnreachable) else None
                kind = OnlineUnreachable if passing is None else type(passing)
                raise kind(f"{self.url} refused {command[0]}: {reply}", hint=found.hint)


def ask(opened: socket.socket, command: list[str]) -> object:
    """Send one command on a blocking socket and wait for its reply, which may be an error.

    Raises:
        OSError: the connection broke, or the reply took longer than the socket's timeout.
        hiredis.HiredisError: what came is no reply.
    """
    from hiredis import Reader

    try:
        opened.sendall(resp(command))
    except OSError:
        # A server that refuses TLS says why, then closes: what it said can still be read.
        opened.recv(1)
        raise
    reader = Reader()
    reply: object = False
    while reply is False:
        received = opened.recv(1 << 16)
        if not received:
            raise ConnectionResetError("the server closed the connection")
        reader.feed(received)
        reply = reader.gets()
    return reply


def resp(command: list[str]) -> bytes:
    """A command as bytes."""
    parts = [argument.encode() for argument in command]
    return b"*%d\r\n" % len(parts) + b"".join(b"$%d\r\n%b\r\n" % (len(p), p) for p in parts)
