"""Connections of a blocking reader: a few to each node, used by one request at a time.

A connection whose replies were not waited for is closed: a reply that comes late can then be taken for no other's.
Connecting is done by a thread of its own, so that a request waits for it no longer than its deadline, and a store that
takes longer than that to connect to is connected to all the same.
"""

from __future__ import annotations

import socket
import time
from collections import deque
from threading import Condition, Thread
from typing import TYPE_CHECKING, Any

from hiredis import HiredisError

from featmill.errors import FeatmillError
from featmill.serving.store.failures import StoreLost
from featmill.serving.store.patience import CONNECTING

if TYPE_CHECKING:
    from featmill.online.connection import OnlineTarget
    from featmill.serving.store.commands import Part

_CHUNK = 1 << 16

#: Seconds between attempts to connect that failed.
_PAUSE = 0.05


class Link:
    """One connection."""

    def __init__(self, opened: socket.socket) -> None:
        from hiredis import Reader

        self._socket = opened
        self._reader = Reader()
        self.heard = False

    def send(self, payload: bytes, deadline: float) -> None:
        """Write all of it."""
        self._socket.settimeout(_left(deadline))
        self._socket.sendall(payload)

    def replies(self, count: int, deadline: float) -> list[Any]:
        """The next replies."""
        found: list[Any] = []
        reader, receive = self._reader, self._socket.recv
        while True:
            while (reply := reader.gets()) is not False:
                found.append(reply)
                if len(found) == count:
                    return found
            self._socket.settimeout(_left(deadline))
            received = receive(_CHUNK)
            if not received:
                raise ConnectionResetError("the server closed the connection")
            self.heard = True
            reader.feed(received)

    def close(self) -> None:
        """Give the connection up."""
        self._socket.close()


class Links:
    """The connections to one node."""

    def __init__(self, target: OnlineTarget) -> None:
        self._target = target
        self._idle: deque[Link] = deque()
        self._changed = Condition()
        self._connecting = 0
        self._waiting = 0
        self._failures = 0
        self._problem = ""
        self._retry_at = 0.0
        self._is_closed = False

    def take(self, deadline: float) -> Link:
        """A connection of one's own, to be given back or closed.

        Raises:
            StoreLost: there was none in time.
        """
        try:
            return self._idle.pop()
        except IndexError:
            pass
        with self._changed:
            self._waiting += 1
            try:
                return self._wait(deadline)
            finally:
                self._waiting -= 1

    def give(self, link: Link) -> None:
        """Give a connection back that has no reply outstanding."""
        link.heard = False
        if self._waiting or self._is_closed:
            with self._changed:
                if not self._is_closed:
                    self._idle.append(link)
                    self._changed.notify()
                    return
            link.close()
            return
        self._idle.append(link)

    def drop_idle(self) -> None:
        """Close those that wait: the server they are connected to has gone."""
        while self._idle:
            try:
                self._idle.pop().close()
            except IndexError:
                return

    def close(self) -> None:
        """Close those that wait, and each other one when it is given back."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        self.drop_idle()

    def _wait(self, deadline: float) -> Link:
        seen = self._failures
        while not self._idle:
            if self._is_closed:
                raise StoreLost("unreachable", "the reader is closed")
            if self._failures != seen:
                raise StoreLost("unreachable", self._problem)
            if self._connecting < self._waiting and not self._start():
                raise StoreLost("unreachable", self._problem)
            left = deadline - time.monotonic()
            if left <= 0 or not self._changed.wait(left):
                raise StoreLost("deadline", f"{self._target.url}: no connection in time")
        return self._idle.pop()

    def _start(self) -> bool:
        if time.monotonic() < self._retry_at:
            return self._connecting > 0
        self._connecting += 1
        Thread(target=self._connect, name="featmill-connect", daemon=True).start()
        return True

    def _connect(self) -> None:
        link, problem = None, ""
        try:
            link = Link(self._target.connect(timeout=CONNECTING))
        except (FeatmillError, OSError) as error:
            problem = str(error)
        with self._changed:
            self._connecting -= 1
            if link is None:
                self._failures += 1
                self._problem = problem
                self._retry_at = time.monotonic() + _PAUSE
            elif not self._is_closed:
                self._idle.append(link)
                link = None
            self._changed.notify_all()
        if link is not None:
            link.close()


def exchange(links: list[Links], parts: tuple[Part, ...], deadline: float) -> list[list[Any]]:
    """Send each part to its node, all before the first reply is waited for; the replies by part.

    Raises:
        StoreLost: not everything was answered in time.
    """
    try:
        return _exchange(links, parts, deadline)
    except _Stale:
        # The server went away between two requests and may be back already.
        for part in parts:
            links[part.node].drop_idle()
    try:
        return _exchange(links, parts, deadline)
    except _Stale as error:
        raise StoreLost("unreachable", str(error)) from error


class _Stale(Exception):
    """A connection broke before anything was heard on it."""


def _exchange(links: list[Links], parts: tuple[Part, ...], deadline: float) -> list[list[Any]]:
    taken: list[tuple[Links, Link]] = []
    try:
        for part in parts:
            of_node = links[part.node]
            link = of_node.take(deadline)
            taken.append((of_node, link))
            link.send(part.payload, deadline)
        found = [
            link.replies(part.replies, deadline)
            for part, (_, link) in zip(parts, taken, strict=True)
        ]
    except BaseException as error:
        for _, link in taken:
            link.close()
        if isinstance(error, TimeoutError):
            raise StoreLost("deadline", "the store did not answer in time") from error
        if isinstance(error, HiredisError):
            raise StoreLost("unreachable", f"the store sent what is no reply: {error}") from error
        if isinstance(error, OSError):
            if any(link.heard for _, link in taken):
                raise StoreLost("unreachable", str(error)) from error
            raise _Stale(str(error)) from error
        raise
    for of_node, link in taken:
        of_node.give(link)
    return found


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left
