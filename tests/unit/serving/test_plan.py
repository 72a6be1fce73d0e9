"""What a service's read plan refuses to be compiled from."""

from __future__ import annotations

import pytest

from featmill.contract.catalog import Catalog, RequestFeature
from featmill.contract.types import parse_type
from featmill.errors import ContractError
from featmill.serving.plan import ServicePlan
from tests.integration.serving.stored import ORDERS, service
from tests.unit.online.tables import feature_table

SHOPS = feature_table("shops", keys={"total": "BIGINT"}, features={"open": "BOOLEAN"})


def compiled(*features, **more):
    services = (service(*features, **more),)
    catalog = Catalog(project="shop", tables=(ORDERS, SHOPS), services=services, sources=())
    return ServicePlan.compiled(catalog, "ranking")


def test_a_feature_is_not_called_like_a_join_key_of_another_view():
    """In an answer's columns one of the two would be taken for the other."""
    with pytest.raises(ContractError, match="ranking: total is a feature and a join key"):
        compiled("orders:total", "shops:open")

    assert compiled("orders:city", "shops:open").key_names == ("user_id", "total")


def test_nor_is_a_request_feature():
    computed = RequestFeature(name="total", type=parse_type("BIGINT"), sql="1")

    with pytest.raises(ContractError, match="total is a feature and a join key"):
        compiled("shops:open", request_features=(computed,))
