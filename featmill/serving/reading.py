"""How one request becomes an answer, without any input or output: a generator of what to send, fed with the replies.

The blocking reader and the asynchronous one drive the same steps, so they cannot differ in what they answer.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from featmill.errors import EncodingError, OnlineError
from featmill.online.serving_state import Serving, parse_state, serving_key
from featmill.serving.answer import Status
from featmill.serving.assemble import Found, assemble
from featmill.serving.breaker import Breaker
from featmill.serving.row_cache import RowCache
from featmill.serving.store.commands import GroupCommands, Part, bulk, node_of, routed
from featmill.serving.store.failures import SlotMoved, StoreEmpty, StoreLost

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from featmill.serving.answer import FeatureVectors
    from featmill.serving.asked import Asked
    from featmill.serving.assemble import Row
    from featmill.serving.plan import KeyGroup, ServicePlan
    from featmill.serving.read_counts import ReadCounts

    Parts = Sequence[Part]
    Replies = list[list[Any]]
    #: The node of a Redis key; None while there is only one node.
    Router = Callable[[bytes], int] | None

#: What serves may move while it is read; more often than this in one read, and something else is wrong.
_ATTEMPTS = 4

#: A reader that answers from memory alone asks this often, in seconds, whether what serves has moved; and this often
#: where the server tells, since a connection can be lost without a word.
_CHECK_EVERY = 0.25
_CHECK_TOLD = 5.0

#: What the rows of an answer without the store are, if they are there: see `Found`.
_FRESH, _STALE, _UNKNOWN = (
    bytes((status,)) for status in (Status.OK, Status.STALE, Status.DEFAULT)
)

#: Sent instead of commands: ask the store again for its nodes.
REFRESH: tuple[Part, ...] = ()


class Pointer:
    """What one Feast project serves, as far as this reader knows."""

    def __init__(self, project: str) -> None:
        self.project = project
        self.key = serving_key(project)
        self.serving: Serving | None = None
        self.checked_at = float("-inf")
        self.told_since: float | None = None
        self.version_command = b"*3\r\n$4\r\nHGET\r\n%b$7\r\nversion\r\n" % bulk(self.key)
        self.state_command = b"*4\r\n$5\r\nHMGET\r\n%b$7\r\nversion\r\n$5\r\nstate\r\n" % bulk(
            self.key
        )

    def is_known(self, now: float) -> bool:
        """Whether what serves was asked for recently enough to answer without asking again."""
        if self.serving is None:
            return False
        is_told = self.told_since is not None and self.checked_at >= self.told_since
        return now - self.checked_at < (_CHECK_TOLD if is_told else _CHECK_EVERY)

    def asking(self, router: Router) -> Part:
        """What asks for what serves.

        Raises:
            SlotMoved: no node holds the key.
        """
        return Part(0 if router is None else node_of(router, self.key), self.state_command, 1)

    def learn(self, reply: Sequence[bytes | None]) -> Serving:
        """Take what `state_command` was answered with.

        Raises:
            StoreEmpty: nothing serves.
            StoreLost: what serves cannot be read.
        """
        version, data = reply
        if version is None or data is None:
            self.serving = None
            raise StoreEmpty(self.project)
        try:
            self.serving = Serving(version, parse_state(self.project, data))
        except OnlineError as error:
            raise StoreLost("unreachable", error.message) from error
        return self.serving


@dataclass(slots=True)
class ReadService:
    """A service of a reader: its plan, and what is remembered between requests."""

    plan: ServicePlan
    pointer: Pointer
    breaker: Breaker
    cache: RowCache | None
    clock: Callable[[], float]
    deadline: float
    counts: ReadCounts
    problem: str | None = None
    answered: bool | None = None
    _commands: tuple[str, tuple[GroupCommands, ...]] = ("", ())

    @classmethod
    def of(
        cls, plan: ServicePlan, pointer: Pointer, clock: Callable[[], float], counts: ReadCounts
    ) -> ReadService:
        """Begin without memory."""
        policy = plan.policy
        breaker = Breaker(plan.name, policy.failures, policy.pause.total_seconds(), clock=clock)
        cache = RowCache(policy, clock=clock) if RowCache.is_wanted(policy) else None
        return cls(plan, pointer, breaker, cache, clock, policy.deadline.total_seconds(), counts)

    def commands(self, rows_project: str) -> tuple[GroupCommands, ...]:
        """The commands of each key group for the rows that serve."""
        if self._commands[0] != rows_project:
            made = tuple(GroupCommands.of(group, rows_project) for group in self.plan.groups)
            self._commands = (rows_project, made)
        return self._commands[1]


def answering(
    service: ReadService, asked: Asked, as_of: datetime, router: Router
) -> Generator[Parts, Replies, FeatureVectors]:
    """The steps of one request: yields what to send to which node, is sent the replies, returns the answer.

    The driver throws a `StoreLost` in where it could not send or was not answered in time. Yields `REFRESH` where the
    nodes have to be asked for again.
    """
    memory = _Memory(service, asked)
    if memory.is_enough:
        return assemble(service.plan, asked, memory.found(None), as_of)
    reason = "breaker_open"
    if service.breaker.admits():
        try:
            found = yield from _from_store(service, memory, router)
            answer = assemble(service.plan, asked, found, as_of)
        except StoreEmpty as lost:
            service.breaker.succeeded()
            service.problem, reason = lost.problem, lost.reason
        except StoreLost as lost:
            if lost.counts:
                service.breaker.failed(lost)
                service.answered = False
            service.problem, reason = lost.problem, lost.reason
        except EncodingError as error:
            # What the store holds is not what the plan was compiled for: no value is better than a wrong one.
            service.breaker.succeeded()
            service.problem, reason = error.message, "unreadable"
        else:
            service.breaker.succeeded()
            service.problem, service.answered = None, True
            return answer
    return assemble(service.plan, asked, memory.found(reason), as_of)


def _from_store(
    service: ReadService, memory: _Memory, router: Router
) -> Generator[Parts, Replies, Found]:
    """Read what memory lacks, all of one version of what serves (rule 21)."""
    pointer = service.pointer
    moved: StoreLost = StoreLost("deadline", "what serves kept moving while it was read")
    for _ in range(_ATTEMPTS):
        try:
            serving = pointer.serving
            if serving is None:
                service.counts.sent(1)
                ((reply,),) = yield (pointer.asking(router),)
                _check_replies((reply,))
                serving = pointer.learn(reply)
            wanted = memory.wanted(serving.version)
            rows, version = yield from _exchange(service, serving, wanted, router)
        except SlotMoved as error:
            moved = error
            yield REFRESH
            continue
        if version == serving.version:
            pointer.checked_at = service.clock()
            memory.take(serving, wanted, rows)
            return memory.found(None)
        if pointer.serving is serving:
            pointer.serving = None
        if version is None:
            raise StoreEmpty(pointer.project)
    raise moved


def _exchange(
    service: ReadService,
    serving: Serving,
    wanted: Sequence[Sequence[bytes]],
    router: Router,
) -> Generator[Parts, Replies, tuple[list[list[Row]], bytes | None]]:
    """One round trip: every row that is wanted, and last which version serves."""
    commands = service.commands(serving.state.rows_project)
    pointer = service.pointer
    if router is not None:
        trip = routed(commands, wanted, pointer, router)
        service.counts.sent(len(trip.parts))
        replies = yield trip.parts
        for part in replies:
            _check_replies(part)
        return trip.rows(replies)
    payload = b"".join([made.of_all(stems) for made, stems in zip(commands, wanted, strict=True)])
    counts = [len(stems) for stems in wanted]
    service.counts.sent(1)
    (flat,) = yield (Part(0, payload + pointer.version_command, sum(counts) + 1),)
    _check_replies(flat)
    version: bytes | None = flat.pop()
    rows: list[list[Row]] = []
    start = 0
    for count in counts:
        rows.append(flat[start : start + count])
        start += count
    return rows, version


def _check_replies(replies: Sequence[Any]) -> None:
    for reply in replies:
        if isinstance(reply, Exception):
            said = str(reply)
            if said.startswith(("MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN")):
                raise SlotMoved("unreachable", said)
            raise StoreLost("unreachable", f"the store refused a command: {said}")


class _Memory:
    """The rows of one request: those of memory first, then what was read beside them."""

    def __init__(self, service: ReadService, asked: Asked) -> None:
        self._service = service
        self._stems = [entities.stems for entities in asked.entities]
        self._rows: list[list[Row | None]] | None = None
        self._serving: Serving | None = None
        self._hits = self._absent = 0
        self.is_enough = False
        pointer = service.pointer
        if service.cache is None or pointer.serving is None:
            return
        self._look(service.cache, pointer.serving)
        self.is_enough = pointer.is_known(service.clock()) and self._is_whole()

    def _is_whole(self) -> bool:
        return self._rows is not None and not any(None in rows for rows in self._rows)

    def wanted(self, version: bytes) -> list[list[bytes]]:
        """The entities to read, by key group."""
        if self._rows is None or self._serving is None or self._serving.version != version:
            self._rows = None
            self._hits = self._absent = 0
            return self._stems
        return [
            [stem for stem, row in zip(stems, rows, strict=True) if row is None]
            for stems, rows in zip(self._stems, self._rows, strict=True)
        ]

    def take(self, serving: Serving, wanted: Sequence[list[bytes]], rows: list[list[Row]]) -> None:
        """Take what was read of `wanted`, and remember it."""
        cache = self._service.cache
        if cache is not None:
            for group, (stems, read) in enumerate(zip(wanted, rows, strict=True)):
                times = self._service.plan.groups[group].times
                there = [(row, any(row[at] is not None for at in times)) for row in read]
                partly = {
                    stem
                    for stem, row in zip(stems, read, strict=True)
                    if any(row[at] is None for at in times)
                }
                cache.keep(serving, group, stems, there, partly=partly)
        self._serving = serving
        if self._rows is None:
            self._rows = [[*read] for read in rows] if cache is not None else cast("Any", rows)
            return
        for known, read in zip(self._rows, rows, strict=True):
            rest = iter(read)
            known[:] = [next(rest) if row is None else row for row in known]

    def found(self, degraded: str | None) -> Found:
        """What is known now; with `degraded`, what of it is stale and what is not known at all."""
        serving = self._serving
        if degraded is not None:
            return self._degraded(degraded)
        rows = cast("list[Sequence[Row]]", self._rows)
        if self._service.cache is not None:
            misses = sum(map(len, rows)) - self._hits - self._absent
            self._service.counts.rows(hits=self._hits, negative_hits=self._absent, misses=misses)
        return Found(rows, [None] * len(rows), None if serving is None else serving.state)

    def _look(self, cache: RowCache, serving: Serving) -> None:
        self._serving = serving
        found = [
            cache.fresh(serving.version, group, stems) for group, stems in enumerate(self._stems)
        ]
        self._rows = [remembered.rows for remembered in found]
        self._absent = sum(remembered.absent for remembered in found)
        known = sum(len(rows) - rows.count(None) for rows in self._rows)
        self._hits = known - self._absent

    def _degraded(self, reason: str) -> Found:
        """What memory holds: as it was where it is recent, else stale; and nothing of the rest."""
        cache, groups = self._service.cache, self._service.plan.groups
        remembered = None if cache is None else cache.serving
        if cache is None or remembered is None:
            if cache is not None:
                self._service.counts.rows(misses=sum(map(len, self._stems)))
            rows: list[list[Row]] = [
                [(None,) * len(group.fields)] * len(stems) for group, stems in self._each()
            ]
            return Found(list(rows), [_UNKNOWN * len(stems) for stems in self._stems], None, reason)
        found: list[Sequence[Row]] = []
        bases: list[bytes] = []
        absent = 0
        for number, stems in enumerate(self._stems):
            nothing = (None,) * len(groups[number].fields)
            fresh, known_absent = cache.fresh(remembered.version, number, stems)
            stale = cache.stale(number, stems)
            absent += known_absent
            either = [
                new if new is not None else old for new, old in zip(fresh, stale, strict=True)
            ]
            found.append([nothing if row is None else row for row in either])
            bases.append(
                b"".join(
                    _FRESH if new is not None else _UNKNOWN if old is None else _STALE
                    for new, old in zip(fresh, stale, strict=True)
                )
            )
        together = b"".join(bases)
        self._service.counts.rows(
            hits=together.count(_FRESH) - absent,
            negative_hits=absent,
            misses=together.count(_UNKNOWN),
            stale=together.count(_STALE),
        )
        return Found(found, list(bases), remembered.state, reason)

    def _each(self) -> Iterator[tuple[KeyGroup, list[bytes]]]:
        return zip(self._service.plan.groups, self._stems, strict=True)
