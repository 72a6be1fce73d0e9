"""GET /: a page for people. It brings everything with it and asks nobody else for anything."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from html import escape
from typing import TYPE_CHECKING, Any

from featmill import clock
from featmill.serving.http.readiness import readiness

if TYPE_CHECKING:
    from featmill.serving.http.served_services import OfferedService
    from featmill.serving.http.server_parts import ServerParts

_SECONDS = 5
_SERVING = ("project", "release", "features as of", "age", "promoted", "mode", "state")
_SNAPSHOTS = ("project", "view", "snapshot")
_SERVICES = ("service", "keys", "request fields", "features", "views")
#: On a narrow screen a row is a block of lines, each with its heading; on a wide one only these cells may be broken.
_LONG = frozenset({"release", "keys", "request fields", "views"})
_STYLE = """
:root { color-scheme: light dark; --ink: #1c2733; --faint: #5d6b7a; --line: #d9e0e7; --ground: #fbfcfd; --card: #fff;
  --good: #17764a; --bad: #a4341c; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6ebf0; --faint: #98a6b4; --line: #31404e; --ground: #141b22;
  --card: #1b242d; --good: #5cc795; --bad: #f0896c; } }
body { margin: 0 auto; max-width: 66rem; padding: 2rem 1.25rem; background: var(--ground); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.4rem; margin: 0; } h2 { font-size: 1.05rem; margin: 2rem 0 .5rem; }
p { margin: .25rem 0; color: var(--faint); }
.word { font-weight: 600; } .ready { color: var(--good); } .other { color: var(--bad); }
.scroll { overflow-x: auto; background: var(--card); border: 1px solid var(--line); border-radius: .5rem; }
table { border-collapse: collapse; width: 100%; } th, td { padding: .45rem .8rem; text-align: left; white-space: nowrap;
  vertical-align: top; border-bottom: 1px solid var(--line); } tr:last-child td { border-bottom: 0; }
th { color: var(--faint); font-weight: 500; font-size: .85rem; } td { font-variant-numeric: tabular-nums; }
td.long { white-space: normal; }
@media (max-width: 68rem) { tr:first-child { display: none; } tr, td { display: block; }
  tr { padding: .5rem 0; border-bottom: 1px solid var(--line); } tr:last-child { border-bottom: 0; }
  td { border: 0; padding: .1rem .8rem .1rem 8.5rem; text-indent: -7.7rem; white-space: normal;
    overflow-wrap: anywhere; }
  td:empty { display: none; }
  td::before { content: attr(data-of); display: inline-block; width: 7.7rem; text-indent: 0; color: var(--faint);
    font-size: .85rem; } }
"""


async def status_page(parts: ServerParts, services: Mapping[str, OfferedService]) -> str:
    """The page; only these services are on it."""
    counts = None if parts.meters is None else parts.meters.requests()
    is_ready, said = await readiness(parts, services)
    now, colour = parts.moment(), "ready" if is_ready else "other"
    fixed = "" if parts.options.as_of is None else " (the clock is fixed there: --as-of)"
    problem = "" if said["problem"] is None else f": {escape(str(said['problem']))}"
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<meta http-equiv="refresh" content="{_SECONDS}"><title>featmill: {escape(parts.project)}</title>
<style>{_STYLE}</style></head><body>
<h1>{escape(parts.project)} <span class="word {colour}">{said["status"]}</span>{problem}</h1>
<p>At {_moment(now)}{fixed}, up for {_span(_since_start(parts))}, refreshed every {_SECONDS} s.</p>
<h2>What serves</h2>
{_table(_SERVING, _serving(said["serving"], now))}
<h2>Snapshots</h2>
{_table(_SNAPSHOTS, _snapshots(said["serving"]))}
<h2>Services</h2>
{_table((*_SERVICES, *(() if counts is None else ("answers",))), _services(services, counts))}
<p>{_links(("openapi.json", "services", *(() if counts is None else ("metrics",))))}</p>
</body></html>
"""


def _serving(
    serving: Mapping[str, Mapping[str, Any] | None], now: datetime
) -> Iterable[tuple[str, ...]]:
    for project, state in serving.items():
        if state is None:
            yield (project, "nothing was promoted", "", "", "", "", "")
            continue
        as_of, promoted = (datetime.fromisoformat(state[name]) for name in ("as_of", "promoted_at"))
        yield (
            project,
            state["release"],
            _moment(as_of),
            _span(now - as_of),
            _moment(promoted),
            state["mode"].replace("_", " "),
            "complete" if state["complete"] else "being replaced",
        )


def _snapshots(serving: Mapping[str, Mapping[str, Any] | None]) -> Iterable[tuple[str, ...]]:
    for project, state in serving.items():
        for view, snapshot in sorted(({} if state is None else state["snapshots"]).items()):
            yield project, view, snapshot or "being replaced"


def _services(
    services: Mapping[str, OfferedService], counts: Mapping[str, int] | None
) -> Iterable[tuple[str, ...]]:
    for name, service in services.items():
        yield (
            name,
            ", ".join(service.keys),
            ", ".join(service.request),
            f"{len(service.features):,}",
            ", ".join(service.views),
            *(() if counts is None else (f"{counts.get(name, 0):,}",)),
        )


def _since_start(parts: ServerParts) -> timedelta:
    return clock.now() - parts.started_at


def _table(headings: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    head = "".join(f"<th>{escape(heading)}</th>" for heading in headings)
    body = "".join(f"<tr>{''.join(map(_cell, headings, row))}</tr>" for row in rows)
    return f'<div class="scroll"><table><tr>{head}</tr>{body}</table></div>'


def _cell(heading: str, text: str) -> str:
    kind = ' class="long"' if heading in _LONG else ""
    return f'<td data-of="{heading}"{kind}>{escape(text)}</td>'


def _links(names: Iterable[str]) -> str:
    return " · ".join(f'<a href="/{name}">{name}</a>' for name in names)


def _moment(moment: datetime) -> str:
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _span(length: timedelta) -> str:
    seconds = max(int(length.total_seconds()), 0)
    days, rest = divmod(seconds, 86_400)
    hours, rest = divmod(rest, 3_600)
    minutes, rest = divmod(rest, 60)
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (rest, "s")]
    said = [f"{number} {unit}" for number, unit in parts if number]
    return " ".join(said[:2]) or "0 s"
