"""The table of aggregates on the page about windows, read off the macro.

`python -m tests.integration.windows.aggregate_table` prints it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import Any

from featmill.contract.declarations import AGGREGATES
from tests.conftest import REPOSITORY
from tests.integration.windows.rendered import macros

PAGE = REPOSITORY / "docs" / "explanation" / "windows.md"
_HEAD = "| aggregate | state, over event rows | merge of states | finalise | merges exactly |\n|---|---|---|---|---|\n"


def written() -> str:
    """The table as it stands on the page."""
    text = PAGE.read_text(encoding="utf-8")
    return text[text.index(_HEAD) : text.index("\n\n", text.index(_HEAD)) + 1]


def table() -> str:
    """The table as the macro has it, for `value: v`, `of: w`, `n: 3`."""
    return _HEAD + "".join(f"| {' | '.join(_row(aggregate))} |\n" for aggregate in AGGREGATES)


def _row(aggregate: str) -> Iterator[str]:
    feature: dict[str, Any] = {"name": "x", "aggregate": aggregate, "value": "v", "of": "w", "n": 3}
    plan = macros()._aggregate_plan(feature | {"data_type": "bigint"}, "place", "t")
    where = f" where {plan['where']}" if plan["where"] else ""
    yield f"`{aggregate}`"
    yield ", ".join(f"{s['name']} = `{_plain(s['of'])}`" for s in plan["states"]) + _plain(where)
    yield ", ".join(
        dict.fromkeys(f"`{s['settle'].format(s['merge'].format('s'))}`" for s in plan["states"])
    )
    yield f"`{plan['finalise'].format(**{s['name']: s['name'] for s in plan['states']})}`"
    yield "yes" if plan["exact"] else "no"


def _plain(sql: str) -> str:
    """A value stands in brackets, which a plain column needs only where they are a call's."""
    return re.sub(r"(?<!\w)\(([vw])\)", r"\1", sql)


if __name__ == "__main__":
    sys.stdout.write(table())
