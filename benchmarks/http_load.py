"""A load generator for HTTP: raw sockets, keep-alive, one request under way on each; closed loop or open.

Open loop: requests are due at fixed moments whatever the server does, and a latency counts from when the request was
due, so that a server that stalls cannot slow down the clock it is measured by.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from dataclasses import dataclass, field
from functools import partial

import httptools


@dataclass(slots=True)
class Load:
    """What a load came to: seconds from due to answered, and answers that were not 200."""

    latencies: list[float] = field(default_factory=list)
    refused: int = 0
    body: bytes = b""

    def percentile(self, share: float) -> float:
        """The latency that this share of the requests did not exceed."""
        ordered = sorted(self.latencies)
        return ordered[min(int(share * len(ordered)), len(ordered) - 1)]


def request_bytes(path: str, body: bytes, headers: dict[str, str] | None = None) -> bytes:
    """One POST of JSON, as it goes over the wire."""
    lines = {
        "Host": "127.0.0.1",
        "Content-Type": "application/json",
        "Content-Length": str(len(body)),
        **(headers or {}),
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + body


class _Connection(asyncio.Protocol):
    def __init__(self, load: Load, request: bytes, done: deque[_Connection]) -> None:
        self._load = load
        self._request = request
        self._idle = done
        self._parser = httptools.HttpResponseParser(self)
        self._due = 0.0
        self.waiter: asyncio.Future[None] | None = None
        self._body: list[bytes] = []
        self.then: asyncio.Event | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self._idle.append(self)

    def send(self, due: float) -> None:
        self._due = due
        self._body.clear()
        self.transport.write(self._request)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, data: bytes) -> None:
        self._body.append(data)

    def on_message_complete(self) -> None:
        self._load.latencies.append(time.perf_counter() - self._due)
        if self._parser.get_status_code() != 200:
            self._load.refused += 1
        self._load.body = b"".join(self._body)
        self._idle.append(self)
        if self.then is not None:
            self.then.set()


async def closed_loop(port: int, request: bytes, requests: int, connections: int) -> Load:
    """So many requests, each connection sending its next as soon as it has an answer."""
    load, idle = Load(), await _connected(port, request, connections)
    for connection in (load_connections := list(idle)):
        connection._load = load
    answered = asyncio.Event()
    for connection in load_connections:
        connection.then = answered
    sent = 0
    while len(load.latencies) < requests:
        while idle and sent < requests:
            sent += 1
            idle.popleft().send(time.perf_counter())
        answered.clear()
        if len(load.latencies) < requests:
            await asyncio.wait_for(answered.wait(), 60)
    _close(load_connections)
    return load


async def open_loop(port: int, request: bytes, rate: float, seconds: float) -> Load:
    """`rate` requests a second for so long; as many connections as are needed for those under way."""
    load, idle = Load(), await _connected(port, request, 64)
    everyone = list(idle)
    for connection in everyone:
        connection._load = load
    started, number, total = time.perf_counter(), 0, int(rate * seconds)
    while number < total:
        now = time.perf_counter()
        while number < total and started + number / rate <= now and idle:
            idle.popleft().send(started + number / rate)
            number += 1
        due = started + number / rate - time.perf_counter()
        await asyncio.sleep(max(due, 0.0) if idle else 0.0005)
    until = time.perf_counter() + 30
    while len(load.latencies) < total and time.perf_counter() < until:
        await asyncio.sleep(0.001)
    _close(everyone)
    return load


async def _connected(port: int, request: bytes, connections: int) -> deque[_Connection]:
    idle: deque[_Connection] = deque()
    loop = asyncio.get_running_loop()
    make = partial(_Connection, Load(), request, idle)
    for _ in range(connections):
        await loop.create_connection(make, "127.0.0.1", port)
    return idle


def _close(connections: list[_Connection]) -> None:
    for connection in connections:
        connection.transport.close()
