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
    """

    view: str
    record: LiveRecord | None
    checked_entities: int
    checked_values: int
    total_differences: int
    differences: tuple[Difference, ...]
    seconds: float

    @property
    def is_incomplete(self) -> bool:
        """Whether an export was started and has not finished (rule 21)."""
        return self.record is not None and not self.record.is_complete

    @property
    def is_equal(self) -> bool:
        """Whether online and published are the same, by an export that has finished.

        No row online where none is published says nothing of a view that was never exported.
        """
        return self.total_differences == 0 and self.record is not None and self.record.is_complete


@dataclass(slots=True)
class Findings:
    """Differences as they are found."""

    total: int = 0
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
