"""The bytes that ask for rows, made of pieces that are known before the request."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from featmill.errors import OnlineError
from featmill.online.row_bytes import CRLF, bulk
from featmill.serving.store.failures import SlotMoved

if TYPE_CHECKING:
    from featmill.serving.assemble import Row
    from featmill.serving.plan import KeyGroup
    from featmill.serving.reading import Pointer

__all__ = ["GroupCommands", "Part", "RoutedTrip", "bulk", "node_of", "routed"]


class Part(NamedTuple):
    """What goes to one node in one write: bytes that hold `replies` commands."""

    node: int
    payload: bytes
    replies: int


@dataclass(frozen=True, slots=True)
class GroupCommands:
    """One HMGET an entity of a key group.

    `tail` is the project's name, which ends every Redis key, and the fields. `width` is the length of every Redis key,
    None where it differs.
    """

    head: bytes
    tail: bytes
    suffix: bytes
    width: int | None

    @classmethod
    def of(cls, group: KeyGroup, rows_project: str) -> GroupCommands:
        """For the rows of one rows project."""
        suffix = rows_project.encode()
        head = b"*%d\r\n$5\r\nHMGET\r\n" % (2 + len(group.fields))
        width = None if group.width is None else group.width + len(suffix)
        if width is not None:
            head += b"$%d\r\n" % width
        tail = suffix + CRLF + b"".join(bulk(field) for field in group.fields)
        return cls(head, tail, suffix, width)

    def of_all(self, stems: Sequence[bytes]) -> bytes:
        """The commands of some entities, in order."""
        if not stems:
            return b""
        if self.width is not None:
            return self.head + (self.tail + self.head).join(stems) + self.tail
        head, tail, more = self.head, self.tail, len(self.suffix)
        return b"".join([b"%b$%d\r\n%b%b" % (head, len(stem) + more, stem, tail) for stem in stems])


@dataclass(frozen=True, slots=True)
class RoutedTrip:
    """A round trip to several nodes, and whose reply is whose.

    `places` says of each part's replies which group and which entity they are of; the version is the last of `last`.
    """

    parts: tuple[Part, ...]
    places: tuple[list[tuple[int, int]], ...]
    counts: tuple[int, ...]
    last: int

    def rows(self, replies: Sequence[list[Any]]) -> tuple[list[list[Row]], bytes | None]:
        """The rows of each group in order, and the version that serves."""
        found: list[list[Any]] = [[None] * count for count in self.counts]
        for places, part in zip(self.places, replies, strict=True):
            for (group, at), row in zip(places, part, strict=False):
                found[group][at] = row
        return found, replies[self.last][-1]


def routed(
    commands: Sequence[GroupCommands],
    wanted: Sequence[Sequence[bytes]],
    pointer: Pointer,
    router: Callable[[bytes], int],
) -> RoutedTrip:
    """Each entity's command for the node that holds it; the version is asked of its own node, last.

    Raises:
        SlotMoved: some key has no node.
    """
    payloads: dict[int, list[bytes]] = {}
    places: dict[int, list[tuple[int, int]]] = {}
    for group, (made, stems) in enumerate(zip(commands, wanted, strict=True)):
        for at, stem in enumerate(stems):
            node = node_of(router, stem + made.suffix)
            payloads.setdefault(node, []).append(made.of_all((stem,)))
            places.setdefault(node, []).append((group, at))
    home = node_of(router, pointer.key)
    payloads.setdefault(home, []).append(pointer.version_command)
    places.setdefault(home, [])
    nodes = list(payloads)
    parts = tuple(Part(node, b"".join(payloads[node]), len(payloads[node])) for node in nodes)
    whose = tuple(places[node] for node in nodes)
    return RoutedTrip(parts, whose, tuple(len(stems) for stems in wanted), nodes.index(home))


def node_of(router: Callable[[bytes], int], key: bytes) -> int:
    """The node that holds a key.

    Raises:
        SlotMoved: none does, at the moment.
    """
    try:
        return router(key)
    except OnlineError as error:
        raise SlotMoved("unreachable", error.message) from error
