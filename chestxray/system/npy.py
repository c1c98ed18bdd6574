"""Write an `.npy` file row by row, so that an array may be larger than memory."""

from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt

HEADER_BYTES = 128
"""Length of an `.npy` header: NumPy leaves room in it for the first axis to grow in place."""


class ArrayFile:
    """Append rows to an `.npy` file, which `numpy.load` reads once the block has ended well.

    Whole rows that a killed run left there are kept and counted.

    Args:
        path: the file; its folder exists.
        row_shape: shape of one row.
        dtype: of the elements.

    Attributes:
        rows: how many rows the file holds.
    """

    def __init__(self, path: Path, row_shape: tuple[int, ...], dtype: npt.DTypeLike) -> None:
        self._row_shape = row_shape
        self._dtype = np.dtype(dtype)
        self._row_bytes = int(np.prod(row_shape)) * self._dtype.itemsize
        size = path.stat().st_size if path.exists() else 0
        self.rows = max(0, size - HEADER_BYTES) // self._row_bytes
        self._file = path.open("r+b" if size else "w+b")
        self._write_header()
        self.truncate(self.rows)

    def truncate(self, rows: int) -> None:
        """Drop all but the first `rows` rows."""
        self.rows = rows
        self._file.truncate(HEADER_BYTES + rows * self._row_bytes)
        self._file.seek(0, 2)

    def append(self, rows: npt.NDArray[np.generic]) -> None:
        """Write rows at the end.

        Args:
            rows: n × row shape; converted to the file's dtype.

        Raises:
            ValueError: the rows are of another shape.
        """
        if rows.shape[1:] != self._row_shape:
            raise ValueError(f"rows of shape {rows.shape[1:]} given, the file holds {self._row_shape}")
        self._file.write(np.ascontiguousarray(rows, dtype=self._dtype).data)
        self.rows += len(rows)

    def __enter__(self) -> "ArrayFile":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._write_header()
        self._file.close()

    def _write_header(self) -> None:
        self._file.seek(0)
        header = {"shape": (self.rows, *self._row_shape), "fortran_order": False, "descr": self._dtype.str}
        np.lib.format.write_array_header_1_0(self._file, header)
        if self._file.tell() != HEADER_BYTES:
            raise ValueError(f"an .npy header of {self._file.tell()} bytes; expected {HEADER_BYTES}")
