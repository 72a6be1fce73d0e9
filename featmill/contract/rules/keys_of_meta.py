"""Our keys under meta, misspelt or in the wrong place: dbt lets any key be, so we must not."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from featmill.contract.problems import Mistake, nearest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from featmill.contract.declared import Declared
    from featmill.contract.nodes import ModelNode, Place

_HOMES = {
    "feature_table": "a model's config.meta.feature_table",
    "feature": "a column's config.meta.feature",
    "feature_service": "an exposure's config.meta.feature_service",
    "tenant": "a model's config.meta.tenant",
}
_OF_MODELS = ("feature_table", "tenant")
_OF_COLUMNS = ("feature",)
#: A folder's +meta may give exposures a tenant as well; a service has its tables'.
_OF_EXPOSURES = ("feature_service", "tenant")


def misplaced_keys(declared: Declared) -> Iterator[Mistake]:
    """A key that was meant to be one of ours, and is read by nobody."""
    for model in declared.manifest.models.values():
        yield from _of_model(model)
    for exposure in declared.manifest.exposures:
        place = exposure.place("config", "meta")
        yield from _misspelt(exposure.meta, _OF_EXPOSURES, place, exposure.name)


def _of_model(model: ModelNode) -> Iterator[Mistake]:
    yield from _misspelt(model.meta, _OF_MODELS, model.place("config", "meta"), model.label)
    for key in _HOMES.keys() & model.config.keys():
        message = f"{key} is under config, where nothing reads it"
        yield Mistake(model.place("config", key), model.label, message, _HOMES[key])
    for column in model.columns:
        place = model.place("config", "meta", column=column.name)
        yield from _misspelt(column.meta, _OF_COLUMNS, place, f"{model.label}.{column.name}")


def _misspelt(
    keys: Iterable[str], ours: tuple[str, ...], place: Place, subject: str
) -> Iterator[Mistake]:
    for key in keys:
        if key in ours:
            continue
        # What is spelt right but stands elsewhere is named by its own home, not by its neighbour.
        meant = key if key in _HOMES else nearest(key, _HOMES, cutoff=0.8)
        if meant is not None:
            there = replace(place, path=(*place.path, key))
            yield Mistake(there, subject, f"meta has an unknown key {key!r}", _HOMES[meant])
