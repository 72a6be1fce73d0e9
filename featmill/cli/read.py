"""`featmill read`: a feature service's values as a model gets them, with the status and the age of each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from featmill.cli import console
from featmill.cli.console import ProjectDir
from featmill.errors import UsageError

if TYPE_CHECKING:
    from featmill.contract.catalog import Catalog
    from featmill.contract.types import FeatureType
    from featmill.serving.answer import FeatureVectors
    from featmill.serving.plan import ServicePlan

#: A person waits longer than a policy's deadline.
_PATIENCE = timedelta(seconds=5)


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(read)


def read(
    service: Annotated[str, typer.Argument(help="The feature service: an exposure `type: ml`.")],
    given: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME=VALUE[,VALUE]...",
            help="Each join key and request field, such as user_id=17 product_id=1,2,3; one value holds for all rows.",
        ),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(help="Judge the rows' ages at this moment; else now. It reads no older rows."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, in columns.")] = False,
    project_dir: ProjectDir = None,
) -> None:
    """Read a feature service from the online store, as a model does.

    What is read is what serves now. The policy's cache and deadline are left out: a person waits.
    """
    from featmill.online.server import online_target
    from featmill.serving.reader import FeatureReader
    from featmill.settings import load_settings
    from orchestration.tasks import load_catalog

    settings = load_settings(project_dir)
    catalog = patient(load_catalog(settings), service)
    moment = None if at is None else console.moment(at)
    with FeatureReader.open(catalog, online_target(settings), [service]) as reader:
        keys, sent = _sorted_out(reader.plans[service], given or [])
        answer = reader.read(service, keys, sent, as_of=moment)
        problem = reader.health().problem
    if as_json:
        typer.echo(json.dumps(answer.to_dict(), default=_plain, indent=2))
    else:
        show_answer(answer)
    if answer.degraded is not None:
        said = f"degraded: {answer.degraded}" + ("" if problem is None else f": {problem}")
        console.err.print(said, highlight=False, markup=False, soft_wrap=True)


def patient(catalog: Catalog, name: str) -> Catalog:
    """The service alone, read without its policy: a person waits, and wants what is in the store."""
    found = catalog.service(name)
    policy = found.policy.model_copy(
        update={"deadline": _PATIENCE, "cache_ttl": None, "negative_ttl": None, "stale_for": None}
    )
    return catalog.model_copy(update={"services": (found.model_copy(update={"policy": policy}),)})


def _sorted_out(plan: ServicePlan, given: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The join keys and the request fields, as their types want them."""
    texts = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise UsageError(
                f"{text} is not name=value", hint=f"{plan.name} takes: {', '.join(_taken(plan))}"
            )
        texts[name] = value
    types: dict[str, FeatureType] = {key.name: key.type for key in plan.keys}
    types |= {field.name: field.type for field in plan.service.request_fields}
    columns = {
        name: _column(name, text, types[name]) if name in types else text
        for name, text in texts.items()
    }
    sent = {name: columns.pop(name) for name in plan.request_names if name in columns}
    return columns, sent


def _taken(plan: ServicePlan) -> list[str]:
    return [*plan.key_names, *plan.request_names]


def _column(name: str, text: str, kind: FeatureType) -> Any:  # noqa: ANN401 - of the column's own type
    """A value, or the values that commas separate."""
    parts = text.split(",")
    try:
        values = [_value(part, kind) for part in parts]
    except ValueError:
        raise UsageError(f"{name}={text}: expected {kind.sql}") from None
    return values[0] if len(values) == 1 else values


def _value(text: str, kind: FeatureType) -> Any:  # noqa: ANN401 - of the column's own type
    if kind.kind in ("int32", "int64") and not kind.sql.startswith("TIMESTAMP"):
        return int(text)
    if kind.kind in ("float", "double"):
        return float(text)
    if kind.kind == "bool":
        return {"true": True, "false": False}[text] if text in ("true", "false") else _no_bool()
    return text.encode() if kind.kind == "bytes" else text


def _no_bool() -> bool:
    raise ValueError


def show_answer(answer: FeatureVectors) -> None:
    """Print every value with its status, its age and the snapshot it is of."""
    title = f"{answer.service} at {answer.as_of:%Y-%m-%d %H:%M:%S} UTC"
    listed = Table(title=title, title_justify="left")
    for heading in (*answer.keys, "feature", "value", "status", "age", "snapshot"):
        listed.add_column(heading, overflow="fold")
    ages = [answer.ages(view) for view in answer.views]
    for row, found in enumerate(answer.to_rows()):
        keys = [str(value) for value in found["keys"].values()]
        for name, view, (value, status) in zip(
            answer.names,
            answer.view_of,
            zip(found["values"].values(), found["statuses"].values(), strict=True),
            strict=True,
        ):
            age = "" if view is None else _age(ages[view][row])
            snapshot = "" if view is None else answer.views[view].snapshot or ""
            shown = "NULL" if value is None else str(value)
            listed.add_row(*keys, name, shown, status, age, snapshot)
    console.out.print(listed)


def _age(seconds: float | None) -> str:
    """As a person says it: the two greatest units."""
    if seconds is None:
        return ""
    left = int(abs(seconds))
    parts: list[str] = []
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        count, left = divmod(left, length)
        if count or (parts == [] and unit == "s"):
            parts.append(f"{count} {unit}")
    return ("-" if seconds < 0 else "") + " ".join(parts[:2])


def _plain(value: object) -> str:
    """What JSON has no form for: moments and days in ISO 8601, bytes in hexadecimal."""
    if isinstance(value, date):
        return value.isoformat()
    return value.hex() if isinstance(value, bytes) else str(value)
