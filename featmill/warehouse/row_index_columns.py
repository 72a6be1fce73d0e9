"""Columns of a row index on disk: each is one Arrow array, its buffers as raw files that are mapped, never read whole.

A column `x` of doubles is `x.values` and, where it has NULLs, `x.valid` (a bitmap); texts and lists add `x.offsets`
(64 bit, so one array holds any number of rows). Lists nest. What is opened is an ordinary `pyarrow.Array`.
"""

from __future__ import annotations

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


def open_column(folder: Path, name: str, kind: pa.DataType, rows: int) -> pa.Array:
    """The column as an array over its mapped files; texts and lists come as their `large_` types.

    Raises:
        IndexUnusable: a file is missing or too short.
    """
    import numpy as np
    import pyarrow as pa

    valid = mapped(folder / f"{name}.valid", -(-rows // _BITS), optional=True)
    if pa.types.is_list(kind) or _is_text(kind):
        offsets = mapped(folder / f"{name}.offsets", (rows + 1) * 8)
        end = int(np.frombuffer(offsets, np.int64)[rows])
        if pa.types.is_list(kind):
            child = open_column(folder, f"{name}.item", kind.value_type, end)
            large = pa.large_list(pa.field(kind.value_field.name, child.type))
            return pa.Array.from_buffers(large, rows, [valid, offsets], children=[child])
        data = mapped(folder / f"{name}.values", end)
        text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
        large = pa.large_string() if text else pa.large_binary()
        return pa.Array.from_buffers(large, rows, [valid, offsets, data])
    values = mapped(folder / f"{name}.values", -(-rows * kind.bit_width // _BITS))
    return pa.Array.from_buffers(kind, rows, [valid, values])


def mapped(path: Path, size: int, *, optional: bool = False) -> Any:  # noqa: ANN401 - a pa.Buffer
    """A file mapped into memory; None where it is optional and absent.

    Raises:
        IndexUnusable: it is missing, or not of this size in bytes.
    """
    import pyarrow as pa

    try:
        found = path.stat().st_size
    except OSError as error:
        if optional:
            return None
        raise IndexUnusable(f"broken: {path.name} is missing") from error
    if found != size:
        raise IndexUnusable(f"broken: {path.name} has {found:,} bytes instead of {size:,}")
    return pa.memory_map(str(path)).read_buffer() if size else pa.py_buffer(b"")


def byte_sum(path: Path) -> int:
    """The sum of a file's 64-bit words modulo 2^64, the last one padded with zeros: any one changed byte changes it.

    No cryptography: it finds broken files at the speed of memory, which a stronger sum would not.
    """
    import numpy as np

    if not path.stat().st_size:
        return 0
    words = np.memmap(path, np.uint8, mode="r")
    whole = len(words) - len(words) % 8
    rest = int.from_bytes(words[whole:].tobytes(), "little")
    return (int(words[:whole].view(np.uint64).sum()) + rest) % 2**64


def _is_text(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return bool(
        pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
    )
