"""Reading features from Python: `FeatureReader` blocks; `AsyncFeatureReader` (async_reader.py) does not."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from featmill import clock
from featmill.serving.asked import ask
from featmill.serving.moments import checked_moment
from featmill.serving.reading import answering
from featmill.serving.services import Services
from featmill.serving.store.failures import StoreLost
from featmill.serving.store.nodes import Nodes
from featmill.serving.store.patience import WARM_UP

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from types import TracebackType

    from featmill.contract.catalog import Catalog
    from featmill.online.connection import OnlineTarget
    from featmill.serving.answer import FeatureVectors
    from featmill.serving.health import Health
    from featmill.serving.plan import ServicePlan
    from featmill.serving.read_counts import ReadCounts


class FeatureReader:
    """Reads feature services; threads may share it."""

    def __init__(self, services: Services, target: OnlineTarget) -> None:
        self._services = services
        self._nodes = Nodes(target)

    @classmethod
    def open(
        cls, catalog: Catalog, target: OnlineTarget, services: Sequence[str] | None = None
    ) -> FeatureReader:
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
        reader._warm_up()
        return reader

    def __enter__(self) -> FeatureReader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def plans(self) -> Mapping[str, ServicePlan]:
        """The compiled services by name."""
        return self._services.plans

    @property
    def counts(self) -> ReadCounts:
        """What was read since the reader was opened."""
        return self._services.counts

    def read(
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
        started = time.monotonic()
        found = self._services.service(service)
        asked = ask(found.plan, keys, request)
        moment = clock.now() if as_of is None else checked_moment(as_of)
        steps = answering(found, asked, moment, self._nodes.router)
        deadline = started + found.deadline
        try:
            parts = next(steps)
            while True:
                try:
                    replies = self._nodes.exchange(parts, deadline)
                except StoreLost as lost:
                    parts = steps.throw(lost)
                else:
                    parts = steps.send(replies)
        except StopIteration as done:
            answer: FeatureVectors = done.value
            return answer

    def health(self) -> Health:
        """What is known of the store, without asking it."""
        return self._services.health()

    def close(self) -> None:
        """Close every connection."""
        self._nodes.close()

    def _warm_up(self) -> None:
        """Connect and learn what serves, so that the first request has nothing to wait for but its rows."""
        deadline = time.monotonic() + WARM_UP
        for pointer in self._services.pointers.values():
            try:
                self._nodes.refresh(deadline)
                parts = (pointer.asking(self._nodes.router),)
                pointer.learn(self._nodes.exchange(parts, deadline)[0][0])
            except StoreLost as lost:
                self._services.problem = lost.problem
