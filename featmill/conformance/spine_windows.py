"""Window cases at the spine's own times: the range join in SQL, and the kernel over sorted events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from featmill.conformance.case import Case
from featmill.conformance.verdict import Answer, Broken, Inexpressible, Refused, Rows
from featmill.conformance.windows import STATUS, declared_features, feature_names
from featmill.errors import FeatmillError, KernelRefused
from featmill.training.windows_at import How, windows_of
from featmill.warehouse.columns import literal

if TYPE_CHECKING:
    import duckdb

    from featmill.training.windows_at import Engine

_VIEW = "view"
_UNDECLARED: dict[str, Any] = {
    "default": None,
    "scale": None,
    "n": None,
    "calendar": None,
    "zone": None,
    "window": None,
    "hop": "exact",
    "delay": "0s",
    "value": None,
    "of": None,
    "where": None,
}


class SpineWindows:
    """Each window evaluated at exactly each spine row's time, by one engine of `training.windows_at`."""

    def __init__(self, name: str, engine: Engine) -> None:
        self.name = name
        self._engine: Engine = engine

    def answer(self, case: Case) -> Answer:
        """The values and the status at each spine row."""
        import duckdb

        if case.kind != "window":
            return Inexpressible(f"not a {case.kind}")
        with duckdb.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            try:
                return self._evaluated(connection, case)
            except KernelRefused as refused:
                return Inexpressible(refused.message)
            except FeatmillError as error:
                return Refused(type(error).__name__, error.message)
            except duckdb.Error as error:
                return Broken(str(error))

    def _evaluated(self, connection: duckdb.DuckDBPyConnection, case: Case) -> Rows:
        connection.execute(f"CREATE TABLE given AS {case.tables['events'].sql()}")
        declared = case.declaration
        cut_off = declared.get("cut_off")
        known = "true" if cut_off is None else f"ingested_at <= {literal(cut_off)}::TIMESTAMP"
        view = {
            "name": _VIEW,
            "keys": list(declared["keys"]),
            "events": f"(SELECT * FROM given WHERE {known})",
            "event_at": "event_at",
            "ingested_at": "ingested_at",
            "event_id": "event_id",
            "features": [{**_UNDECLARED, **feature} for feature in declared_features(case)],
        }
        spine = (case.tables["spine"].sql(), "t")
        found = windows_of(connection, spine, view, How(self._engine, status=True))
        table = found.reader().read_all()
        names = feature_names(case)
        wanted = [f"{_VIEW}__{name}" for name in (*names, "status")]
        rows = list(zip(*(table.column(name).to_pylist() for name in wanted), strict=True))
        return Rows((*names, STATUS), rows, list(range(len(rows))))
