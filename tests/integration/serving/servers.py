"""A server that a test does bad things to."""

from __future__ import annotations

import time
from contextlib import contextmanager, suppress

import psutil

from featmill.online.server import EmbeddedServer, ServerStatus


class HarassedServer(EmbeddedServer):
    """An embedded server of one test, which can be frozen and killed."""

    pid = 0

    def start(self, *, limit: float = 60.0) -> ServerStatus:
        status = super().start(limit=limit)
        self.pid = status.pid or 0
        return status

    @contextmanager
    def frozen(self):
        """The server takes connections and bytes, and does nothing."""
        psutil.Process(self.pid).suspend()
        try:
            yield
        finally:
            self.resume()

    def resume(self):
        with suppress(psutil.NoSuchProcess):
            psutil.Process(self.pid).resume()

    def kill(self):
        """As kill -9 does, and wait until it is gone."""
        psutil.Process(self.pid).kill()
        until = time.monotonic() + 10
        while time.monotonic() < until and self.status().running:
            time.sleep(0.005)

    def end(self):
        """Whatever state a test left it in."""
        self.resume()
        self.stop()
