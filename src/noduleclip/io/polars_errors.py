"""Errors of polars on Parquet files, told apart from broken files with pyarrow."""

import mmap
from io import BufferedReader
from typing import Any

import polars as pl

from noduleclip.errors import LibraryError

_VALUE_BYTES = 8
FAILURES = (pl.exceptions.PolarsError, pl.exceptions.PanicException)  # a broken file makes polars panic, too


def find_library_error(file: BufferedReader, rows: int, path: str, error: BaseException) -> LibraryError | None:
    """Find out whether polars failed because of its version or because the file is broken.

    The whole file is read in pieces, which takes as long as decompressing it.

    Args:
        file: The open table.
        rows: Rows that it should have.
        path: Its path, for the message.
        error: The error of polars.

    Returns:
        An error that names polars if pyarrow reads the whole table, else None.
    """
    return blame_polars(path, error) if _is_read_by_pyarrow(file, rows) else None


def blame_polars(path: str, error: BaseException) -> LibraryError:
    """Return the error for a table that another library can read."""
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    remedy = "pip install --upgrade noduleclip polars"
    return LibraryError(f"{path}: polars {pl.__version__} fails on this table, which is sound ({reason}); {remedy}")


def measure_uncompressed(file: BufferedReader) -> int | None:
    """Return the bytes of a Parquet file's columns without compression, as its footer has them; None if it has none.

    Every value counts as a number of eight bytes at least: equal values of long lists take no space in the file.
    """
    import pyarrow as pa

    try:
        metadata = _open_with_pyarrow(file).metadata
        groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
        columns = [group.column(at) for group in groups for at in range(group.num_columns)]
        return sum(max(int(it.total_uncompressed_size), _VALUE_BYTES * int(it.num_values)) for it in columns)
    except (pa.ArrowException, OSError, ValueError):
        return None


def _open_with_pyarrow(file: BufferedReader) -> Any:
    import pyarrow as pa
    import pyarrow.parquet as pq

    mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)  # the position in the file stays as it is
    return pq.ParquetFile(pa.BufferReader(mapped))


def _is_read_by_pyarrow(file: BufferedReader, rows: int) -> bool:
    import pyarrow as pa

    try:
        table = _open_with_pyarrow(file)
        return bool(table.metadata.num_rows == rows == sum(batch.num_rows for batch in table.iter_batches()))
    except (pa.ArrowException, OSError, ValueError):
        return False
