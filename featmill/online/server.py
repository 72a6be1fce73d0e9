"""The embedded online store: a Valkey that starts on first use and stays until it is stopped.

Its data are on disk (append-only file, flushed every second), so a kill -9 or a reboot loses at
most the last second; the next command starts it again. Whoever finds it running uses it: no command
owns it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from featmill.errors import OnlineUnreachable
from featmill.online.connection import OnlineTarget, translated_errors
from featmill.online.server_process import (
    ServerFiles,
    adopt,
    find,
    last_words,
    launch,
    wait_for_end,
)

if TYPE_CHECKING:
    from pathlib import Path

    from featmill.settings import Settings

#: Generous: loading reads the whole append-only file.
_START_LIMIT = 120.0
_STOP_LIMIT = 30.0
_POLL = 0.02

_READY, _LOADING, _SILENT = "ready", "loading", "silent"


@dataclass(frozen=True, slots=True)
class ServerStatus:
    """What is known of the embedded server; what only a running one can tell is None otherwise."""

    running: bool
    socket: Path
    loading: bool = False
    pid: int | None = None
    version: str | None = None
    keys: int | None = None
    memory_bytes: int | None = None
    uptime_seconds: int | None = None


class EmbeddedServer:
    """The server of one online directory."""

    def __init__(self, directory: Path) -> None:
        self._files = ServerFiles(directory)
        self.target = OnlineTarget(socket_path=str(self._files.socket))

    def start(self, *, limit: float = _START_LIMIT) -> ServerStatus:
        """Make sure the server runs and answers: adopt the one that does, else start one.

        Raises:
            OnlineUnreachable: it did not come up within `limit` seconds.
            SettingError: the socket's directory belongs to someone else.
        """
        self._files.prepare()
        deadline = time.monotonic() + limit
        if self._state() != _READY:
            with self._locked(limit):
                launched = None
                if self._state() == _SILENT:
                    self._remove_unreachable()
                    launched = launch(self._files)
                self._wait_ready(launched, deadline)
        status = self.status()
        if status.pid is not None:
            adopt(self._files, status.pid)
        return status

    def stop(self, *, limit: float = _STOP_LIMIT) -> bool:
        """Stop the server with its data on disk; True if one was running.

        Raises:
            OnlineUnreachable: it did not end within `limit` seconds.
        """
        if not self._files.directory.is_dir():
            return False
        with self._locked(limit):
            process = find(self._files)
            if process is None:
                return False
            if self._state() == _SILENT:
                process.terminate()
            else:
                self._shut_down()
            self._wait_gone(process.pid, limit)
        return True

    def status(self) -> ServerStatus:
        """What the server says of itself.

        Raises:
            OnlineUnreachable: it went away while it was asked.
        """
        state = self._state()
        if state == _SILENT:
            return ServerStatus(running=False, socket=self._files.socket)
        with translated_errors(self.target), self.target.client() as client:
            info = client.info()
            keys = None if state == _LOADING else client.dbsize()
        return ServerStatus(
            running=True,
            socket=self._files.socket,
            loading=state == _LOADING,
            pid=int(info["process_id"]),
            version=str(info.get("valkey_version", info["redis_version"])),
            keys=keys,
            memory_bytes=int(info["used_memory"]),
            uptime_seconds=int(info["uptime_in_seconds"]),
        )

    def _state(self) -> str:
        from redis import exceptions

        if not self._files.socket.exists():
            return _SILENT
        with self.target.client(timeout=2.0) as client:
            try:
                client.ping()
            except exceptions.BusyLoadingError:
                return _LOADING
            except (OSError, exceptions.RedisError):
                return _SILENT
        return _READY

    def _locked(self, limit: float) -> _Lock:
        return _Lock(self._files.lock, limit)

    def _wait_ready(self, launched: int | None, deadline: float) -> None:
        while (state := self._state()) != _READY:
            log = f"its log is {self._files.log}"
            ended = None if launched is None else last_words(self._files, launched)
            if ended is not None:
                self._files.socket.unlink(missing_ok=True)
                raise OnlineUnreachable(
                    f"the embedded server ended while starting: {ended}", hint=log
                )
            if time.monotonic() > deadline:
                raise OnlineUnreachable(
                    f"the embedded server is not ready in time (it is {state})", hint=log
                )
            time.sleep(_POLL)

    def _remove_unreachable(self) -> None:
        """End a server of ours that has lost its socket: two on one directory would ruin it."""
        process = find(self._files)
        if process is not None:
            process.terminate()
            self._wait_gone(process.pid, _STOP_LIMIT)

    def _shut_down(self) -> None:
        with translated_errors(self.target), self.target.client() as client:
            client.shutdown()

    def _wait_gone(self, pid: int, limit: float) -> None:
        if not wait_for_end(pid, limit):
            raise OnlineUnreachable(
                f"the embedded server (process {pid}) did not end within {limit:g} s",
                hint=f"its log is {self._files.log}",
            )
        self._files.pid_file.unlink(missing_ok=True)
        self._files.socket.unlink(missing_ok=True)


class _Lock:
    """A lock between commands, with featmill's error when it is not given."""

    def __init__(self, path: Path, limit: float) -> None:
        from filelock import FileLock

        self._lock = FileLock(path, timeout=limit)

    def __enter__(self) -> None:
        from filelock import Timeout

        try:
            self._lock.acquire()
        except Timeout as error:
            raise OnlineUnreachable(
                "another command has been starting or stopping the online store for "
                f"{self._lock.timeout:g} s",
                hint=f"if there is none, remove {self._lock.lock_file}",
            ) from error

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def online_target(settings: Settings) -> OnlineTarget:
    """The online store the settings name: the URL's, else the embedded server, started if need be.

    Raises:
        SettingError: the URL is malformed.
        OnlineUnreachable: the embedded server did not come up.
    """
    if settings.redis_url is not None:
        return OnlineTarget.from_url(settings.redis_url)
    server = EmbeddedServer(settings.online_dir)
    server.start()
    return server.target
