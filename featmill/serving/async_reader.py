"""`AsyncFeatureReader`: many requests at once over few connections."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from featmill.contract.catalog import Catalog
    from featmill.online.connection import OnlineTarget
    from featmill.serving.answer import FeatureVectors
    from featmill.serving.health import Health
    from featmill.serving.plan import ServicePlan


class AsyncFeatureReader:
    """Reads feature services within one event loop."""

    @classmethod
    async def open(
        cls, catalog: Catalog, target: OnlineTarget, services: Sequence[str] | None = None
    ) -> AsyncFeatureReader:
        """Compile services, all that are online if none are named; the store may be down."""
        raise NotImplementedError

    @property
    def plans(self) -> Mapping[str, ServicePlan]:
        """The compiled services by name."""
        raise NotImplementedError

    async def read(
        self,
        service: str,
        keys: Mapping[str, Any],
        request: Mapping[str, Any] | None = None,
        *,
        as_of: datetime | None = None,
    ) -> FeatureVectors:
        """Read one service for n rows."""
        raise NotImplementedError

    def health(self) -> Health:
        """What is known of the store, without asking it."""
        raise NotImplementedError

    async def close(self) -> None:
        """Close every connection."""
        raise NotImplementedError
