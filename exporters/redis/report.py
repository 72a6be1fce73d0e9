"""What `verify` found."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from featmill.online.live import LiveRecord

#: The differences that are kept; all are counted.
_SHOWN = 20

#: Stands where a feature's name would, for a difference of the entity as a whole.
WHOLE_ENTITY = "(entity)"


@dataclass(frozen=True, slots=True)
class Difference:
    """One value that is not what was published, in words."""

    key: str
    feature: str
    expected: str
    actual: str


@dataclass(frozen=True, slots=True)
class ParityReport:
    """Whether a view holds exactly a snapshot.

    `record` is what the store says is live, None if the view was never exported. `differences` are
    the first twenty of `total_differences`. A value counts as checked with its event time's.

    `sampled` is the share of the entities that was looked at, None for every one of them; of a
    sample, entities too many were not looked for. `expired` rows are past their ttl and gone from
    the store, which is as it should be. `compared_bytes` are those of the store's answers.
    """

    view: str
    record: LiveRecord | None
    checked_entities: int
    checked_values: int
    total_differences: int
    differences: tuple[Difference, ...]
    seconds: float
    sampled: float | None = None
    expired: int = 0
    compared_bytes: int = 0

    @property
    def values_per_second(self) -> float:
        """Values compared in a second."""
        return self.checked_values / max(self.seconds, 1e-9)

    @property
    def megabytes_per_second(self) -> float:
        """Millions of bytes compared in a second."""
        return self.compared_bytes / 1e6 / max(self.seconds, 1e-9)

    @property
    def is_incomplete(self) -> bool:
        """Whether an export was started and has not finished (rule 21)."""
        return self.record is not None and not self.record.is_complete

    @property
    def is_equal(self) -> bool:
        """Whether what was looked at is the same online and published, by an export that has finished.

        No row online where none is published says nothing of a view that was never exported.
        """
        return self.total_differences == 0 and self.record is not None and self.record.is_complete

    @property
    def is_proof(self) -> bool:
        """Whether every entity was looked at, and online and published are the same: no sample is a proof."""
        return self.is_equal and self.sampled is None


@dataclass(slots=True)
class Findings:
    """Differences as they are found."""

    total: int = 0
    expired: int = 0
    shown: list[Difference] = field(default_factory=list)

    @property
    def is_full(self) -> bool:
        """Whether further differences are only counted."""
        return len(self.shown) >= _SHOWN

    def add(self, difference: Difference) -> None:
        """Count a difference, and keep it if it is one of the first."""
        self.total += 1
        if not self.is_full:
            self.shown.append(difference)
