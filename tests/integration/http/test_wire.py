"""The short way: what is asked over it, what is not, and that nothing on it can take an answer away."""

from __future__ import annotations

import pytest

from featmill.serving.http.features import FeaturesRoute
from tests.integration.http.test_features import asked

pytestmark = pytest.mark.redis


def test_requests_for_features_take_the_short_way(client, monkeypatch):
    async def long_way(*_args):
        raise ZeroDivisionError("the long way")

    monkeypatch.setattr(FeaturesRoute, "__call__", long_way)

    assert asked(client, "churn", {"user_id": 1}).status_code == 200
    # HTTP/1.1 without anything unusual; what is unusual goes the long way.
    assert (
        asked(client, "churn", {"user_id": 1}, headers={"expect": "100-continue"}).status_code
        == 500
    )
