"""Every rule has a case, and our engines answer every case as the rules demand (rules 1 to 22)."""

from __future__ import annotations

import re

import duckdb
import pytest

from featmill.conformance.case import Refusal, load_cases, read_case
from featmill.conformance.runner import OURS, PROCESS, data_cases, knows, make_engine
from featmill.conformance.verdict import Inexpressible, Refused, Rows, Verdict, judge

#: The edge list that a point-in-time engine is tried on.
EDGES = {
    "edges inclusive",
    "edges exclusive",
    "ties",
    "duplicates on both sides",
    "NULL keys",
    "NULL newest value",
    "ttl edges at 1 microsecond",
    "DST",
    "naive times",
    "future events",
    "deletes",
    "late corrections",
    "int against string keys",
    "composite keys that collide when concatenated",
}
CASES = data_cases()


@pytest.fixture(scope="module")
def connection():
    with duckdb.connect() as opened:
        opened.execute("SET TimeZone = 'UTC'")
        yield opened


@pytest.mark.parametrize(
    ("case", "engine"),
    [
        pytest.param(case, engine, id=f"{case.id}-{engine}")
        for case in CASES
        for engine in OURS
        if knows(engine, case.kind)
    ],
)
def test_our_engines_answer_as_the_rules_demand(connection, case, engine):
    outcome = judge(connection, case, engine, make_engine(engine).answer(case))

    if outcome.verdict is Verdict.INEXPRESSIBLE:
        assert engine != "sql", "our SQL has words for every case"
        pytest.skip(outcome.detail)
    assert outcome.verdict is Verdict.OK, f"{case.note}\n{outcome.detail}"


def test_every_rule_has_a_case():
    found = {rule for case in load_cases() for rule in case.rules}

    assert found == set(range(1, 23))


def test_every_edge_has_a_case():
    assert {edge for case in load_cases() for edge in case.edges} == EDGES


def test_a_case_has_one_name_a_note_and_an_answer():
    cases = load_cases()

    assert len({case.id for case in cases}) == len(cases)
    assert not [case.id for case in cases if not case.note.endswith(".")]
    assert not [c.id for c in cases if (c.expected is None) == (not c.proved_by)]


def test_what_is_proved_by_tests_is_proved_by_tests_that_cite_the_rule(repository):
    wrong = []
    for case in load_cases():
        for proof in case.proved_by:
            path, _, name = proof.partition("::")
            file = repository / path
            text = file.read_text(encoding="utf-8") if file.is_file() else ""
            cited = set(map(int, re.findall(r"\b(\d+)\b", " ".join(RULES.findall(text)))))
            cited |= {n for a, b in SPANS.findall(text) for n in range(int(a), int(b) + 1)}
            if f"def {name}(" not in text or not cited & set(case.rules):
                wrong.append((case.id, proof))

    assert not wrong


#: `rule 9`, `rules 9, 13 and 19`; `rules 12 to 16`.
RULES = re.compile(r"[Rr]ules? (\d+(?:(?:, | and |, and )\d+)*)")
SPANS = re.compile(r"[Rr]ules? (\d+) to (\d+)")


def test_only_processes_have_no_tables():
    assert {case.kind for case in load_cases() if not case.tables} == {PROCESS}


@pytest.fixture
def late():
    """One row asked for twice, of which the second is not to be found."""
    columns = [["v", "BIGINT"], ["status", "VARCHAR"]]
    return read_case(
        {
            "id": "made/up",
            "kind": "lookup",
            "rules": [12],
            "note": "made up.",
            "expected": {"columns": columns, "rows": [[5, "ok"], [None, "missing"]]},
        }
    )


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (Rows(("v", "status"), [(5, "ok"), (None, "missing")], [0, 1]), Verdict.OK),
        (Rows(("v",), [(None,), (5,)], [1, 0], keeps_order=False), Verdict.OK),
        (Rows(("v",), [(None,), (5,)], [1, 0]), Verdict.WRONG),
        (Rows(("v",), [(5,)], [0], keeps_order=False), Verdict.WRONG),
        (Rows(("v",), [(5,), (None,), (None,)], [0, 1, 1], keeps_order=False), Verdict.WRONG),
        (Rows(("v", "status"), [(5, "ok"), (None, "expired")], [0, 1]), Verdict.WRONG),
        (Rows(("v",), [(5,), (0,)], [0, 1]), Verdict.WRONG),
        (Refused("SpineError", "no"), Verdict.WRONG),
        (Inexpressible("no words"), Verdict.INEXPRESSIBLE),
    ],
)
def test_a_wrong_answer_is_wrong(connection, late, answer, verdict):
    assert judge(connection, late, "made-up", answer).verdict is verdict


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (Refused("SpineError", "t holds NULLs"), Verdict.OK),
        (Refused("", "something foreign"), Verdict.OK),
        (Refused("LakeError", "t holds NULLs"), Verdict.WRONG),
        (Refused("SpineError", "no"), Verdict.WRONG),
        (Rows(("v",), [(5,)], [0]), Verdict.WRONG),
    ],
)
def test_bad_input_that_is_accepted_is_wrong(connection, answer, verdict):
    case = read_case(
        {
            "id": "made/up",
            "kind": "lookup",
            "rules": [15],
            "note": "made up.",
            "expected": {"error": "SpineError", "says": ["NULL"]},
        }
    )

    assert isinstance(case.expected, Refusal)
    assert judge(connection, case, "made-up", answer).verdict is verdict
