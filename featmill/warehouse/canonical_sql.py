"""Canonical texts: two definitions that mean the same have one, whatever their layout, comments and keyword case.

Compiled SQL goes through sqlglot's syntax tree. Where that cannot be trusted with a text (it does not parse it, or a
name, string or number got lost on the way), its tokens are taken instead: then a spelling may count that need not,
which costs a correction and never hides one.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache

#: `timestamp '2026-01-31 00:00:00' /* featmill:as_of */`, as the macros as_of() and cut_off() write it.
_MOMENT = re.compile(r"timestamp\s+'[^']*'\s*/\* featmill:(as_of|cut_off) \*/", re.IGNORECASE)

_COMMENT = re.compile(r"--[^\n]*|/\*.*?\*/", re.DOTALL)
_JINJA = re.compile(r"\{[{%].*?[%}]\}", re.DOTALL)  # {{ ref('x') }} or {% set days = 7 %}

#: Token types whose text is the author's own, not a word of the language.
_OWN_WORDS = frozenset({"VAR", "IDENTIFIER", "STRING", "NUMBER"})


def with_moments(sql: str, as_of: str, cut_off: str) -> str:
    """Compiled SQL at other moments: the literals that as_of() and cut_off() wrote are replaced.

    Args:
        sql: compiled SQL.
        as_of: UTC timestamp text, such as `2026-01-31 00:00:00`.
        cut_off: the same.
    """
    texts = {"as_of": as_of, "cut_off": cut_off}

    def literal(found: re.Match[str]) -> str:
        name = found.group(1).lower()
        return f"timestamp '{texts[name]}' /* featmill:{name} */"

    return _MOMENT.sub(literal, sql)


def canonical_compiled(sql: str, names: Mapping[str, str]) -> str:
    """The canonical text of compiled SQL: no layout, comments, moments, places.

    Args:
        sql: what dbt compiled.
        names: relation as it stands in the SQL -> what to call it wherever it lies.
    """
    text = _MOMENT.sub(lambda found: f"featmill_{found.group(1).lower()}", sql)
    for relation in sorted(names, key=len, reverse=True):
        if relation in text:
            # As a whole: build.main.scans is no part of build.main.scans_late.
            name = f'"{names[relation]}"'.replace("\\", r"\\")
            text = re.sub(re.escape(relation) + r'(?![\w"])', name, text)
    return _canonical_tree(text)


def canonical_jinja(text: str) -> str:
    """Jinja SQL without layout and comments, other tokens as written.

    Jinja runs inside an SQL comment too, so whatever Jinja there is counts, wherever it stands. A text that the
    tokenizer refuses is folded by white space alone.
    """
    without_comments = re.sub(r"\{#.*?#\}", " ", text, flags=re.DOTALL)  # {# any #} -> nothing
    hidden = [block for comment in _COMMENT.findall(text) for block in _JINJA.findall(comment)]
    return " ".join(_tokens(part) for part in [without_comments, *hidden])


@lru_cache(maxsize=4096)
def _canonical_tree(text: str) -> str:
    import sqlglot
    from sqlglot import exp
    from sqlglot.errors import SqlglotError

    try:
        trees = [tree for tree in sqlglot.parse(text, dialect="duckdb") if tree is not None]
        if any(tree.find(exp.Command) is not None for tree in trees):
            return _tokens(text)
        written = "; ".join(tree.sql(dialect="duckdb", comments=False) for tree in trees)
        return written if _own_words(written) == _own_words(text) else _tokens(text)
    except (SqlglotError, RecursionError, ValueError):
        return _tokens(text)


def _own_words(text: str) -> Counter[tuple[str, str]]:
    """The names, strings and numbers of an SQL text; functions are left out, which have several names each."""
    from sqlglot.dialects.duckdb import DuckDB

    tokens = DuckDB().tokenize(text)
    following = [*(token.token_type.name for token in tokens[1:]), ""]
    return Counter(
        ("NAME" if token.token_type.name in ("VAR", "IDENTIFIER") else "VALUE", token.text.lower())
        for token, after in zip(tokens, following, strict=True)
        if token.token_type.name in _OWN_WORDS and after != "L_PAREN"
    )


def _tokens(text: str) -> str:
    from sqlglot.dialects.duckdb import DuckDB
    from sqlglot.errors import TokenError

    try:
        tokens = DuckDB().tokenize(text)
    except TokenError:
        return " ".join(text.split())
    return " ".join(
        f"{token.token_type.name}:"
        f"{token.text if token.token_type.name in _OWN_WORDS else token.text.upper()}"
        for token in tokens
    )
