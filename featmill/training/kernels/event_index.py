"""The event index: the kernel's sorted arrays on disk, so that sorting the events is paid once per event log.

A folder per log and cut-off, named for their fingerprint: `header.json`, one `.npy` file per array, mapped into memory
when it is read, and Arrow files for keys and words. It is written aside and renamed, and never required: what is stale,
half written, of another format or not sorted is left alone, and the events are sorted again.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np

from featmill.training.kernels.encoding import Column
from featmill.training.kernels.event_arrays import EventArrays, Expressions
from featmill.warehouse.event_log_index import maintained_at

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

    from featmill.warehouse.event_log import EventLog

_FORMAT = 1
_HEADER = "header.json"
#: Cheap to make again, and only needed to make others.
_NOT_KEPT = frozenset({"segments"})


class _Unusable(Exception):
    """Why an index is left alone."""


def index_fingerprint(log: EventLog) -> str:
    """What an index of a log is of: the log's place and version, how far it is read, and when rows of it were erased.

    Raises:
        LakeError: the log is gone.
    """
    parts = [_FORMAT, log.location, log.delta_version, log.cut_off.isoformat()]
    parts.append(maintained_at(log.location))
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def write_event_index(root: Path, fingerprint: str, events: EventArrays) -> Path:
    """Keep sorted events, with all that was derived of them, below `root`; indexes of other fingerprints go.

    Returns:
        The index's folder.
    """
    root.mkdir(parents=True, exist_ok=True)
    aside = root / f".{uuid4().hex}"
    aside.mkdir()
    try:
        (aside / _HEADER).write_text(json.dumps(_write(aside, fingerprint, events), indent=1))
        target = index_folder(root, fingerprint)
        # A reader keeps the files it has open; whoever comes in between sorts the events itself.
        for old in root.iterdir():
            if old != aside:
                shutil.rmtree(old, ignore_errors=True)
        aside.replace(target)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return target


def load_event_index(
    root: Path, fingerprint: str, wanted: Expressions, keys: Sequence[str]
) -> tuple[EventArrays | None, str]:
    """The index of a fingerprint with these expressions and keys, or None; and where it is, or why there is none."""
    folder = index_folder(root, fingerprint)
    try:
        events = _read(folder, fingerprint)
        _check(events, wanted, keys)
    except _Unusable as why:
        return None, f"the event index at {folder} is not used: {why}"
    return events, f"event index at {folder}"


def index_folder(root: Path, fingerprint: str) -> Path:
    """Where the index of a fingerprint lies, or would."""
    return root / fingerprint[:24]


def _write(folder: Path, fingerprint: str, events: EventArrays) -> dict[str, Any]:
    """Write the arrays, and return the header that says what each file is."""
    named: dict[str, NDArray[Any]] = {"offsets": events.offsets, "times": events.times}
    columns: dict[str, Any] = {}
    for number, (text, column) in enumerate(events.values.items()):
        columns[text] = {"sql_type": column.sql_type, "codes": f"codes {number}"}
        named[f"codes {number}"] = column.codes
        if column.nulls is not None:
            columns[text]["nulls"] = f"nulls {number}"
            named[f"nulls {number}"] = column.nulls
        if column.words is not None:
            columns[text]["words"] = f"words{number}.arrow"
            _write_arrow(folder / f"words{number}.arrow", _as_table(column.words))
    conditions = {text: f"condition {n}" for n, text in enumerate(events.conditions)}
    named |= {conditions[text]: passes for text, passes in events.conditions.items()}
    derived = {n: a for n, a in events.derived.items() if n not in _NOT_KEPT}
    named |= {f"derived {name}": array for name, array in derived.items()}
    _write_arrow(folder / "keys.arrow", events.keys)
    files = {}
    for number, (name, array) in enumerate(named.items()):
        np.save(folder / f"{number}.npy", array, allow_pickle=False)
        files[name] = [f"{number}.npy", str(array.dtype), len(array)]
    return {
        "format": _FORMAT,
        "fingerprint": fingerprint,
        "rows": len(events.times),
        "files": files,
        "values": columns,
        "conditions": conditions,
        "derived": list(derived),
    }


def _read(folder: Path, fingerprint: str) -> EventArrays:
    header = _header(folder, fingerprint)
    try:
        arrays = {name: _load(folder, *of) for name, of in header["files"].items()}
        values = {
            text: Column(
                arrays[of["codes"]],
                arrays[of["nulls"]] if "nulls" in of else None,
                of["sql_type"],
                _read_arrow(folder / of["words"]).column(0).combine_chunks()
                if "words" in of
                else None,
            )
            for text, of in header["values"].items()
        }
        return EventArrays(
            _read_arrow(folder / "keys.arrow"),
            arrays["offsets"],
            arrays["times"],
            values,
            {text: arrays[name] for text, name in header["conditions"].items()},
            {name: arrays[f"derived {name}"] for name in header["derived"]},
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _Unusable(f"it is half written or not ours: {error}") from error


def _header(folder: Path, fingerprint: str) -> dict[str, Any]:
    try:
        read = json.loads((folder / _HEADER).read_text())
    except FileNotFoundError as error:
        raise _Unusable("there is none for the log as it is now") from error
    except (OSError, ValueError) as error:
        raise _Unusable(f"its header cannot be read: {error}") from error
    header: dict[str, Any] = read if isinstance(read, dict) else {}
    if header.get("format") != _FORMAT:
        raise _Unusable(f"its format is not {_FORMAT}")
    if header.get("fingerprint") != fingerprint:
        raise _Unusable("it is of another event log, version or cut-off")
    return header


def _load(folder: Path, file: str, dtype: str, length: int) -> NDArray[Any]:
    array = np.asarray(np.load(folder / file, mmap_mode="r", allow_pickle=False))
    if str(array.dtype) != dtype or array.shape != (length,):
        raise _Unusable(f"{file} is not the {length} {dtype} that its header says")
    return array


def _check(events: EventArrays, wanted: Expressions, keys: Sequence[str]) -> None:
    """Refuse what would give wrong answers: another declaration's columns, or times that are not sorted."""
    if events.keys.column_names != list(keys):
        raise _Unusable(f"its keys are {', '.join(events.keys.column_names)}")
    held = [*events.values, *events.conditions]
    missing = [text for text in (*wanted.values, *wanted.conditions) if text not in held]
    if missing:
        raise _Unusable(f"it has no column for {', '.join(missing)}")
    offsets, times = events.offsets, events.times
    if len(offsets) != events.keys.num_rows + 1 or int(offsets[-1]) != len(times):
        raise _Unusable("its segments are not those of its events")
    if bool((np.diff(offsets) < 0).any()):
        raise _Unusable("its segments are not sorted")
    falls = np.flatnonzero(times[1:] < times[:-1]) + 1
    # Each fall must be where a segment begins; the last offset is behind every event.
    if bool((offsets[np.searchsorted(offsets, falls)] != falls).any()):
        raise _Unusable("its times are not sorted")


def _as_table(words: pa.Array) -> pa.Table:
    import pyarrow as pa

    return pa.table({"words": words})


def _write_arrow(path: Path, table: pa.Table) -> None:
    import pyarrow as pa

    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)


def _read_arrow(path: Path) -> pa.Table:
    import pyarrow as pa

    try:
        with pa.memory_map(str(path)) as file:
            return pa.ipc.open_file(file).read_all()
    except pa.ArrowException as error:
        raise _Unusable(f"{path.name} cannot be read: {error}") from error
