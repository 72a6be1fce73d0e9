"""The primary that sentinels name: asked for at every connection, and checked to be one.

A sentinel that was cut off names the old primary for a while. So a majority is asked, the newest configuration is
tried first, and a server counts only if it says itself that it is a primary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hiredis import ReplyError

from featmill.errors import AccessDenied, NotPrimary, OnlineError, OnlineUnreachable
from featmill.online.connection import ask
from featmill.online.refusals import refusal, translated_errors
from featmill.online.store_url import host_port

if TYPE_CHECKING:
    from featmill.online.connection import OnlineTarget

#: A sentinel answers from memory, and the others wait while one that is gone is waited for.
_PATIENCE = 3.0


@dataclass(frozen=True, slots=True)
class _Claim:
    """What one sentinel says: the greater the epoch, the newer the failover it knows of."""

    host: str
    port: int
    epoch: int


def primary_of(target: OnlineTarget, *, timeout: float = _PATIENCE) -> OnlineTarget:
    """The server that the sentinels name and that is a primary.

    Raises:
        NotPrimary: the servers they name are no primaries, or do not answer: a failover goes on.
        OnlineUnreachable: no sentinel answers, or none knows the service.
        AccessDenied: the user may not ask a server for its role.
    """
    patience = min(timeout, _PATIENCE)
    claims, problems = _claims(target, patience)
    if not claims:
        raise OnlineUnreachable(
            f"no sentinel of {target.url} names a primary: {'; '.join(problems)}",
            hint="the URL's path names the service, as in `sentinel monitor <service> ...`",
        )
    for claim in claims:
        server = target.server(claim.host, claim.port)
        problem = _why_not(server, patience)
        if problem is None:
            return server
        problems.append(problem)
    raise NotPrimary(
        f"the sentinels of {target.url} name no primary that serves: {'; '.join(problems)}",
        hint="a failover takes some seconds: then run the command again, it goes on from where it stopped",
    )


def _claims(target: OnlineTarget, patience: float) -> tuple[list[_Claim], list[str]]:
    """Whom a majority of the sentinels name, the newest first, each once; and who does not answer."""
    found: list[_Claim] = []
    problems: list[str] = []
    enough = len(target.hosts) // 2 + 1
    for host, port in target.hosts:
        sentinel = target.sentinel(host, port)
        try:
            found.append(_claim(sentinel, target.service, patience))
        except OnlineError as error:
            problems.append(error.message)
        if len(found) == enough:
            break
    newest: dict[tuple[str, int], _Claim] = {}
    for claim in sorted(found, key=lambda claim: -claim.epoch):
        newest.setdefault((claim.host, claim.port), claim)
    return list(newest.values()), problems


def _claim(sentinel: OnlineTarget, service: str, patience: float) -> _Claim:
    reply = _ask(sentinel, ["SENTINEL", "MASTER", service], patience)
    fields = dict(zip(reply[::2], reply[1::2], strict=False))
    return _Claim(
        host=fields[b"ip"].decode(),
        port=int(fields[b"port"]),
        epoch=int(fields.get(b"config-epoch", 0)),
    )


def _why_not(server: OnlineTarget, patience: float) -> str | None:
    """Why a server is not the primary; None if it is."""
    try:
        role = _ask(server, ["ROLE"], patience)[0].decode()
    except AccessDenied:
        raise  # it may be the primary, but we may not ask: that does not pass
    except OnlineError as error:
        return error.message
    if role == "master":
        return None
    return f"{host_port(server.host, server.port)} is a {'replica' if role == 'slave' else role}"


def _ask(server: OnlineTarget, command: list[str], patience: float) -> list[Any]:
    with translated_errors(server), server.connect(timeout=patience) as opened:
        reply = ask(opened, command)
    if isinstance(reply, ReplyError):
        raise refusal(server, reply)
    if not isinstance(reply, list):
        raise OnlineError(f"{server.url} answered {command[0]} with {reply!r}")
    return reply
