"""One connection of the asynchronous reader, shared by all requests: replies come in the order of the commands.

What is asked for within one turn of the event loop goes out in one write. A request whose deadline has passed is no
longer waited for; its replies still come, are counted and dropped, so none is taken for another's. The connection is
made again in the background whenever it is lost.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from hiredis import HiredisError, PushNotification

from featmill.errors import FeatmillError
from featmill.online.connection import resp
from featmill.serving.store.failures import StoreLost
from featmill.serving.store.patience import CONNECTING
from featmill.serving.store.watch import HELLO

if TYPE_CHECKING:
    from collections.abc import Callable

    from featmill.online.connection import OnlineTarget
    from featmill.serving.store.watch import Watch

#: Seconds between attempts to connect, at first and at most.
_FIRST_PAUSE, _LONGEST_PAUSE = 0.01, 0.25

#: Seconds after which a server that owes replies and sends none is taken for gone. A frozen one may come back sooner.
_SILENCE = 3.0

#: Requests that may wait for their replies, and bytes that may wait to be sent: more, and the store cannot keep up.
_OUTSTANDING = 4_096
_UNSENT = 32 << 20


class _Waiting:
    """Some commands of one request, whose replies are collected."""

    __slots__ = ("count", "future", "replies")

    def __init__(self, count: int, future: asyncio.Future[list[Any]]) -> None:
        self.count = count
        self.future = future
        self.replies: list[Any] = []


class Wire(asyncio.Protocol):
    """The protocol of one connection, from its first byte to its loss."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        on_loss: Callable[[], None],
        on_push: Callable[[list[Any]], None],
    ) -> None:
        from hiredis import Reader

        self._loop = loop
        self._on_loss = on_loss
        self._on_push = on_push
        self._reader = Reader()
        self._transport: asyncio.Transport | None = None
        self._waiting: deque[_Waiting] = deque()
        self._buffer: list[bytes] = []
        self._unsent = 0
        self._heard_at = loop.time()
        self._problem = ""
        self.is_lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio."""
        self._transport = transport  # type: ignore[assignment] # a stream's protocol gets this one

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody gets an answer any more."""
        self.is_lost = True
        problem = self._problem or f"the connection was lost: {exc or 'the server closed it'}"
        while self._waiting:
            future = self._waiting.popleft().future
            if not future.done():
                future.set_exception(StoreLost("unreachable", problem))
        self._on_loss()

    def data_received(self, data: bytes) -> None:
        """Hand the replies to whom they belong, in order."""
        self._heard_at = self._loop.time()
        self._reader.feed(data)
        try:
            self._hand_out()
        except HiredisError as error:
            # Nobody can tell where the next reply would begin.
            self._problem = f"the store sent what is no reply: {error}"
            self.abort()

    def _hand_out(self) -> None:
        reader, waiting = self._reader, self._waiting
        while (reply := reader.gets()) is not False:
            if type(reply) is PushNotification:
                self._on_push(reply)
                continue
            if not waiting:
                self.abort()
                return
            first = waiting[0]
            first.replies.append(reply)
            if len(first.replies) == first.count:
                waiting.popleft()
                if not first.future.done():
                    first.future.set_result(first.replies)

    def ask(self, payload: bytes, count: int) -> asyncio.Future[list[Any]]:
        """Send commands with the others of this turn.

        Raises:
            StoreLost: too many wait already, or the server has been silent for too long.
        """
        waiting = self._waiting
        if not waiting:
            self._heard_at = self._loop.time()
        elif self._loop.time() - self._heard_at > _SILENCE:
            self.abort()
            raise StoreLost("unreachable", f"the store has been silent for {_SILENCE:g} s")
        elif len(waiting) >= _OUTSTANDING or self._to_send() > _UNSENT:
            raise StoreLost("overloaded", f"{len(waiting)} requests wait for the store")
        future: asyncio.Future[list[Any]] = self._loop.create_future()
        waiting.append(_Waiting(count, future))
        if not self._buffer:
            self._loop.call_soon(self._flush)
        self._buffer.append(payload)
        self._unsent += len(payload)
        return future

    def abort(self) -> None:
        """Give the connection up."""
        if self._transport is not None:
            self._transport.abort()

    def _to_send(self) -> int:
        """How many bytes wait, here and in the transport."""
        return self._unsent + (self._transport.get_write_buffer_size() if self._transport else 0)

    def _flush(self) -> None:
        buffer, self._buffer, self._unsent = self._buffer, [], 0
        if self._transport is not None and not self.is_lost:
            self._transport.write(buffer[0] if len(buffer) == 1 else b"".join(buffer))


class Channel:
    """A connection to one node that is always there or being made."""

    def __init__(self, target: OnlineTarget, watch: Watch) -> None:
        self._target = target
        self._watch = watch
        self._loop = asyncio.get_running_loop()
        self._wire: Wire | None = None
        self._problem: str | None = None
        self._connected = asyncio.Event()
        self._lost = asyncio.Event()
        self._task = self._loop.create_task(self._stay_connected())

    async def exchange(self, payload: bytes, count: int, deadline: float) -> list[Any]:
        """Send commands and wait for their replies until `deadline`, in the loop's time.

        Raises:
            StoreLost: they did not come in time.
        """
        wire = self._wire
        if wire is None or wire.is_lost:
            wire = await self._next_wire(deadline)
        try:
            return await self._replies(wire, payload, count, deadline)
        except StoreLost:
            if not wire.is_lost:
                raise
        # The server went away, and may be back already: reading twice does no harm.
        wire = await self._next_wire(deadline)
        return await self._replies(wire, payload, count, deadline)

    async def close(self) -> None:
        """Give the connection up for good."""
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task
        if self._wire is not None:
            self._wire.abort()

    async def _replies(self, wire: Wire, payload: bytes, count: int, deadline: float) -> list[Any]:
        future = wire.ask(payload, count)
        timer = self._loop.call_at(deadline, _give_up, future)
        try:
            return await future
        finally:
            timer.cancel()

    async def _next_wire(self, deadline: float) -> Wire:
        """The connection that is being made; at once an error where making it failed last."""
        if self._problem is not None:
            raise StoreLost("unreachable", self._problem)
        with suppress(TimeoutError):
            async with asyncio.timeout_at(deadline):
                await self._connected.wait()
        if self._wire is None or self._wire.is_lost:
            if self._problem is not None:
                raise StoreLost("unreachable", self._problem)
            raise StoreLost("deadline", f"{self._target.url}: no connection in time")
        return self._wire

    async def _stay_connected(self) -> None:
        pause = _FIRST_PAUSE
        while True:
            self._lost.clear()
            try:
                async with asyncio.timeout(CONNECTING):
                    self._wire = await self._connect()
            except (FeatmillError, StoreLost, OSError) as error:
                self._problem = f"{self._target.url}: {str(error) or 'no connection in time'}"
                self._connected.set()
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
                continue
            self._problem, pause = None, _FIRST_PAUSE
            self._connected.set()
            await self._lost.wait()

    def _lose(self) -> None:
        """Whoever comes from now on waits for the next connection."""
        self._connected.clear()
        self._watch.end()
        self._lost.set()

    async def _connect(self) -> Wire:
        target, loop = self._target, self._loop

        def protocol() -> Wire:
            return Wire(loop, self._lose, self._watch.take)

        if target.socket_path is not None:
            transport, wire = await loop.create_unix_connection(protocol, target.socket_path)
        else:
            context = target.tls_context()
            transport, wire = await loop.create_connection(
                protocol,
                target.host,
                target.port,
                ssl=context,
                server_hostname=target.host if context is not None else None,
            )
        try:
            commands = target.login_commands()
            if commands:
                payload = b"".join(resp(command) for command in commands)
                for reply in await wire.ask(payload, len(commands)):
                    if isinstance(reply, Exception):
                        raise StoreLost("unreachable", f"the login was refused: {reply}")
            await self._be_told(wire)
        except BaseException:
            transport.abort()
            raise
        return wire

    async def _be_told(self, wire: Wire) -> None:
        """Have the server tell when what serves moves, where it can and may."""
        for command in (HELLO, self._watch.command):
            (reply,) = await wire.ask(command, 1)
            if isinstance(reply, Exception):
                return
        if not self._target.is_of_cluster:
            self._watch.begin()


def _give_up(future: asyncio.Future[list[Any]]) -> None:
    if not future.done():
        future.set_exception(StoreLost("deadline", "the store did not answer in time"))
