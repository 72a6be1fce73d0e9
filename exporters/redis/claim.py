"""Whose view it is: one run at a time writes it, and a newer promotion takes it from an older one (rule 21).

A run claims the view's live record by exchanging it for its own, in one command, and only if it is still the record
that it read. The record says through which connections its rows come. Who takes a view over from a run that has not
finished ends these connections first: what that run, slow, paused or cut off, has not sent by then never arrives.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from exporters.redis.job import key_names
from exporters.redis.retire import fields_of, retire_view
from featmill.errors import OnlineError, OnlineRefused
from featmill.online.live import (
    LiveState,
    parse_record,
    read_live,
    read_record_bytes,
    swap_record,
)
from featmill.online.pipeline import node_name
from featmill.online.refusals import translated_errors

if TYPE_CHECKING:
    from collections.abc import Mapping

    from exporters.redis.job import ExportJob
    from featmill.online.connection import OnlineTarget
    from featmill.online.live import LiveRecord
    from featmill.online.plan import ViewPlan
    from featmill.online.topology import Topology

#: Exchanges of the record with a run that claims it at the same time.
_TRIES = 20


@dataclass(frozen=True, slots=True)
class Found:
    """The live record as it was read; `record` is None where there is none, or none that is of use."""

    data: bytes | None
    record: LiveRecord | None


def find(target: OnlineTarget, job: ExportJob, plan: ViewPlan) -> Found:
    """What the store says of the view before the run.

    Raises:
        OnlineRefused: a newer promotion has it.
        OnlineUnreachable: the store does not answer.
        OnlineError: the record cannot be read, and the job does not force.
    """
    data = read_record_bytes(target, plan.project, plan.view)
    if data is None:
        return Found(None, None)
    try:
        record = parse_record(plan.view, data)
    except OnlineError:
        # A record that cannot be read is no reason not to write every row again.
        if job.force:
            return Found(data, None)
        raise
    if record.epoch > job.epoch:
        raise newer(plan, record, job.epoch)
    if record.keys not in ((), key_names(plan)):
        # Another version of the table with other join keys: none of its entities would be written over, and the
        # snapshots they came from have no column to find them by.
        others = read_live(target, plan.project)
        keep = {f for view in others if view != plan.view for f in fields_of(view, others[view])}
        retire_view(target, plan.project, plan.view, keep=keep)
        return Found(None, None)
    return Found(data, record)


def claim(topology: Topology, plan: ViewPlan, found: Found, record: LiveRecord) -> bool:
    """Put the run's own record in the place of what was found; False if that is not there any more.

    The connections of a run that has not finished are ended: one of an older promotion, or one of the same job that
    was given up. Of two jobs of one promotion neither is the newer; they find each other by their marks.

    Raises:
        OnlineUnreachable: the store does not answer.
        OnlineRefused: the store refused the command.
    """
    if not swap_record(topology.target, plan.project, plan.view, found.data, record):
        return False
    other = found.record
    if other is not None and not other.is_complete:
        is_same_job = (other.snapshot_id, other.content) == (record.snapshot_id, record.content)
        if record.epoch > other.epoch or is_same_job:
            end_connections(topology, other.clients)
    return True


def end_connections(topology: Topology, clients: Mapping[str, int]) -> None:
    """End the connections that a run writes through, by server; a server that does not allow it leaves them.

    A run that goes on all the same finds at its next mark that the view is not its own, and says so in the record. A
    server that was started anew may have given a number to somebody else, who has to connect again then.

    Raises:
        OnlineUnreachable: a node does not answer.
    """
    from redis.exceptions import NoPermissionError, ResponseError

    for node in topology.nodes:
        number = clients.get(node_name(node))
        if number is None:
            continue
        with translated_errors(node), node.client() as client:
            try:
                client.client_kill_filter(_id=str(number))
            except (NoPermissionError, ResponseError):
                continue


def disown(target: OnlineTarget, plan: ViewPlan, own: LiveRecord) -> LiveRecord | None:
    """Say that no row is known to be there, as two runs wrote at once; returns the record of the other run.

    The other one finds the record changed at its next mark, and stops too. Nothing is said where the record is still
    the run's own.

    Raises:
        OnlineUnreachable: the store does not answer.
        OnlineRefused: the record changes all the time.
        OnlineError: the record cannot be read.
    """
    for _ in range(_TRIES):
        data = read_record_bytes(target, plan.project, plan.view)
        if data is None:
            return None
        other = parse_record(plan.view, data)
        if other.writer == own.writer:
            return None
        if swap_record(target, plan.project, plan.view, data, _doubted(other, own)):
            return other
    raise OnlineRefused(f"the live record of {plan.view} does not stay the same for a moment")


def _doubted(other: LiveRecord, own: LiveRecord) -> LiveRecord:
    """The other run's record with what our rows may have left there."""
    features = (*other.dropped, *own.features, *own.dropped)
    return other.model_copy(
        update={
            "state": LiveState.WRITING,
            "position": 0,
            "base": None,
            "differing": None,
            "writer": uuid.uuid4().hex,
            "replaces": tuple(dict.fromkeys((*other.replaces, *own.replaces, *own.holds))),
            "dropped": tuple(f for f in dict.fromkeys(features) if f not in other.features),
            "finished_at": None,
        }
    )


def newer(plan: ViewPlan, record: LiveRecord, epoch: int) -> OnlineRefused:
    """The refusal of a run whose view a newer promotion has."""
    return OnlineRefused(
        f"{plan.view} belongs to promotion {record.epoch} (release {record.release_id}), which is newer than {epoch}",
        hint="a newer promotion or rollback serves; featmill live shows which",
    )
