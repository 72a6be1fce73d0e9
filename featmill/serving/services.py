"""The compiled services of a reader, and what it knows of each project's store."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from featmill.errors import RequestError
from featmill.serving.echo import shown
from featmill.serving.health import Health
from featmill.serving.plan import ServicePlan, is_served_online
from featmill.serving.read_counts import ReadCounts
from featmill.serving.reading import Pointer, ReadService

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from featmill.contract.catalog import Catalog


class Services:
    """Services by name; those of one Feast project share what they know of what serves."""

    def __init__(self, plans: Sequence[ServicePlan]) -> None:
        self.plans: Mapping[str, ServicePlan] = {plan.name: plan for plan in plans}
        self.pointers = {plan.project: Pointer(plan.project) for plan in plans}
        self.problem: str | None = None
        self.counts = ReadCounts()
        self._services = {
            plan.name: ReadService.of(
                plan, self.pointers[plan.project], time.monotonic, self.counts
            )
            for plan in plans
        }

    @classmethod
    def compiled(cls, catalog: Catalog, names: Sequence[str] | None) -> Services:
        """Compile the named services, or all whose tables are online.

        Raises:
            UsageError: a service is not there, spans tenants or reads a table that is not online.
            ContractError: a join key's type cannot be a key online.
        """
        if names is None:
            names = [s.name for s in catalog.services if is_served_online(catalog, s)]
        return cls([ServicePlan.compiled(catalog, name) for name in names])

    def service(self, name: object) -> ReadService:
        """One service.

        Raises:
            RequestError: there is none of that name.
        """
        found = self._services.get(name) if isinstance(name, str) else None
        if found is None:
            known = ", ".join(self._services) or "none"
            raise RequestError(
                f"there is no service {shown(name)}", field="service", hint=f"there are: {known}"
            )
        return found

    def health(self) -> Health:
        """What is known, without asking."""
        services = self._services.values()
        said = [service.answered for service in services if service.answered is not None]
        problems = [service.problem for service in services if service.problem is not None]
        if self.problem is not None and not said:
            problems.append(self.problem)
        return Health(
            reachable=any(said) if said else None,
            problem=problems[0] if problems else None,
            breakers={service.plan.name: service.breaker.state for service in services},
            serving={
                project: None if pointer.serving is None else pointer.serving.state
                for project, pointer in self.pointers.items()
            },
        )
