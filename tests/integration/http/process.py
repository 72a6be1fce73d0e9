"""`featmill serve` as a process of its own, over the outer project."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager

import httpx

SERVICE = "delay_model"


def variables(depot):
    return os.environ | {
        "FEATMILL_HOME": str(depot.home),
        "FEATMILL_SOURCES": str(depot.sources),
        "FEATMILL_PROJECT_DIR": str(depot.root),
    }


def command(*words):
    return [sys.executable, "-m", "featmill", *words]


def run(depot, *words, check=True):
    done = subprocess.run(
        command(*words), env=variables(depot), capture_output=True, text=True, timeout=120
    )
    assert not check or done.returncode == 0, done.stderr
    return done


@contextmanager
def serving(depot, port, *words):
    """The server's process and a client; killed if it did not end by itself."""
    given = command("serve", "--port", str(port), *words)
    with subprocess.Popen(
        given, env=variables(depot), stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as client:
                until = time.monotonic() + 60
                while not answers(client):
                    assert process.poll() is None, process.stderr.read()
                    assert time.monotonic() < until, "it did not start"
                    time.sleep(0.1)
                yield process, client
        finally:
            if process.poll() is None:
                process.kill()


def answers(client):
    try:
        return client.get("/healthz").status_code == 200
    except httpx.TransportError:
        return False


def ended(process):
    process.send_signal(signal.SIGTERM)
    return process.wait(30)
