"""One macro per file, named for it, with a word about what it is for."""

from __future__ import annotations

import re

import pytest

#: `{% macro name(`, `{%- materialization name, adapter='duckdb' %}`, `{% test name(`.
DEFINITION = re.compile(r"\{%-?\s*(macro|materialization|test)\s+(\w+)")
COMMENT = re.compile(r"\{#-?\s*\S")


def test_each_file_defines_the_macro_it_is_named_for(sql_files):
    wrong = {
        path.name: names
        for folder in ("macros", "tests/dbt/generic")
        for path in sql_files(folder)
        if not is_one_thing(path.stem, names := definitions(path.read_text(encoding="utf-8")))
    }

    assert not wrong, "one macro per file, file name = macro name"


def test_each_file_says_what_its_macro_is_for(sql_files):
    silent = [p.name for p in sql_files("macros") if not COMMENT.match(p.read_text("utf-8"))]

    assert not silent, "start the file with a {# comment #}"


def definitions(sql: str) -> list[str]:
    """The names as dbt calls them: `{% test x() %}` is the macro `test_x`."""
    return [f"test_{name}" if kind == "test" else name for kind, name in DEFINITION.findall(sql)]


def is_one_thing(stem: str, names: list[str]) -> bool:
    """One macro, or one macro beside its implementations `default__stem`, `duckdb__stem`."""
    plain = [name for name in names if "__" not in name]
    return len(plain) <= 1 and {n.split("__", 1)[-1].removeprefix("test_") for n in names} == {
        stem.removeprefix("test_")
    }


@pytest.mark.parametrize(
    ("sql", "names"),
    [
        ("{% macro a(x) %}{% endmacro %}", ["a"]),
        ("{%- macro a() -%}{%- endmacro -%}\n{% macro _b() %}{% endmacro %}", ["a", "_b"]),
        ("{% materialization publish, adapter='duckdb' %}", ["publish"]),
        ("{% test not_late(model) %}", ["test_not_late"]),
    ],
)
def test_definitions_are_found(sql, names):
    assert definitions(sql) == names


@pytest.mark.parametrize(
    ("stem", "names", "expected"),
    [
        ("a", ["a"], True),
        ("a", ["a", "default__a"], True),
        ("a", ["duckdb__a"], True),
        ("a", ["test_a"], True),
        ("test_a", ["test_a"], True),
        ("a", ["a", "_b"], False),
        ("a", ["b"], False),
        ("a", ["a", "a"], False),
        ("a", [], False),
    ],
)
def test_implementations_per_adapter_belong_together(stem, names, expected):
    assert is_one_thing(stem, names) is expected
