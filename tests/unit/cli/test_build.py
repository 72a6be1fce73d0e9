"""How `featmill build` tells what went wrong: a model that broke is never hidden by a test that failed."""

from __future__ import annotations

import pytest

from featmill.errors import BuildError, GateFailed
from featmill.settings import Settings
from orchestration import tasks
from orchestration.dbt_process import BuildOutcome, DbtProcess, NodeResult


def result(name: str, kind: str, status: str) -> NodeResult:
    return NodeResult(f"{kind}.p.{name}", name, kind, status, 0.1, f"  {name} said so\n")


@pytest.fixture
def build(monkeypatch, tmp_path):
    """`build(*results)`: what dbt came to is given."""

    def building(*results):
        outcomes = [BuildOutcome(None, results, ())]
        monkeypatch.setattr(DbtProcess, "build", lambda *_: outcomes)
        return tasks.build(Settings(project_dir=tmp_path))

    return building


GOOD = (result("fine", "model", "success"), result("passed", "test", "pass"))
BROKEN = result("feat_a", "model", "error")
FAILED = result("not_null_b", "test", "fail")


@pytest.mark.parametrize("kind", ["model", "published", "seed", "snapshot"])
def test_a_node_that_errored_is_a_build_error_that_names_it(build, kind):
    with pytest.raises(BuildError) as broken:
        build(*GOOD, result("x", kind, "error"))

    assert broken.value.message == "1 could not be built:\n  x: x said so"
    assert not isinstance(broken.value, GateFailed)


def test_a_failed_test_does_not_hide_it(build):
    """Both are told: the test's failure is news too."""
    with pytest.raises(BuildError) as broken:
        build(*GOOD, FAILED, BROKEN, result("unit", "unit_test", "error"))

    assert broken.value.message == (
        "1 could not be built:\n  feat_a: feat_a said so\n"
        "2 failed:\n  not_null_b: not_null_b said so\n  unit: unit said so"
    )
    assert not isinstance(broken.value, GateFailed)


def test_a_node_that_was_skipped_did_not_break(build):
    """It descends from the test that failed (rule 20): that is the gate's to judge."""
    outcomes = build(*GOOD, FAILED, result("published_b", "published", "skipped"))

    with pytest.raises(GateFailed, match=r"1 failed:\n  not_null_b: not_null_b said so"):
        tasks.gate(outcomes)
