"""What a model of labels declares (rule 17), and what is wrong with it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from featmill.contract.declared import Declared
from featmill.contract.labels import label_of
from featmill.contract.nodes import Manifest, ModelNode
from featmill.contract.rules.labels import misdeclared_labels
from featmill.errors import ContractError, SpineError


def manifest(meta, *names):
    models = {
        f"model.{number}.{name}": ModelNode(
            unique_id=f"model.{number}.{name}",
            name=name,
            package="shop",
            file="models/training/trn_labels.yml",
            version=None,
            is_latest=True,
            description="",
            owner=None,
            access="protected",
            materialized="table",
            event_time=None,
            is_contract_enforced=False,
            config={"meta": meta},
            tags=(),
            columns=(),
            parents=(),
        )
        for number, name in enumerate(names or ("trn_labels",))
    }
    return Manifest("shop", models, (), {}, (), {})


def test_a_label_has_a_horizon_and_a_column_it_begins_at():
    label = label_of(manifest({"label": {"horizon": "30d", "at": "decided_at"}}), "trn_labels")

    assert label is not None
    assert (label.horizon, label.at) == (timedelta(days=30), "decided_at")


@pytest.mark.parametrize("meta", [{}, {"label": "churned"}, {"label": ["churned"]}])
def test_a_label_of_somebody_else_s_is_none_of_ours(meta):
    """`label` is a common word: only a mapping is meant for us."""
    given = manifest(meta)

    assert label_of(given, "trn_labels") is None
    assert not list(misdeclared_labels(Declared(given, (), ())))


@pytest.mark.parametrize(
    ("label", "told"),
    [
        ({}, "no horizon"),
        ({"horizon": "30"}, "horizon: '30' is not a duration"),
        ({"horizon": "30d", "on": "x"}, "unknown key 'on'"),
        ({"horizon": "30d", "at": ""}, "at is ''"),
    ],
)
def test_a_mistake_is_found_by_check_and_by_train(label, told):
    given = manifest({"label": label})

    (mistake,) = misdeclared_labels(Declared(given, (), ()))

    assert mistake.message == told
    assert mistake.place.path[:3] == ("config", "meta", "label")
    with pytest.raises(ContractError, match=r"trn_labels: meta\.label: "):
        label_of(given, "trn_labels")


@pytest.mark.parametrize(
    ("names", "told"), [(("x",), "no dbt"), (("trn_labels",) * 2, "more than one dbt")]
)
def test_one_model_is_meant(names, told):
    with pytest.raises(SpineError, match=f"there is {told} model 'trn_labels'"):
        label_of(manifest({}, *names), "trn_labels")
