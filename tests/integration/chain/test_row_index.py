"""A row index from a dbt build to a training set, and what becomes of it when the table moves on."""

from __future__ import annotations

import logging
import sys

import pytest

from featmill.cli.main import main
from featmill.contract.catalog import FeatureRef
from featmill.contract.manifest import load
from featmill.training.training_set import TrainingRequest, open_training_set
from featmill.warehouse.row_index import index_root
from tests.projects.depot_project import Depot

pytestmark = [pytest.mark.dbt, pytest.mark.xdist_group("dbt-2")]

FEATURES = tuple(
    FeatureRef(view="dock__load", feature=name)
    for name in ("parcels_24h", "weight_kg_24h", "kinds_3d", "last_kind_lifetime")
)


def declare(depot: Depot) -> None:
    depot.edit(
        "models/features/feat_dock__load.yml",
        "online: true",
        "online: true\n          index: true",
    )


def trained(depot: Depot, engine: str = "auto") -> tuple[list, str, str]:
    """The training set's rows, the engine that joined them and the state of the index."""
    request = TrainingRequest(
        depot.root / "seeds" / "delays.csv", "left_at", FEATURES, zone="UTC", engine=engine
    )
    catalog = load(depot.settings.manifest)
    with open_training_set(catalog, depot.registry, request) as rows:
        (choice,) = rows.choices
        return rows.reader.read_all().to_pylist(), choice.engine, choice.index


def test_a_release_builds_the_index_and_training_uses_it(depot):
    declare(depot)

    depot.build("2026-03-05", "2026-03-06")

    found, engine, state = trained(depot)
    assert (engine, state) == ("indexed", "used")
    assert found == trained(depot, "asof")[0]
    (held,) = index_root(depot.snapshots("dock__load")).iterdir()
    assert len(list(held.iterdir())) > len(FEATURES)


def test_without_the_declaration_there_is_none(depot):
    depot.build("2026-03-05")

    assert not index_root(depot.snapshots("dock__load")).exists()
    assert trained(depot)[1:] == ("asof", "none was built")


def test_an_index_left_behind_is_ignored_with_a_warning(depot, caplog):
    """It was built for fewer snapshots: declared no more, and the table went on."""
    declare(depot)
    depot.build("2026-03-05")
    depot.edit("models/features/feat_dock__load.yml", "index: true", "index: false")
    depot.build("2026-03-07")

    with caplog.at_level(logging.WARNING):
        found, engine, state = trained(depot)

    assert engine == "asof"
    assert state.startswith("stale")
    assert "the row index of dock__load is ignored: stale" in caplog.text
    assert found == trained(depot, "asof")[0]


def test_the_command_builds_what_is_named_or_declared(depot, capfd, monkeypatch):
    depot.build("2026-03-05")

    def featmill(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["featmill", *arguments])
        code = 0
        with depot.environment(FEATMILL_PROJECT_DIR=str(depot.root)):
            try:
                main()
            except SystemExit as ended:
                code = int(ended.code or 0)
        said = capfd.readouterr()
        return code, said.out + said.err

    assert featmill("index")[0] == 2
    code, said = featmill("index", "dock__load")
    assert (code, "now" in said) == (0, True)
    assert "before" in featmill("index", "dock__load")[1]
    snapshots = depot.registry.released_snapshots("dock__load")
    assert trained(depot)[1] == "indexed"
    (folder,) = index_root(snapshots).iterdir()
    (folder / "order").write_bytes(b"half")
    assert "now" in featmill("index", "dock__load")[1]
    assert trained(depot)[1] == "indexed"
