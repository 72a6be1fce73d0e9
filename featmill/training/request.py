"""What is asked of a training set, and the recipe that it comes to: all that decides its values.

A request speaks of the project as it stands now; a recipe pins what it meant, so that the same set can be made again
when the project has moved on. A manifest is a recipe with what came of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from featmill.errors import SpineError
from featmill.training.spine import key_family

if TYPE_CHECKING:
    from featmill.contract.catalog import Fallback, FeatureRef, FeatureTable
    from featmill.contract.types import FeatureType
    from featmill.training.computed import Computed

Mode = Literal["event", "served"]
Windows = Literal["snapshot", "spine"]
Immature = Literal["refuse", "drop"]

#: What DuckDB may keep in memory; beyond it, it spills. Ten million labels fit within twice this.
MEMORY = "2GB"


@dataclass(frozen=True, slots=True)
class Label:
    """A label that is known `horizon` after `at`, a column of the spine, or after the row's moment (rule 17)."""

    horizon: timedelta
    at: str | None = None
    immature: Immature = "refuse"


@dataclass(frozen=True, slots=True)
class Added:
    """Columns added on request.

    `status`: `view__status`, what the lookup found (ok, expired, missing). `source_times`: the event time of the row
    that was found. `value_status`: `view__feature__status`, of each value (ok, default, expired, missing).
    """

    status: bool = False
    source_times: bool = False
    value_status: bool = False


@dataclass(frozen=True, slots=True)
class TrainingRequest:
    """What is asked for.

    `spine` is a path, a SpineSource or a frame; `zone` that of a time column without one. `mode` is rule 12's as_of.
    `windows` says where windowed features are evaluated: in the newest visible row, or at each row's own time.
    `release` (a release's or a snapshot's id) or `at` reads the registry as it stood then. `project` is the dbt
    project's folder: the manifest names the commit checked out there.
    """

    spine: Any
    time: str
    features: tuple[FeatureRef, ...]
    out: Path | None = None
    zone: str | None = None
    status: bool = False
    service: str | None = None
    project: Path = Path()
    source_times: bool = False
    value_status: bool = False
    mode: Mode = "event"
    windows: Windows = "snapshot"
    release: str | None = None
    at: datetime | None = None
    label: Label | None = None
    engine: str = "auto"
    memory: str = MEMORY


@dataclass(frozen=True, slots=True)
class Epoch:
    """A stretch of time in which one state was live, from `since` to the next epoch.

    `snapshots` names, for each table, the snapshots whose rows could serve, the live one last; it is empty where
    nothing served.
    """

    number: int
    since: datetime
    release_id: str
    snapshots: dict[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class Recipe:
    """All that decides a training set's values, beside the spine.

    `tables` hold only the features that are wanted, in that order, and those of `hidden`: sources of `fallbacks` that
    are read and no columns of the set. `snapshots` are table -> snapshot ids; `epochs`
    stand instead of these where the mode is `served`. `cut_off` is what labels are judged by. `computed` is what is
    computed on request, None where nothing is.
    """

    time: str
    zone: str | None
    tables: tuple[FeatureTable, ...]
    snapshots: dict[str, tuple[str, ...]]
    cut_off: datetime
    mode: Mode = "event"
    epochs: tuple[Epoch, ...] = ()
    windows: Windows = "snapshot"
    label: Label | None = None
    added: Added = Added()
    engine: str = "auto"
    memory: str = MEMORY
    computed: Computed | None = None
    fallbacks: tuple[Fallback, ...] = ()
    hidden: tuple[FeatureRef, ...] = ()

    @property
    def answered(self) -> tuple[FeatureTable, ...]:
        """The tables whose columns the set has, each with the features that it has."""
        if not self.hidden:
            return self.tables
        hidden = {(ref.view, ref.feature) for ref in self.hidden}
        found = [
            table.model_copy(
                update={
                    "features": tuple(
                        f for f in table.features if (table.name, f.name) not in hidden
                    )
                }
            )
            for table in self.tables
        ]
        return tuple(table for table in found if table.features)

    @property
    def keys(self) -> dict[str, FeatureType]:
        """The join keys that the spine must have.

        Raises:
            SpineError: two tables have a key of one name and of different kinds (rule 16): no spine fits both.
        """
        found: dict[str, tuple[str, FeatureType]] = {}
        for table in self.tables:
            for key in table.join_keys:
                other, kind = found.setdefault(key.name, (table.name, key.type))
                if key_family(kind) != key_family(key.type):
                    raise SpineError(
                        f"key {key.name} is {kind.sql} in {other} and {key.type.sql} in {table.name}",
                        hint="no spine has both, and a key is never converted in silence (rule 16): "
                        "declare one type, or make a training set of each",
                    )
        return {name: kind for name, (_, kind) in found.items()}
