"""Reading one vector through Feast with nothing of ours in between: proof that Feast's own clients can."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from exporters.feast.render import REGISTRY_FILE
from exporters.feast.repository import repository_folder
from exporters.feast.session import open_store, quiet_feast
from featmill.errors import UsageError

if TYPE_CHECKING:
    from feast import FeatureService, FeatureStore

    from featmill.settings import Settings


def online_vector(
    settings: Settings, service: str, entity_row: Mapping[str, Any], *, tenant: str = "default"
) -> dict[str, Any]:
    """The join keys and features of a service for one entity, as `get_online_features` answers.

    Where two views of the service have a feature of the same name, all are named `view__feature`.

    Raises:
        UsageError: Feast is not installed, nothing was applied, there is no such service, or the
            join keys are not the service's.
        ContractError: Feast refused the request.
        OnlineUnreachable: the online store does not answer.
    """
    folder = repository_folder(settings, tenant, is_stock=True)
    with quiet_feast(folder):
        if not (folder / REGISTRY_FILE).is_file():
            raise UsageError(
                f"nothing was applied at {folder} yet", hint="apply the Feast repository first"
            )
        from feast.errors import FeatureServiceNotFoundException

        store = open_store(folder)
        try:
            found = store.get_feature_service(service)
        except FeatureServiceNotFoundException as error:
            known = ", ".join(sorted(s.name for s in store.list_feature_services())) or "none"
            raise UsageError(
                f"Feast knows no service {service!r}", hint=f"it knows: {known}"
            ) from error
        _check_keys(store, found, entity_row)
        names = [f.name for p in found.feature_view_projections for f in p.features]
        answer = store.get_online_features(
            features=found,
            entity_rows=[dict(entity_row)],
            full_feature_names=len(set(names)) < len(names),
        )
        return {name: values[0] for name, values in answer.to_dict().items()}


def _check_keys(
    store: FeatureStore, service: FeatureService, entity_row: Mapping[str, Any]
) -> None:
    keys = set()
    for projection in service.feature_view_projections:
        keys |= set(store.get_feature_view(projection.name).join_keys)
    if keys != set(entity_row):
        raise UsageError(
            f"service {service.name} is asked for {', '.join(entity_row) or 'nothing'}",
            hint=f"it needs exactly: {', '.join(sorted(keys))}",
        )
