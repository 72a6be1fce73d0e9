"""Columns of a row index on disk: each is one Arrow array, its buffers as raw files that are mapped, never read whole.

A column `x` of doubles is `x.values` and, where it has NULLs, `x.valid` (a bitmap); texts and lists add `x.offsets`
(64 bit, so one array holds any number of rows). Lists nest. What is opened is an ordinary `pyarrow.Array`.
"""

from __future__ import annotations

import mmap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from featmill.errors import IndexUnusable

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

_BITS = 8


def is_storable(kind: pa.DataType) -> bool:
    """Whether a column of this type can be written: fixed widths, texts, bytes, and lists of these."""
    import pyarrow as pa

    if pa.types.is_list(kind):
        return is_storable(kind.value_type)
    return bool(
        pa.types.is_boolean(kind)
        or _is_text(kind)
        or (pa.types.is_primitive(kind) or pa.types.is_decimal128(kind))
    )


class ColumnWriter:
    """Appends arrays to a column's files; `close` returns the files' names."""

    def __init__(self, folder: Path, name: str, kind: pa.DataType) -> None:
        import pyarrow as pa

        self._folder, self._name, self._kind = folder, name, kind
        self._files: dict[str, IO[bytes]] = {}
        self._valid = _Bits(self._file("valid"))
        self._has_nulls = False
        self._values = _Bits(self._file("values")) if pa.types.is_boolean(kind) else None
        self._end = 0
        self._child: ColumnWriter | None = None
        if pa.types.is_list(kind):
            self._child = ColumnWriter(folder, f"{name}.item", kind.value_type)
        else:
            self._file("values")
        if self._child is not None or _is_text(kind):
            self._file("offsets").write((0).to_bytes(8, "little"))

    def append(self, array: pa.Array) -> None:
        """Append the values of an array of the column's type."""
        import numpy as np

        self._has_nulls = self._has_nulls or array.null_count > 0
        self._valid.append(np.asarray(array.is_valid()))
        if self._values is not None:
            self._values.append(np.asarray(array.fill_null(False)))
        elif self._child is not None:
            self._append_lengths(array)
            self._child.append(array.flatten())
        elif _is_text(self._kind):
            self._append_lengths(array)
            self._append_text(array)
        else:
            width = self._kind.bit_width // _BITS
            start = array.offset * width
            values = array.buffers()[1]
            self._file("values").write(memoryview(values)[start : start + len(array) * width])

    def close(self) -> list[str]:
        """Finish the files; the validity bitmap is kept only where there are NULLs."""
        self._valid.flush()
        if self._values is not None:
            self._values.flush()
        for opened in self._files.values():
            opened.close()
        names = [f"{self._name}.{part}" for part in self._files]
        if not self._has_nulls:
            (self._folder / f"{self._name}.valid").unlink()
            names.remove(f"{self._name}.valid")
        return [*names, *(self._child.close() if self._child is not None else [])]

    def _file(self, part: str) -> IO[bytes]:
        if part not in self._files:
            self._files[part] = (self._folder / f"{self._name}.{part}").open("wb")
        return self._files[part]

    def _append_lengths(self, array: pa.Array) -> None:
        import numpy as np
        import pyarrow.compute as pc

        measure = pc.list_value_length if self._child is not None else pc.binary_length
        lengths = np.asarray(measure(array).fill_null(0), dtype=np.int64)
        ends = np.cumsum(lengths) + self._end
        self._file("offsets").write(ends.tobytes())
        self._end = int(ends[-1]) if len(ends) else self._end

    def _append_text(self, array: pa.Array) -> None:
        """The bytes of the texts without what NULLs may hide: written anew where they could hide any."""
        import numpy as np
        import pyarrow as pa

        plain = array.cast(pa.large_binary()).fill_null(b"")
        _, offsets, data = plain.buffers()
        bounds = np.frombuffer(offsets, np.int64)[plain.offset : plain.offset + len(plain) + 1]
        if len(plain) and data is not None:
            self._file("values").write(memoryview(data)[bounds[0] : bounds[-1]])


class _Bits:
    """A file of bits, lowest first, appended to in pieces of any length."""

    def __init__(self, opened: IO[bytes]) -> None:
        self._opened = opened
        self._rest: np.ndarray[Any, Any] | None = None

    def append(self, flags: np.ndarray[Any, Any]) -> None:
        import numpy as np

        pending = flags if self._rest is None else np.concatenate([self._rest, flags])
        whole = len(pending) - len(pending) % _BITS
        self._opened.write(np.packbits(pending[:whole], bitorder="little").tobytes())
        self._rest = pending[whole:]

    def flush(self) -> None:
        import numpy as np

        if self._rest is not None and len(self._rest):
            self._opened.write(np.packbits(self._rest, bitorder="little").tobytes())


@dataclass(frozen=True, slots=True)
class IndexFiles:
    """The files of an index, each mapped and checked as it is opened; `sums` are the sums they were written with."""

    folder: Path
    sums: Mapping[str, int]

    def column(self, name: str, kind: pa.DataType, rows: int) -> pa.Array:
        """A column as an array over its mapped files; texts and lists come as their `large_` types.

        Raises:
            IndexUnusable: a file is missing, or is not as it was written.
        """
        import pyarrow as pa

        has_nulls = f"{name}.valid" in self.sums
        valid = self.open(f"{name}.valid", -(-rows // _BITS)) if has_nulls else None
        if pa.types.is_list(kind) or _is_text(kind):
            offsets = self.open(f"{name}.offsets", (rows + 1) * 8)
            end = _last(offsets)
            if pa.types.is_list(kind):
                child = self.column(f"{name}.item", kind.value_type, end)
                large = pa.large_list(pa.field(kind.value_field.name, child.type))
                return pa.Array.from_buffers(large, rows, [valid, offsets], children=[child])
            is_string = pa.types.is_string(kind) or pa.types.is_large_string(kind)
            large = pa.large_string() if is_string else pa.large_binary()
            data = self.open(f"{name}.values", end)
            return pa.Array.from_buffers(large, rows, [valid, offsets, data])
        values = self.open(f"{name}.values", -(-rows * kind.bit_width // _BITS))
        return pa.Array.from_buffers(kind, rows, [valid, values])

    def numbers(self, name: str, count: int) -> np.ndarray[Any, Any]:
        """A file of so many 64-bit integers.

        Raises:
            IndexUnusable: it is missing, or is not as it was written.
        """
        import numpy as np

        return np.frombuffer(self.open(name, count * 8), np.int64)

    def open(self, name: str, size: int | None = None) -> pa.Buffer:
        """A file mapped into memory, of this size in bytes where it is known.

        Raises:
            IndexUnusable: it is missing, or is not as it was written.
        """
        try:
            found = _mapped(self.folder / name)
        except OSError as error:
            why = error.strerror or error
            raise IndexUnusable(f"broken: {name} cannot be read: {why}") from error
        if size is not None and found.size != size:
            raise IndexUnusable(f"broken: {name} has {found.size:,} bytes instead of {size:,}")
        if byte_sum(found) != self.sums.get(name):
            raise IndexUnusable(f"broken: {name} does not have the bytes it was written with")
        return found


def _mapped(path: Path) -> pa.Buffer:
    import pyarrow as pa

    with path.open("rb") as opened:
        if not path.stat().st_size:
            return pa.py_buffer(b"")
        # All of it is read at once, to be summed: one call maps its pages, where each touch would be a fault.
        at_once = getattr(mmap, "MAP_POPULATE", 0)
        flags = mmap.MAP_SHARED | at_once
        return pa.py_buffer(mmap.mmap(opened.fileno(), 0, flags=flags, prot=mmap.PROT_READ))


def byte_sum(held: pa.Buffer) -> int:
    """The sum of the 64-bit words modulo 2^64, the last one padded with zeros: any one changed byte changes it.

    No cryptography: it finds broken files at the speed of memory, which a stronger sum would not.
    """
    import numpy as np

    words = np.frombuffer(held, np.uint8)
    whole = len(words) - len(words) % 8
    rest = int.from_bytes(words[whole:].tobytes(), "little")
    return (int(words[:whole].view(np.uint64).sum()) + rest) % 2**64


def file_sum(path: Path) -> int:
    """The byte sum of a file."""
    return byte_sum(_mapped(path))


def _last(offsets: pa.Buffer) -> int:
    import numpy as np

    return int(np.frombuffer(offsets, np.int64)[-1])


def _is_text(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return bool(
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
    )
