"""Which rows serve: the generation that the store's pointer is on (rule 21)."""

from __future__ import annotations

from featmill.errors import OnlineError
from featmill.online.serving_state import parse_state, serving_key

#: Flips that one read follows before it gives up: it would take promotions as fast as reads.
MOST_FLIPS = 10

#: The pointer's field that says whether it has moved.
VERSION = "version"


class Pointer:
    """What is known of one Feast project's pointer: the version it was read at, and the rows it is on.

    A read asks for `version` after its rows. Where it is another than is known, `learn` takes what the pointer says
    now, and the rows are read again if they are others.
    """

    def __init__(self, project: str) -> None:
        self._project = project
        self.key = serving_key(project)
        # One tuple, replaced whole: threads read it while another learns.
        self._known: tuple[bytes | None, str] = (None, project)

    @property
    def known(self) -> tuple[bytes | None, str]:
        """The version, None where nothing was ever promoted, and the name that the rows' keys end with."""
        return self._known

    def learn(self, version: bytes | None, state: bytes | None) -> bool:
        """Take what the pointer says; whether it is on other rows than was known.

        Raises:
            OnlineError: the state cannot be read, or there was one and it is gone: a store that lost its rows would
                answer of every entity that it does not exist.
        """
        before = self._known[1]
        if version is None and self._known[0] is not None:
            raise OnlineError(
                f"the store does not know any more what serves of {self._project}: it lost its data",
                hint="featmill promote --again writes the release anew",
            )
        rows = self._project
        if version is not None and state is not None:
            rows = parse_state(self._project, state).rows_project
        self._known = (version, rows)
        return rows != before
