"""The repository's own files, as its rules read them."""

from __future__ import annotations

import ast
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

ROOTS = ("featmill", "exporters", "orchestration")


@dataclass(frozen=True)
class Module:
    """One Python file of the three import roots."""

    path: Path

    @property
    def name(self) -> str:
        return self.path.relative_to(REPOSITORY).as_posix()

    @cached_property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text, filename=str(self.path))


@pytest.fixture(scope="session")
def modules() -> list[Module]:
    """Every module that ships."""
    return [Module(path) for root in ROOTS for path in sorted((REPOSITORY / root).rglob("*.py"))]


@pytest.fixture(scope="session")
def sql_files(repository):
    """`sql_files("models")`: every SQL file below a folder of the root dbt project."""

    def below(folder: str) -> list[Path]:
        return sorted((repository / folder).rglob("*.sql"))

    return below
