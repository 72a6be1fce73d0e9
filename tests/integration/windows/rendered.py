"""The windows macros rendered outside dbt, so that a property test need not start it for each example."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from functools import cache
from hashlib import md5
from types import SimpleNamespace
from typing import Any

from jinja2 import Environment, StrictUndefined

from tests.conftest import REPOSITORY

#: folder -> macros: all that a feature table's SQL is made of, except what asks dbt or a database.
_MACROS = {
    "contract": ("_literal", "_microseconds", "_feature_table"),
    "events": (
        "_says_zone",
        "_with_id",
        "deduplicated",
        "refusal",
        "utc",
        "whole_number",
        "without_zone",
    ),
    "windows": (
        "_aggregate",
        "_aggregate_plan",
        "_aggregate_value",
        "_declared_windows",
        "_finished_column",
        "_is_tiled",
        "_merged_ends",
        "_merged_tiles",
        "_quoted",
        "_retile_sql",
        "_require_aggregate",
        "_tile_plan",
        "_tile_start",
        "_tile_width",
        "_tiled_column",
        "_tiled_windows",
        "_tiles_bookmark",
        "_tiles_fit",
        "_tiles_sql",
        "_touched_tiles",
        "_untiled_windows",
        "_window_edges",
        "_window_filter",
        "_windowed_column",
        "_windows_of_tiles",
        "calendar_start",
        "in_calendar",
        "in_window",
        "window_start",
        "windows",
    ),
}


class CompilerError(Exception):
    """What dbt's `exceptions.raise_compiler_error` raises."""


class _Returned(Exception):
    """dbt's `return` leaves a macro by an exception too."""

    def __init__(self, value: Any) -> None:
        super().__init__()
        self.value = value


def macros(**stubs: Callable[..., Any]) -> SimpleNamespace:
    """The `featmill` namespace as dbt's Jinja sees it; `stubs` stand for what a run decides.

    There is one: the stubs of an earlier call are replaced.
    """
    namespace = _compiled()
    vars(namespace).update(stubs)
    return namespace


@cache
def _compiled() -> SimpleNamespace:
    namespace = SimpleNamespace(_require_exact_states=lambda *_: "", _pin_events=lambda *_: "")
    environment = Environment(
        undefined=StrictUndefined, extensions=["jinja2.ext.do"], autoescape=False
    )
    environment.globals |= {
        "exceptions": SimpleNamespace(raise_compiler_error=_refuse),
        "execute": True,
        "featmill": namespace,
        "local_md5": lambda text: md5(text.encode(), usedforsecurity=False).hexdigest(),
        "modules": SimpleNamespace(re=re),
        "return": _leave,
        "run_query": lambda sql: namespace.run_query(sql),
        "tojson": json.dumps,
    }
    for folder, names in _MACROS.items():
        for name in names:
            text = (REPOSITORY / "macros" / folder / f"{name}.sql").read_text(encoding="utf-8")
            # Jinja does not export names that begin with an underscore.
            template = environment.from_string(text + "{% set exported = " + name + " %}").module
            setattr(namespace, name, _returning(vars(template)["exported"]))
    return namespace


def _leave(value: Any) -> None:
    raise _Returned(value)


def _refuse(message: str) -> None:
    raise CompilerError(message)


def _returning(macro: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        try:
            return str(macro(*args, **kwargs))
        except _Returned as returned:
            return returned.value

    return call
