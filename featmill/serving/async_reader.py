"""`AsyncFeatureReader`: many requests at once over one connection to each node."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from featmill import clock
from featmill.serving.answer import FeatureVectors
from featmill.serving.asked import ask
from featmill.serving.moments import checked_moment
from featmill.serving.reading import answering
from featmill.serving.services import Services
from featmill.serving.store.channels import Channels
from featmill.serving.store.failures import StoreLost
from featmill.serving.store.patience import WARM_UP
from featmill.serving.store.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence
    from datetime import datetime
    from types import TracebackType

    from featmill.contract.catalog import Catalog
    from featmill.online.connection import OnlineTarget
    from featmill.serving.health import Health
    from featmill.serving.plan import ServicePlan
    from featmill.serving.read_counts import ReadCounts
    from featmill.serving.reading import Parts, Replies

    Steps = Generator[Parts, Replies, FeatureVectors]
    #: What to ask of which node, or the answer.
    Taken = Parts | FeatureVectors


class AsyncFeatureReader:
    """Reads feature services within one event loop, asyncio's own or uvloop's."""

    def __init__(self, services: Services, target: OnlineTarget) -> None:
        self._services = services
        watch = Watch(list(services.pointers.values()), time.monotonic)
        self._channels = Channels(target, watch)
        self._loop = asyncio.get_running_loop()

    @classmethod
    async def open(
        cls, catalog: Catalog, target: OnlineTarget, services: Sequence[str] | None = None
    ) -> AsyncFeatureReader:
        """Compile services and look at the store, which may be down.

        Args:
            catalog: what the project declares.
            target: the online store.
            services: which to compile; all whose tables are online if None.

        Raises:
            UsageError: a service is not there, spans tenants or reads a table that is not online.
            ContractError: a join key's type cannot be a key online.
        """
        reader = cls(Services.compiled(catalog, services), target)
        await reader._warm_up()
        return reader

    async def __aenter__(self) -> AsyncFeatureReader:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    @property
    def plans(self) -> Mapping[str, ServicePlan]:
        """The compiled services by name."""
        return self._services.plans

    @property
    def counts(self) -> ReadCounts:
        """What was read since the reader was opened."""
        return self._services.counts

    async def read(
        self,
        service: str,
        keys: Mapping[str, Any],
        request: Mapping[str, Any] | None = None,
        *,
        as_of: datetime | None = None,
    ) -> FeatureVectors:
        """Read one service for n rows, within its policy's deadline whatever the store does.

        Args:
            service: its name.
            keys: every join key of the service: a list of n, or one value for all rows.
            request: every request field of the service, likewise.
            as_of: the moment at which rows are judged and request features computed; the clock's if None.

        Raises:
            RequestError: service, keys, request or as_of are not what the service takes; `field` says which.
        """
        started = self._loop.time()
        found = self._services.service(service)
        asked = ask(found.plan, keys, request)
        moment = clock.now() if as_of is None else checked_moment(as_of)
        steps = answering(found, asked, moment, self._channels.router)
        deadline = started + found.deadline
        computed = found.plan.request
        is_long = computed is not None and computed.is_long(asked.rows)
        try:
            taken = await _taken(steps, None, is_long=is_long)
            while not isinstance(taken, FeatureVectors):
                try:
                    replies = await self._channels.exchange(taken, deadline)
                except StoreLost as lost:
                    taken = await _taken(steps, lost, is_long=is_long)
                else:
                    taken = await _taken(steps, replies, is_long=is_long)
            return taken
        finally:
            # Of a read that is cancelled a step may still run in its thread: it ends there.
            with suppress(ValueError):
                steps.close()

    def health(self) -> Health:
        """What is known of the store, without asking it."""
        return self._services.health()

    async def close(self) -> None:
        """Close every connection."""
        await self._channels.close()

    async def _warm_up(self) -> None:
        """Connect and learn what serves, so that the first request has nothing to wait for but its rows."""
        deadline = self._loop.time() + WARM_UP
        for pointer in self._services.pointers.values():
            try:
                await self._channels.refresh(deadline)
                parts = (pointer.asking(self._channels.router),)
                pointer.learn((await self._channels.exchange(parts, deadline))[0][0])
            except StoreLost as lost:
                self._services.problem = lost.problem


async def _taken(steps: Steps, given: Replies | StoreLost | None, *, is_long: bool) -> Taken:
    """The next step: what to ask, or the answer. A long one is taken in a thread: others' requests go on meanwhile."""
    return await asyncio.to_thread(_step, steps, given) if is_long else _step(steps, given)


def _step(steps: Steps, given: Replies | StoreLost | None) -> Taken:
    try:
        if isinstance(given, StoreLost):
            return steps.throw(given)
        return next(steps) if given is None else steps.send(given)
    except StopIteration as done:
        answer: FeatureVectors = done.value
        return answer
