"""The reference page is what a run says, on stock Feast too."""

from __future__ import annotations

import re

import pytest

from featmill.conformance.case import load_cases
from featmill.conformance.report import markdown
from featmill.conformance.runner import ENGINES, OURS, run
from featmill.conformance.verdict import Verdict

# One worker, so that every engine runs every case once.
pytestmark = [pytest.mark.feast, pytest.mark.slow, pytest.mark.xdist_group("conformance")]


@pytest.fixture(scope="module")
def matrix():
    return run(list(ENGINES))


def test_the_reference_page_is_what_a_run_says(repository, matrix):
    page = (repository / "docs" / "reference" / "conformance.md").read_text(encoding="utf-8")

    assert page == markdown(matrix, load_cases()), (
        "run: featmill conformance --engine all --markdown > docs/reference/conformance.md"
    )


def test_our_engines_are_right_wherever_they_have_words(matrix):
    assert not [outcome for engine in OURS for outcome in matrix.failures(engine)]
    assert matrix.count("sql", Verdict.INEXPRESSIBLE) == 0


def test_through_feast_our_store_is_right_too(matrix):
    """Every lookup, as without Feast."""
    assert not matrix.failures("feast-featmill")
    assert matrix.count("feast-featmill", Verdict.OK) == matrix.count("asof", Verdict.OK)


def test_feast_answers_what_has_one_answer_everywhere(matrix):
    """A comparison in which the other one were always wrong would compare nothing."""
    plain = ("lookup/newest-of-many", "lookup/no-ttl-never-expires", "lookup/unmatched-is-kept")

    for engine in ("feast-duckdb", "feast-dask"):
        assert {matrix.outcomes[case][engine].verdict for case in plain} == {Verdict.OK}
        assert matrix.count(engine, Verdict.ERROR) == 0


def test_a_page_holds_every_case_once(repository):
    page = (repository / "docs" / "reference" / "conformance.md").read_text(encoding="utf-8")
    tables = re.findall(r"^\| ([a-z]+/[\w-]+) \|", page, re.MULTILINE)

    assert sorted(tables) == sorted(case.id for case in load_cases())
