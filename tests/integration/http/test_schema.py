"""The OpenAPI document is one, and the API keeps it: schemathesis makes requests, the document judges answers."""

from __future__ import annotations

from collections import Counter

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import (
    content_type_conformance,
    not_a_server_error,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

pytestmark = [pytest.mark.redis, pytest.mark.slow]


@pytest.fixture(scope="module")
def document(client):
    """The schema as schemathesis loads it from the running server."""
    return schemathesis.openapi.from_url(f"{client.base_url}/openapi.json")


def test_the_document_is_openapi(document):
    document.validate()


CHECKS = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
)


def test_every_answer_is_in_the_document(document):
    asked: Counter = Counter()
    for operation in document.get_all_operations():
        ask(operation.ok(), asked)

    assert {label for label, _ in asked} >= {"POST /features", "GET /services/{name}"}
    statuses = {status for label, status in asked if label == "POST /features"}
    assert 200 in statuses
    assert statuses & {404, 413, 422}


def ask(operation, asked):
    """Make requests of one operation, those that should be taken and those that should not."""

    @given(
        case=st.one_of(*(operation.as_strategy(generation_mode=mode) for mode in GenerationMode))
    )
    @settings(
        max_examples=100,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    def every(case):
        response = case.call()
        case.validate_response(response, checks=CHECKS)
        asked[operation.label, response.status_code] += 1

    every()


def test_a_form_of_each_service_is_in_the_document(client):
    paths = client.get("/openapi.json").json()["paths"]
    body = paths["/features"]["post"]["requestBody"]["content"]["application/json"]["schema"]

    forms = {form["title"]: form for form in body["oneOf"]}
    assert set(forms) == {"churn", "priced", "typed", "visits", "remembered", "careful"}
    assert forms["priced"]["required"] == ["service", "keys", "request"]
    assert forms["typed"]["properties"]["keys"]["required"] == ["at", "code"]
