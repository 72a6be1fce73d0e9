"""What the routes of one server share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from featmill import clock

if TYPE_CHECKING:
    from featmill.serving.async_reader import AsyncFeatureReader
    from featmill.serving.http.access import Access
    from featmill.serving.http.meters import Meters
    from featmill.serving.http.options import ServeOptions
    from featmill.serving.http.readiness import StoreProbe
    from featmill.serving.http.request_log import ServerLog
    from featmill.serving.http.served_services import OfferedService
    from featmill.serving.http.traces import Traces
    from featmill.serving.served_log import ServedLog


@dataclass(slots=True)
class ServerParts:
    """The parts of one server; `meters`, `served` and `traces` are None where they are not asked for.

    `is_stopping` is set by the signal that ends the server: it is not ready any more, and finishes what it began.
    """

    options: ServeOptions
    project: str
    services: Mapping[str, OfferedService]
    reader: AsyncFeatureReader
    probe: StoreProbe
    access: Access
    log: ServerLog
    meters: Meters | None = None
    traces: Traces | None = None
    served: ServedLog | None = None
    is_stopping: bool = False
    started_at: datetime = field(default_factory=clock.now)

    def moment(self) -> datetime:
        """The moment that decides what is expired: now, or the one the server was told."""
        return self.options.as_of or clock.now()
