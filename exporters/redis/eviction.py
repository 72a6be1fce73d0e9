"""Whether the store may drop rows by itself when its memory is full: a warning, for nobody else would say so."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from featmill.errors import AccessDenied
from featmill.online.refusals import translated_errors

if TYPE_CHECKING:
    from exporters.redis.job import ExportJob
    from featmill.online.connection import OnlineTarget
    from featmill.online.topology import Topology

LOG = logging.getLogger(__name__)


def warn_of_eviction(topology: Topology, job: ExportJob) -> None:
    """Warn where a server's `maxmemory-policy` lets it drop the job's rows, or what is known of them.

    Nothing is refused: a server may be used so on purpose, and what it dropped is `missing`, never wrong.

    Raises:
        OnlineUnreachable: a server does not answer.
    """
    for node in topology.nodes:
        policy = policy_of(node)
        # `volatile` drops only keys that expire: without an expiry there are none of ours.
        if policy.startswith("allkeys") or (policy.startswith("volatile") and job.expiry):
            LOG.warning(
                "%s has maxmemory-policy %s: with its memory full it drops rows of %s, which are missing then; "
                "set noeviction, or volatile-* and no FEATMILL_ONLINE_EXPIRY",
                node.url,
                policy,
                job.table.name,
            )


def policy_of(node: OnlineTarget) -> str:
    """The server's policy; empty where its memory has no bound, or the user may not ask.

    Raises:
        OnlineUnreachable: it does not answer.
    """
    try:
        with translated_errors(node), node.client() as client:
            memory = client.info("memory")
    except AccessDenied:
        return ""
    return str(memory.get("maxmemory_policy", "")) if memory.get("maxmemory") else ""
