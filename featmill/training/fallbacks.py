"""A service's fallbacks in a training set: where a row does not serve, another's value, as an online read has it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa

    from featmill.contract.catalog import Catalog, Fallback, FeatureRef
    from featmill.training.request import Recipe, TrainingRequest

#: Statuses of rows whose values are served (rule 18).
SERVING = ("ok", "stale")


def fallbacks_of(catalog: Catalog, request: TrainingRequest) -> tuple[Fallback, ...]:
    """What stands in for the features asked for; nothing where no service is asked for."""
    if request.service is None:
        return ()
    declared = catalog.service(request.service).fallbacks
    return tuple(fallback for fallback in declared if fallback.feature in request.features)


def stood_in(
    columns: Mapping[str, pa.Array], statuses: Mapping[FeatureRef, pa.Array], recipe: Recipe
) -> tuple[dict[str, pa.Array], dict[FeatureRef, pa.Array]]:
    """The columns and statuses that fallbacks change, of a batch.

    Args:
        columns: every `view__feature`, with defaults.
        statuses: of each feature, what was found of its row.
        recipe: what stands in for what. A source's own fallback is not followed, as online.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    serving = pa.array(SERVING)
    values, words = {}, {}
    for fallback in recipe.fallbacks:
        feature, source = fallback.feature, fallback.source
        stands_in = pc.and_(
            pc.invert(pc.is_in(statuses[feature], serving)), pc.is_in(statuses[source], serving)
        )
        own = columns[f"{feature.view}__{feature.feature}"]
        other = columns[f"{source.view}__{source.feature}"].cast(own.type)
        values[f"{feature.view}__{feature.feature}"] = pc.if_else(stands_in, other, own)
        words[feature] = pc.if_else(stands_in, "default", statuses[feature])
    return values, words
