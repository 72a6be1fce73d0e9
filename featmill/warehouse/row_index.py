"""The row index of a released table: its rows sorted by key and time, mapped into memory, for lookups in bulk.

A folder beside the table, `<lake>/<tenant>/<table>/index/v<version>/<fingerprint>`, with a `header.json`, the sorted
`order` (one 64-bit number per row: key number x span + time), the keys, and the columns (see `row_index_columns`).
It is derived: made from one set of released snapshots, named by its fingerprint, used for exactly that set and never
required. It is written aside and renamed, so half an index never has an index's name.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featmill.errors import IndexUnusable
from featmill.warehouse.row_index_columns import IndexFiles

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from featmill.warehouse.model import Snapshot

FORMAT = 1
HEADER = "header.json"
#: What is said of a table that has no index at all.
ABSENT = "none was built"
#: `order` numbers stay below this, so that one more span fits into 64 bits.
MOST = 2**62


@dataclass(frozen=True, slots=True)
class KeyColumn:
    """A join key: its distinct values are stored in order; `kind` is `integer` (int64) or `text`."""

    name: str
    kind: str
    distinct: int


@dataclass(frozen=True, slots=True)
class Header:
    """What an index says of itself.

    `span` and `first` (the earliest time, microseconds since the epoch) make up a row's number: key x span + (time -
    first), or where `moments` is set, the rank of its time among that many distinct ones. `pairs` has, for each key
    column after the first, how many distinct combinations there are up to it. `sums` are the files' byte sums.
    """

    format: int
    fingerprint: str
    table: str
    snapshots: tuple[str, ...]
    rows: int
    keys: tuple[KeyColumn, ...]
    pairs: tuple[int, ...]
    event_time: str
    first: int
    last: int
    span: int
    moments: int | None
    columns: dict[str, tuple[str, ...]]
    sums: dict[str, int]

    @property
    def distinct_keys(self) -> int:
        """How many keys have rows."""
        return self.pairs[-1] if self.pairs else self.keys[0].distinct


def fingerprint(snapshots: Sequence[Snapshot], relation: str) -> str:
    """What an index is of: the snapshots, and the files they are read from.

    `relation` is `lake.relation_sql` of them: erasure rewrites files under the same snapshot ids.
    """
    place = str(Path(snapshots[0].location).parent)
    said = [[s.snapshot_id, s.content_hash] for s in snapshots]
    text = json.dumps([FORMAT, said, relation.replace(place, "")])
    return hashlib.sha256(text.encode()).hexdigest()


def index_root(snapshots: Sequence[Snapshot]) -> Path:
    """The folder that holds the indexes of these snapshots' table and version."""
    location = Path(snapshots[0].location)
    return location.parent / "index" / location.name


def write_header(folder: Path, header: Header) -> None:
    """Write the header with its own sum: the last thing before an index gets its name."""
    said = json.loads(json.dumps(asdict(header)))
    whole = {"header": said, "sha256": _sum_of(said)}
    (folder / HEADER).write_text(json.dumps(whole, indent=2) + "\n", encoding="utf-8")


def _sum_of(said: object) -> str:
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class RowIndex:
    """An index that was checked: `order` strictly increases, and what is opened has the bytes that were written."""

    files: IndexFiles
    header: Header
    schema: pa.Schema
    order: np.ndarray[Any, Any]

    @property
    def folder(self) -> Path:
        """Where it lies."""
        return self.files.folder

    def key_values(self, position: int) -> pa.Array:
        """The distinct values of a key column in order: int64 or large_string."""
        import pyarrow as pa

        key = self.header.keys[position]
        kind = pa.int64() if key.kind == "integer" else pa.string()
        return self.files.column(f"key{position}", kind, key.distinct)

    def combinations(self, position: int) -> np.ndarray[Any, Any]:
        """The combinations that exist of the keys up to this column: combination before x distinct + value, sorted."""
        return self.files.numbers(f"pairs{position}", self.header.pairs[position - 1])

    def moments(self) -> np.ndarray[Any, Any]:
        """The distinct times, sorted; only where `header.moments` is set."""
        return self.files.numbers("moments", self.header.moments or 0)

    def column(self, name: str) -> pa.Array:
        """A feature's values in the order of the rows.

        Raises:
            IndexUnusable: there is no such column, or its files are broken.
        """
        if name not in self.header.columns:
            raise IndexUnusable(f"it has no column {name}")
        position = sorted(self.header.columns).index(name)
        kind = self.schema.field(name).type
        return self.files.column(f"column{position}", kind, self.header.rows)


def find_index(snapshots: Sequence[Snapshot], relation: str) -> RowIndex:
    """The index of exactly these snapshots.

    Raises:
        IndexUnusable: there is none; the message says whether it is absent, stale, foreign or broken.
    """
    root = index_root(snapshots)
    wanted = fingerprint(snapshots, relation)
    folder = root / wanted[:16]
    if not (folder / HEADER).is_file():
        others = [path.parent.name for path in root.glob(f"*/{HEADER}")]
        why = "stale: it is of other snapshots or files" if others else ABSENT
        raise IndexUnusable(why, hint="build it: featmill index")
    return _open(folder, wanted)


def _open(folder: Path, wanted: str) -> RowIndex:
    import pyarrow as pa

    try:
        said = json.loads((folder / HEADER).read_text(encoding="utf-8"))
        if said["sha256"] != _sum_of(said["header"]):
            raise IndexUnusable("broken: its header was changed")
        header = _header(said["header"])
        if (header.format, header.fingerprint) != (FORMAT, wanted):
            raise IndexUnusable("foreign: its header names another format or fingerprint")
        files = IndexFiles(folder, header.sums)
        schema = pa.ipc.read_schema(files.open("schema"))
        order = files.numbers("order", header.rows)
    except IndexUnusable:
        raise
    except (OSError, ValueError, KeyError, TypeError, pa.ArrowException) as error:
        raise IndexUnusable(f"broken: {error}") from error
    if header.rows and not bool((order[1:] > order[:-1]).all()):
        raise IndexUnusable("broken: its rows are not sorted")
    return RowIndex(files, header, schema, order)


def _header(fields: dict[str, Any]) -> Header:
    keys = tuple(KeyColumn(**key) for key in fields.pop("keys"))
    columns = {name: tuple(files) for name, files in fields.pop("columns").items()}
    pairs, snapshots = tuple(fields.pop("pairs")), tuple(fields.pop("snapshots"))
    return Header(keys=keys, columns=columns, pairs=pairs, snapshots=snapshots, **fields)
