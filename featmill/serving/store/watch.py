"""Being told that what serves has moved, where the server can (RESP3, `CLIENT TRACKING`).

The server pushes a message on the connection that reads go over when the pointer is written. A reader that answers from
memory then need not ask. It is help and no more: a server that refuses, or a connection that is lost without a word,
leaves the version that every round trip asks for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from featmill.serving.store.commands import bulk

if TYPE_CHECKING:
    from collections.abc import Callable

    from featmill.serving.reading import Pointer

HELLO = b"*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n"


class Watch:
    """The pointers of a reader, and whether they are told of."""

    def __init__(self, pointers: Sequence[Pointer], clock: Callable[[], float]) -> None:
        self._pointers = {pointer.key: pointer for pointer in pointers}
        self._clock = clock

    @property
    def command(self) -> bytes:
        """What asks the server to tell, on a connection that speaks RESP3."""
        words = [b"CLIENT", b"TRACKING", b"ON", b"BCAST"]
        for key in self._pointers:
            words += [b"PREFIX", key]
        return b"*%d\r\n%b" % (len(words), b"".join(bulk(word) for word in words))

    def begin(self) -> None:
        """From now on a change is told; one from before is not, so the next read still asks."""
        for pointer in self._pointers.values():
            pointer.told_since = self._clock()

    def end(self) -> None:
        """The connection is lost: nothing is told any more."""
        for pointer in self._pointers.values():
            pointer.told_since = None

    def take(self, push: Sequence[Any]) -> None:
        """Take a message of the server's."""
        if not push or push[0] != b"invalidate":
            return
        # Nothing instead of keys: everything was deleted.
        for key in self._pointers if push[1] is None else push[1]:
            if key in self._pointers:
                self._pointers[key].serving = None
