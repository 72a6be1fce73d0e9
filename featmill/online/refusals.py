"""What a server, a socket or redis-py says went wrong, as featmill's errors.

One table for both ways in: an error reply on the raw socket, and the exception that redis-py makes of one.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from featmill.errors import (
    AccessDenied,
    KeyTaken,
    NotPrimary,
    OnlineError,
    OnlineRefused,
    OnlineUnreachable,
    SlotsMoved,
    StoreFull,
    StoreNotReady,
    StoreUnsaved,
)
from featmill.online.tls import tls_problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from featmill.online.connection import OnlineTarget

_UNREACHABLE_HINT = (
    "start the server, or point FEATMILL_REDIS_URL at another; unset, featmill runs its own"
)
_AGAIN = "run the command again: it goes on from where it stopped"

#: The first word of an error reply: what it is, and what to do about it.
_REPLIES: dict[str, tuple[type[OnlineError], str]] = {
    "OOM": (StoreFull, "raise the server's maxmemory, or export fewer tables"),
    "READONLY": (
        NotPrimary,
        f"point FEATMILL_REDIS_URL at the primary, not at a replica; after a failover, {_AGAIN}",
    ),
    "NOAUTH": (AccessDenied, "put the user and password into FEATMILL_REDIS_URL"),
    "NOPERM": (
        AccessDenied,
        "grant the user the command: docs/how-to/connect-your-redis.md lists those of a writer and of a reader",
    ),
    "LOADING": (StoreNotReady, f"the server is still loading its data: wait, then {_AGAIN}"),
    "BUSY": (StoreNotReady, f"a script is running on the server: wait for its end, then {_AGAIN}"),
    "MASTERDOWN": (StoreNotReady, f"the replica has lost its primary: when there is one, {_AGAIN}"),
    "NOREPLICAS": (StoreNotReady, f"too few replicas (min-replicas-to-write); then {_AGAIN}"),
    "MISCONF": (StoreUnsaved, "look at the server's log: it cannot write to its disk"),
    "WRONGTYPE": (KeyTaken, "another program wrote the key: give featmill a database of its own"),
    "MOVED": (SlotsMoved, f"the cluster's slots moved: {_AGAIN}"),
    "ASK": (SlotsMoved, f"a slot is being migrated: {_AGAIN}"),
    "TRYAGAIN": (SlotsMoved, f"a slot is being migrated: {_AGAIN}"),
    "CLUSTERDOWN": (
        SlotsMoved,
        f"some of the cluster's slots have no node: when they do, {_AGAIN}",
    ),
}

_CLUSTER_HINT = "this server is one node of a cluster: write redis+cluster:// instead of redis://"


def refusal(target: OnlineTarget, reply: object) -> OnlineError:
    """The error for an error reply, with what to do about the usual ones."""
    word = str(reply).partition(" ")[0]
    kind, hint = _REPLIES.get(word, (OnlineRefused, None))
    if kind is SlotsMoved and not target.is_of_cluster:
        kind, hint = OnlineRefused, _CLUSTER_HINT
    return kind(f"{target.url} refused a command: {reply}", hint=hint)


def error_within(reply: object) -> Exception | None:
    """The first error reply in a reply: itself, or in an array such as EXEC's."""
    from hiredis import ReplyError

    if isinstance(reply, ReplyError):
        return reply
    if isinstance(reply, list):
        return next((found for part in reply if (found := error_within(part)) is not None), None)
    return None


@contextmanager
def translated_errors(target: OnlineTarget) -> Iterator[None]:
    """Turn what sockets and redis-py raise inside the block into featmill's errors.

    Raises:
        OnlineUnreachable: there is no server, it went away, or it refused the login.
        OnlineRefused: the server answered a command with an error.
    """
    from hiredis import HiredisError
    from redis import exceptions

    try:
        yield
    except (
        OSError,
        HiredisError,
        exceptions.RedisError,
        exceptions.RedisClusterException,
    ) as error:
        raise _translated(target, error) from error


def _translated(target: OnlineTarget, error: Exception) -> OnlineError:
    from redis import exceptions

    if isinstance(error, exceptions.RedisClusterException):
        return _of_cluster_client(target, error)
    code = getattr(error, "status_code", None)
    if isinstance(error, exceptions.AuthenticationError):
        return OnlineUnreachable(f"{target.url} refused the login: {error}", hint=_UNREACHABLE_HINT)
    if code in _REPLIES:
        return refusal(target, f"{code} {error}")
    if isinstance(error, exceptions.ResponseError):
        return refusal(target, error)
    problem = tls_problem(target, error)
    if problem is not None:
        return OnlineUnreachable(f"{target.url}: {problem[0]}", hint=problem[1])
    return OnlineUnreachable(
        f"no online store answers at {target.url}: {error}", hint=_UNREACHABLE_HINT
    )


def _of_cluster_client(target: OnlineTarget, error: Exception) -> OnlineError:
    """redis-py wraps what went wrong at the last node it asked."""
    from redis import exceptions

    cause = error.__cause__
    if isinstance(cause, (OSError, exceptions.RedisError)):
        return _translated(target, cause)
    if isinstance(error, exceptions.SlotNotCoveredError) or "not covered" in str(error):
        return refusal(target, f"CLUSTERDOWN {error}")
    return OnlineUnreachable(
        f"no cluster answers at {target.url}: {error}",
        hint="redis+cluster:// is for servers in cluster mode; write redis:// for a single one",
    )
