"""One macro per file, and the file is named for it."""

from __future__ import annotations

import re

import pytest

#: `{% macro name(`, `{%- materialization name, adapter='duckdb' %}`, `{% test name(`.
DEFINITION = re.compile(r"\{%-?\s*(?:macro|materialization|test)\s+(\w+)")


def test_each_file_defines_the_macro_it_is_named_for(sql_files):
    wrong = {
        path.name: names
        for folder in ("macros", "tests/dbt/generic")
        for path in sql_files(folder)
        if (names := definitions(path.read_text(encoding="utf-8"))) != [path.stem]
        and not is_dispatched(path.stem, names)
    }

    assert not wrong, "one macro per file, file name = macro name (its <adapter>__ forms beside it)"


def definitions(sql: str) -> list[str]:
    return DEFINITION.findall(sql)


def is_dispatched(stem: str, names: list[str]) -> bool:
    """A macro and its implementations, `default__stem` and `duckdb__stem`, are one thing."""
    return names.count(stem) <= 1 and {n.split("__", 1)[-1] for n in names} == {stem}


@pytest.mark.parametrize(
    ("sql", "names"),
    [
        ("{% macro a(x) %}{% endmacro %}", ["a"]),
        ("{%- macro a() -%}{%- endmacro -%}\n{% macro _b() %}{% endmacro %}", ["a", "_b"]),
        ("{% materialization publish, adapter='duckdb' %}", ["publish"]),
        ("{% test not_late(model) %}", ["not_late"]),
    ],
)
def test_definitions_are_found(sql, names):
    assert definitions(sql) == names


@pytest.mark.parametrize(
    ("names", "is_one_thing"),
    [
        (["a", "default__a"], True),
        (["duckdb__a"], True),
        (["a", "_b"], False),
        (["a", "a"], False),
        ([], False),
    ],
)
def test_implementations_per_adapter_belong_together(names, is_one_thing):
    assert is_dispatched("a", names) is is_one_thing
