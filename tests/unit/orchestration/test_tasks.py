"""The chain's steps: how a build is judged, and which release is meant."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from featmill import clock
from featmill.errors import AsOfError, GateFailed, NoRelease
from featmill.settings import Settings
from featmill.warehouse.registry import open_registry
from orchestration import tasks
from orchestration.dbt_process import BuildOutcome, NodeResult
from tests.unit.warehouse.snapshots import snapshot


def result(name: str, kind: str, status: str) -> NodeResult:
    return NodeResult(f"{kind}.p.{name}", name, kind, status, 0.1, f"{name} said so")


def outcome(*results: NodeResult) -> BuildOutcome:
    return BuildOutcome(None, results, ())


def test_the_gate_counts_the_tests_that_passed():
    passed = outcome(
        result("a", "test", "pass"),
        result("u", "unit_test", "pass"),
        result("m", "model", "success"),
    )
    warned = outcome(result("b", "test", "warn"))

    assert tasks.gate([passed, warned]) == 3


@pytest.mark.parametrize(
    ("kind", "status"),
    [("test", "fail"), ("test", "error"), ("unit_test", "fail"), ("test", "runtime error")],
)
def test_the_gate_names_every_test_that_failed(kind, status):
    bad = outcome(
        result("good", "test", "pass"), result("bad", kind, status), result("m", "model", "error")
    )

    with pytest.raises(GateFailed, match=r"1 failed:\n  bad: bad said so") as failed:
        tasks.gate([outcome(), bad])

    assert "previous release serves on" in str(failed.value.hint)


@pytest.fixture
def settings(tmp_path) -> Settings:
    """A lake with releases at two moments, one corrected."""
    registry = open_registry(tmp_path / "home" / "lake")
    registry.location.parent.mkdir(parents=True)
    for day, ordinal in ((5, 0), (4, 0), (4, 1)):
        with clock.frozen(datetime(2026, 3, 9, ordinal, tzinfo=UTC)):
            registry.commit(
                datetime(2026, 3, day, tzinfo=UTC), [snapshot(day=day, ordinal=ordinal)], "shop"
            )
    return Settings(project_dir=tmp_path, home=tmp_path / "home")


@pytest.mark.parametrize(
    "as_of", ["2026-03-04", "2026-03-04T00:00:00Z", "2026-03-04T02:00:00+02:00"]
)
def test_the_release_of_an_as_of_is_its_newest_correction(settings, as_of):
    """Rules 1 and 13."""
    found = tasks.released(settings, as_of)

    assert found.as_of == datetime(2026, 3, 4, tzinfo=UTC)
    assert found.snapshots == {"load": "20260304T000000Z-0001-aa"}


def test_without_an_as_of_it_is_the_newest(settings):
    assert tasks.released(settings).as_of == datetime(2026, 3, 5, tzinfo=UTC)


@pytest.mark.parametrize("as_of", ["yesterday", "2026-03-04T00:00:00", "2026-04-31", ""])
def test_a_malformed_or_naive_as_of_is_refused(settings, as_of):
    """Rule 1."""
    with pytest.raises(AsOfError, match="a UTC day"):
        tasks.released(settings, as_of)


def test_an_as_of_that_was_not_released_is_no_release(settings, tmp_path):
    with pytest.raises(NoRelease, match="nothing is released at 2026-03-06"):
        tasks.released(settings, "2026-03-06")
    with pytest.raises(NoRelease, match="nothing has been released yet"):
        tasks.released(Settings(project_dir=tmp_path, home=tmp_path / "empty"))
