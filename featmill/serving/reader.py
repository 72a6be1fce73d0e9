"""Reading features from Python: `FeatureReader` blocks, `AsyncFeatureReader` (async_reader.py) does not."""

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


class FeatureReader:
    """Reads feature services; may be shared by threads."""

    @classmethod
    def open(
        cls, catalog: Catalog, target: OnlineTarget, services: Sequence[str] | None = None
    ) -> FeatureReader:
        """Compile services, all that are online if none are named; the store may be down."""
        raise NotImplementedError

    @property
    def plans(self) -> Mapping[str, ServicePlan]:
        """The compiled services by name."""
        raise NotImplementedError

    def read(
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

    def close(self) -> None:
        """Close every connection."""
        raise NotImplementedError
