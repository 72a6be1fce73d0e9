"""Two generated data sets that the tests only read: one without faults, one with many."""

from __future__ import annotations

from typing import Any

import duckdb
import pytest

from featmill.generator import DirtyShares, generate

EVENTS = 200_000
DAYS = 56
NO_FAULTS = DirtyShares(0, 0, 0, 0, 0, 0)
MANY_FAULTS = DirtyShares(
    late=0.1, duplicate=0.08, out_of_order=0.06, null_key=0.05, null_time=0.04, future=0.03
)


class Data:
    """Generated files, and a connection with a view of each."""

    def __init__(self, folder, shares: DirtyShares) -> None:
        self.shares = shares
        self.files = {
            file.name: file
            for file in generate(folder, events=EVENTS, days=DAYS, seed=1, shares=shares)
        }
        self.events = self.files["events"]
        self.connection = duckdb.connect()
        for file in self.files.values():
            self.connection.execute(f"create view {file.name} as from '{file.path}'")

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        return self.connection.execute(query).fetchall()

    def one(self, query: str) -> tuple[Any, ...]:
        return self.rows(query)[0]

    def value(self, query: str) -> Any:
        return self.one(query)[0]


@pytest.fixture(scope="session")
def clean(tmp_path_factory):
    data = Data(tmp_path_factory.mktemp("clean"), NO_FAULTS)
    yield data
    data.connection.close()


@pytest.fixture(scope="session")
def dirty(tmp_path_factory):
    data = Data(tmp_path_factory.mktemp("dirty"), MANY_FAULTS)
    yield data
    data.connection.close()
