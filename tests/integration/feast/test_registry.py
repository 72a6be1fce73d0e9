"""What the registry of a generated repository holds, and what applying it changes."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from exporters.feast.apply import apply
from exporters.feast.plugins.source import FeatmillSource
from exporters.feast.repository import FeastProject, write_repository
from featmill.errors import ContractError
from tests.integration.feast.shop import (
    CUSTOMERS,
    DAY_2,
    NOWHERE,
    PRICES,
    RISK,
    SHELVES,
    SHOP,
    catalog,
    export,
    history,
    open_feast,
)

pytestmark = [
    pytest.mark.feast,
    pytest.mark.xdist_group("feast"),
    # Feast and what lies below it warn of what they do themselves.
    pytest.mark.filterwarnings(
        "ignore::DeprecationWarning:feast",
        # The lake asks delta-rs by an argument that is going away.
        "ignore:.partition_filters.:DeprecationWarning",
    ),
]


def stock(folder):
    return folder.with_name("feast-stock")


def test_the_registry_holds_what_the_contract_declares(settings, released):
    folder, result = export(settings, released)

    assert result.entities == ("customer", "shelf", "shop")
    assert result.views == ("customers", "prices", "shelves")
    assert result.services == ("risk",)
    view = open_feast(folder).get_feature_view("customers")
    assert {f.name: str(f.dtype) for f in view.schema} == {
        "customer_id": "Int64",
        "orders": "Int32",
        "spent": "Float64",
        "first_on": "UnixTimestamp",
        "last_at": "UnixTimestamp",
        "city": "String",
        "is_new": "Bool",
    }
    assert view.ttl == timedelta(days=2)
    assert view.owner == "data@example.com"
    assert view.tags == {"tenant": "default", "snapshot": "20260302T000000Z-0002-abc"}
    assert [f.description for f in view.features if f.name == "city"] == [
        "The city, as 'declared'."
    ]


def test_a_composite_key_is_several_entities_that_share_the_single_key_s(settings, released):
    folder, _ = export(settings, released)
    store = open_feast(folder)

    assert store.get_feature_view("prices").entities == ["shop", "customer"]
    assert store.get_feature_view("shelves").entities == ["shop", "shelf"]
    assert not store.get_feature_view("shelves").online
    assert str(store.get_entity("customer").value_type) == "ValueType.INT64"


def test_applying_again_changes_nothing(settings, released):
    folder, first = export(settings, released)
    view = open_feast(folder).get_feature_view("customers")

    _, second = export(settings, released)

    again = open_feast(folder).get_feature_view("customers")
    assert second == first
    assert again == view
    assert again.current_version_number == view.current_version_number


def test_what_is_not_declared_any_more_is_deleted(settings, released):
    folder, _ = export(settings, released)

    _, result = export(settings, released, catalog(CUSTOMERS))

    assert result.entities == ("customer",)
    assert result.views == ("customers",)
    assert result.services == ()
    store = open_feast(folder)
    assert [v.name for v in store.list_feature_views()] == ["customers"]
    assert [e.name for e in store.list_entities()] == ["customer"]
    assert [s.name for s in store.list_data_sources()] == ["customers"]


def test_a_refused_definition_leaves_the_registry(settings, released):
    folder, _ = export(settings, released)
    before = (folder / "registry.db").read_bytes()
    (folder / "definitions.py").write_text("from feast import Entity\nEntity(name=1)\n")

    with pytest.raises(ContractError, match="Feast refused"):
        apply(settings)

    assert (folder / "registry.db").read_bytes() == before
    assert not list(folder.glob(".registry*"))


def test_applying_prints_nothing(settings, released, capfd):
    export(settings, released)

    assert capfd.readouterr().out == ""


@pytest.mark.slow  # a process that imports Feast
def test_plain_feast_apply_works_in_the_folder(settings, released):
    folder, _ = write_repository(settings, SHOP, released.released(), NOWHERE)

    done = subprocess.run(
        [str(Path(sys.executable).with_name("feast")), "apply"],
        cwd=folder,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert "Could not" not in done.stdout + done.stderr
    store = open_feast(folder)
    assert sorted(v.name for v in store.list_feature_views()) == sorted(
        t.name for t in (CUSTOMERS, PRICES, SHELVES)
    )
    assert [s.name for s in store.list_feature_services()] == [RISK.name]
    assert history(store, [(7, DAY_2)])[7, DAY_2]["orders"] == 2


def test_the_registry_alone_holds_what_a_lookup_needs(settings, released):
    """A reader that has it and reaches the lake needs neither the dbt project nor the repository's other files."""
    folder, _ = export(settings, released)
    (folder / "tables.json").unlink()
    (folder / "definitions.py").unlink()

    source = open_feast(folder).get_feature_view("customers").batch_source

    assert isinstance(source, FeatmillSource)
    assert source.declared() == CUSTOMERS
    assert history(open_feast(folder), [(7, DAY_2)])[7, DAY_2]["orders"] == 2


def test_the_stock_repository_needs_nothing_of_ours(settings, released):
    folder, _ = export(settings, released)

    declared = [stock(folder) / name for name in ("definitions.py", "feature_store.yaml")]
    assert not [path for path in declared if "exporters" in path.read_text()]
    store = open_feast(stock(folder))
    assert {v.name for v in store.list_feature_views()} == {"customers", "prices", "shelves"}
    assert store.list_data_sources() == []


def test_a_generation_changes_the_name_that_stock_feast_asks_for(settings, released):
    """Rule 21: our store follows the pointer under the project's own name; Feast's knows no pointer."""
    place = FeastProject(name="shop__g7")

    folder, _ = export(settings, released, place=place)

    assert open_feast(folder).project == "shop"
    assert open_feast(stock(folder)).project == "shop__g7"
    found = open_feast(stock(folder)).list_feature_views()
    assert {v.name for v in found} == {"customers", "prices", "shelves"}
