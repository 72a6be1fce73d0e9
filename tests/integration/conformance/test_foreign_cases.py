"""Cases of other projects' own tests, as far as our rules have words for them (rules 12 to 16).

Each case is run or is listed here with its reason: nothing is left out in silence.
"""

from __future__ import annotations

import sys
from collections import Counter

import pytest

from featmill.conformance.runner import make_engine
from featmill.conformance.verdict import Inexpressible, Rows
from tests.integration.conformance.duckdb_asof import answered, same, taken_apart
from tests.integration.conformance.foreign import (
    asof_case,
    differences,
    feast_case,
    read_lines,
    renamed,
)

NEAREST = "nearest may find a row of the future (rule 12)"
NOTHING = "its answer shows nothing of what was found"
CREATED = "as_of=served follows what went live, not when a row was created (rule 12)"
#: File -> how it is read, how many cases it has, and of which reasons how many are not run.
FILES = {
    "pandas_merge_asof": (asof_case, 80, {NEAREST: 7, NOTHING: 1}),
    "polars_join_asof": (asof_case, 7, {}),
    "feast_pit": (feast_case, 9, {CREATED: 1}),
}
#: Why a case of DuckDB's is not run, and how many are not.
DUCKDB = {
    "RIGHT: a training set has exactly the spine's rows (rule 15)": 12,
    "SEMI: a training set has exactly the spine's rows (rule 15)": 3,
    "ANTI: a training set has exactly the spine's rows (rule 15)": 3,
    "a condition that is neither a key nor a time": 10,
    "a condition on one side or on both at once": 8,
    "a nested key is outside the type table (rule 16)": 4,
    "a subquery for each row": 1,
}
ENGINES = ("sql", "interval", "indexed")


@pytest.fixture(scope="module")
def cases(real_data):
    """File -> its cases, read."""
    folder = real_data / "cases"
    if not folder.is_dir():
        pytest.skip(f"no cases at {folder}")
    return {
        name: [
            renamed(read(line), n) for n, line in enumerate(read_lines(folder / f"{name}.jsonl"))
        ]
        for name, (read, _, _) in FILES.items()
    }


@pytest.mark.parametrize("file", FILES)
def test_every_case_is_run_or_has_a_reason(cases, file):
    _, count, reasons = FILES[file]

    assert len(cases[file]) == count
    assert Counter(c.reason for c in cases[file] if c.reason) == reasons
    assert all((case.case is None) == bool(case.reason) for case in cases[file])


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("file", FILES)
def test_every_case_that_can_be_said_has_its_answer(cases, file, engine, capsys):
    of = make_engine(engine)
    wrong, run = {}, 0
    for foreign in (case for case in cases[file] if case.case is not None):
        answer = of.answer(foreign.case)
        if isinstance(answer, Inexpressible) and engine != "sql":
            continue
        assert isinstance(answer, Rows), (foreign.id, answer)
        assert list(answer.spine_rows or []) == list(range(len(answer.rows))), "rule 15"
        run += 1
        if found := differences(foreign, [row[0] for row in answer.rows]):
            wrong[foreign.id] = found

    with capsys.disabled():
        sys.stdout.write(f"\n{file} on {engine}: {run} run, {len(wrong)} wrong\n")
    assert not wrong
    assert run == FILES[file][1] - sum(FILES[file][2].values()) or engine != "sql"


def test_duckdb_s_own_asof_tests_have_their_answers_by_our_sql(real_data, capsys):
    path = real_data / "cases" / "duckdb_asof.jsonl"
    if not path.is_file():
        pytest.skip(f"no cases at {path}")
    reasons: Counter[str] = Counter()
    wrong, run = [], 0
    for case in read_lines(path):
        found = taken_apart(case)
        if isinstance(found, str):
            reasons[found] += 1
            continue
        run += 1
        if not same(answered(case, *found), case["expected"]):
            wrong.append(case["id"])

    with capsys.disabled():
        sys.stdout.write(f"\nduckdb_asof on sql: {run} run, {len(wrong)} wrong\n")
    assert not wrong
    assert reasons == DUCKDB
    assert run + sum(reasons.values()) == 102
