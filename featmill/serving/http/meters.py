"""What Prometheus is told. No entity key is ever a label, nor a name that a caller made up.

Of several workers each writes its numbers into files of a folder that they share (prometheus_client's multiprocess
mode, switched on by PROMETHEUS_MULTIPROC_DIR), and whichever is asked adds them up.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from featmill.serving.answer import REASONS, WORDS
from featmill.serving.read_counts import COUNTED

if TYPE_CHECKING:
    from prometheus_client.metrics_core import Metric

    from featmill.serving.answer import FeatureVectors
    from featmill.serving.read_counts import ReadCounts

FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
_BUCKETS = (
    0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0,
)  # fmt: skip

Ages = Iterable[tuple[str, float]]
"""Of each Feast project the seconds since its release's as_of."""


class Meters:
    """The counters of one server: of `services`, and of what its reader says in `counts`.

    Labels are made beforehand where they are known, for a counter that first appears with its first event hides it.
    """

    def __init__(self, services: Iterable[str], counts: ReadCounts) -> None:
        self._registry = registry = CollectorRegistry()
        self._requests = Counter(
            "featmill_requests",
            "Requests by route, service and status",
            ("route", "service", "status"),
            registry=registry,
        )
        self._seconds = Histogram(
            "featmill_request_seconds",
            "From the request's first byte to the answer's last",
            ("service",),
            buckets=_BUCKETS,
            registry=registry,
        )
        self._entities = Counter(
            "featmill_entities", "Entities asked for", ("service",), registry=registry
        )
        self._values = Counter(
            "featmill_values", "Values by their status", ("service", "status"), registry=registry
        )
        self._degraded = Counter(
            "featmill_degraded",
            "Answers without the store, by reason",
            ("service", "reason"),
            registry=registry,
        )
        reader = Counter(
            "featmill_reader",
            "Rows by what the memory of services that have one knew, and round trips to the store",
            ("what",),
            registry=registry,
        )
        self._counts = counts
        self._counted = (0,) * len(COUNTED)
        self._reader = tuple(reader.labels(what) for what in COUNTED)
        self._logged = Counter(
            "featmill_served_log", "Answers for the served log", ("result",), registry=registry
        )
        self._lost = Counter(
            "featmill_log_lines_lost",
            "Lines of the log that could not be written",
            registry=registry,
        )
        self._of = {name: _OfService(self, name) for name in services}

    def answered(self, answer: FeatureVectors, seconds: float) -> None:
        """Count an answer, and what the reader did meanwhile."""
        self._of[answer.service].answered(answer, seconds)
        self.read()

    def ended(self, route: str, status: int, service: str = "") -> None:
        """Count a request that got no features; `service` and `route` only where they are ours."""
        self._requests.labels(route, service, str(status)).inc()

    def read(self) -> None:
        """Take over what the reader has counted."""
        before, self._counted = self._counted, self._counts.all()
        for counter, was, now in zip(self._reader, before, self._counted, strict=True):
            if now != was:
                counter.inc(now - was)

    def logged(self, result: str, times: int = 1) -> None:
        """Count what became of answers for the served log."""
        self._logged.labels(result).inc(times)

    def line_lost(self) -> None:
        """Count a line of the log that could not be written."""
        self._lost.inc()

    def requests(self) -> dict[str, int]:
        """The answers so far by service, of all workers."""
        found: dict[str, int] = {}
        for metric in self._all().collect():
            for sample in metric.samples if metric.name == "featmill_requests" else ():
                name = sample.labels.get("service", "")
                if name and sample.name.endswith("_total"):
                    found[name] = found.get(name, 0) + int(sample.value)
        return found

    def text(self, ages: Ages) -> bytes:
        """Everything, as Prometheus reads it."""
        registry = CollectorRegistry()
        registry.register(_Told(self._all().collect()))
        registry.register(_Told([_ages(ages)]))
        return generate_latest(registry)

    def _all(self) -> CollectorRegistry:
        if FOLDER_VARIABLE not in os.environ:
            return self._registry
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        return registry

    def _bound(
        self, name: str
    ) -> tuple[Counter, Histogram, Counter, tuple[Counter, ...], dict[str, Counter]]:
        return (
            self._requests.labels("/features", name, "200"),
            self._seconds.labels(name),
            self._entities.labels(name),
            tuple(self._values.labels(name, word) for word in WORDS),
            {reason: self._degraded.labels(name, reason) for reason in REASONS},
        )


class _OfService:
    """The counters of one service: looking a label up costs more than counting."""

    __slots__ = ("_degraded", "_entities", "_requests", "_seconds", "_values")

    def __init__(self, meters: Meters, name: str) -> None:
        bound = meters._bound(name)
        self._requests, self._seconds, self._entities, self._values, self._degraded = bound

    def answered(self, answer: FeatureVectors, seconds: float) -> None:
        self._requests.inc()
        self._seconds.observe(seconds)
        self._entities.inc(answer.rows)
        together = b"".join(answer.statuses)
        left = len(together)
        for number, counter in enumerate(self._values):
            if left == 0:
                break
            found = together.count(number)
            if found:
                counter.inc(found)
                left -= found
        if answer.degraded is not None:
            self._degraded[answer.degraded].inc()


class _Told(Collector):
    """Of some families those that have a sample."""

    def __init__(self, families: Iterable[Metric]) -> None:
        self._families = [family for family in families if family.samples]

    def collect(self) -> Iterable[Metric]:
        """The families."""
        return self._families


def _ages(ages: Ages) -> GaugeMetricFamily:
    """How old what serves is, worked out when asked."""
    gauge = GaugeMetricFamily(
        "featmill_snapshot_age_seconds",
        "Seconds since the as_of of the release that serves",
        labels=("project",),
    )
    for project, seconds in ages:
        gauge.add_metric((project,), seconds)
    return gauge
