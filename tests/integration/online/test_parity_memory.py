"""How much memory a comparison takes does not depend on how many rows there are."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = [pytest.mark.redis, pytest.mark.slow]

_FEW, _MANY = 50_000, 500_000

#: What DuckDB may hold of the keys, and a fifth of it for what an allocator keeps back, in KiB.
_BOUND = 128 * 1024 * 6 // 5

#: Rows come a batch at a time, as a database hands them out. A peak is of a whole process and never falls, so each
#: comparison has a process of its own.
_SCRIPT = """
import resource, sys
import pyarrow as pa
from exporters.redis import ExportJob, ParityJob, compare_rows, export_view
from featmill.online.connection import OnlineTarget
from tests.integration.online.publications import AS_OF, PROJECT, TABLE, snapshot

what, url, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
target = OnlineTarget.from_url(url)

def rows(count):
    firsts = range(0, count, 10_000)
    batches = (batch for first in firsts for batch in snapshot(10_000, first=first).to_batches())
    return pa.RecordBatchReader.from_batches(snapshot(1).schema, batches)

if what == "export":
    export_view(target, ExportJob(PROJECT, TABLE, "s1", "r1", AS_OF, count), rows(count))
else:
    compare_rows(target, ParityJob("warm", TABLE), rows(10_000))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    report = compare_rows(target, ParityJob(PROJECT, TABLE), rows(count))
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print("grown", report.is_proof, report.checked_entities, after - before)
"""


def run(*arguments):
    command = [sys.executable, "-c", _SCRIPT, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=240).stdout


def grown(store, count):
    """By how many KiB a comparison of so many rows raises the peak of its process."""
    with store.client() as client:
        client.flushall()
    run("export", store.url, str(count))
    printed = run("compare", store.url, str(count)).splitlines()
    (said,) = [line for line in printed if line.startswith("grown ")]
    _, is_proof, checked, kib = said.split()
    assert (is_proof, int(checked)) == ("True", count)
    return int(kib)


def test_ten_times_the_rows_take_no_more_than_the_ledger_may_hold(store):
    few, many = grown(store, _FEW), grown(store, _MANY)

    assert many - few < _BOUND
    assert many < 2 * _BOUND
