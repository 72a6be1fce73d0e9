"""The rule book: every rule that a project's declarations must keep, one function each."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

from featmill.contract.rules.columns import COLUMN_RULES
from featmill.contract.rules.keys_of_meta import misplaced_keys
from featmill.contract.rules.labels import misdeclared_labels
from featmill.contract.rules.project import PROJECT_RULES
from featmill.contract.rules.selections import SELECTION_RULES
from featmill.contract.rules.services import SERVICE_RULES
from featmill.contract.rules.serving import SERVING_RULES
from featmill.contract.rules.tables import TABLE_RULES
from featmill.contract.rules.windows import WINDOW_RULES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from featmill.contract.declared import Declared, DeclaredTable
    from featmill.contract.problems import Mistake


def judge(declared: Declared) -> Iterator[Mistake]:
    """Every mistake in what is declared, as the rules find them."""
    yield from misplaced_keys(declared)
    yield from misdeclared_labels(declared)
    for rule in PROJECT_RULES:
        yield from rule(declared)
    for table in declared.tables:
        yield from _judge_table(table, declared)
    for service in declared.services:
        rules = (*SERVICE_RULES, *SERVING_RULES)
        yield from chain.from_iterable(rule(service, declared) for rule in rules)


def _judge_table(table: DeclaredTable, declared: Declared) -> Iterator[Mistake]:
    for rule in (*TABLE_RULES, *SELECTION_RULES):
        yield from rule(table, declared.manifest)
    for column in table.columns:
        for column_rule in (*COLUMN_RULES, *WINDOW_RULES):
            yield from column_rule(table, column)
