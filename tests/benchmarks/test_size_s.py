"""Each benchmark runs at its smallest size, and our answers in it are right: a ratio of wrong answers is worth nothing.

Feast is left out here: its start alone takes longer than all of this.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.conftest import REPOSITORY

OURS = "featmill asof,featmill indexed,featmill interval,duckdb asof,polars,scan"
RUNS = {
    "generate": [],
    "http": ["--only", "featmill bare,featmill full"],
    "windows_at": ["--rounds", "1"],
    "tiles": ["--rounds", "1"],
    "change_log": [],
    "publish_changes": [],
    "request_features": [],
    "rollback": [],
    "read": ["--rounds", "1", "--only", "featmill,async,hmget"],
    "point_in_time": ["--rounds", "1", "--only", OURS],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_a_benchmark_runs_and_our_answers_are_right(name):
    command = [sys.executable, "-m", f"benchmarks.{name}", "--size", "s", *RUNS[name]]

    done = subprocess.run(
        command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=280
    )

    assert done.returncode == 0, done.stdout + done.stderr
    assert "WRONG" not in done.stdout
    assert "DNF" not in done.stdout
