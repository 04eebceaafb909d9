"""CSV files as frames of text, and their columns as numbers; errors name line, row and column.

`format_csv` writes all CSV of this tool, guarded against spreadsheets that run cells as formulas.
"""

import codecs
import csv
import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import polars as pl
import polars.selectors as cs
from numpy.typing import NDArray

from noduleclip import schema
from noduleclip.errors import InputError, make_printable
from noduleclip.io.polars_errors import FAILURES

_NOT_UTF_8 = "{path}: line {line} is not UTF-8 (latin-1?); save the file as UTF-8"
MOST_COLUMNS: Final = 10_000
LONGEST_ROW_BYTES: Final = 1 << 22  # an outline has up to a million characters
LARGEST_BYTES: Final = 1 << 32
_CHUNK_BYTES: Final = 1 << 20
# Spreadsheets skip blanks and invisible characters before a formula, and some take full-width signs for plain ones.
_SIGN, _SKIPPED = r"[=+\-@＝＋－＠]", r"[\s\p{Cc}\p{Cf}]*"
_FORMULA = rf"^'*(?:{_SKIPPED}{_SIGN}|[\t\r\n])"
_GUARDED = rf"^'('*(?:{_SKIPPED}{_SIGN}|[\t\r\n]))"
_NUMBER = r"^[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?$"
# Where a locale separates cells by semicolons or tabs, these begin a cell within a cell, and so does a line break.
_INNER_FORMULA = rf"([;\t\r\n]{_SKIPPED})('*{_SIGN})"
_INNER_GUARDED = rf"([;\t\r\n]{_SKIPPED})'('*{_SIGN})"
_BOMS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}
_PARQUET = b"PAR1"
_OTHER_FORMATS = {
    b"\x1f\x8b": "is compressed by gzip; unpack it",
    b"\x28\xb5\x2f\xfd": "is compressed by zstd; unpack it",
    **dict.fromkeys((b"\x78\x01", b"\x78\x9c", b"\x78\xda"), "is compressed by zlib; unpack it"),
    b"BZh": "is compressed by bzip2; unpack it",
    b"\xfd7zXZ": "is compressed by xz; unpack it",
    b"PK\x03\x04": "is a spreadsheet (.xlsx, .ods) or another zip file; save the table as CSV in UTF-8",
    b"\xd0\xcf\x11\xe0": "is an old spreadsheet (.xls); save the table as CSV in UTF-8",
    b"ARROW1": "is an Arrow (Feather) file; save it as Parquet or CSV",
    b"SQLite format 3": "is an SQLite database; save the table as CSV",
    b"\x89HDF": "is an HDF5 file; save the table as CSV",
    b"%PDF": "is a PDF; save the table as CSV",
}
"""Beginnings of files that are no text."""
LARGEST_CELLS: Final = 1 << 28  # of a Parquet file, which may repeat a cell without taking space


def read_text_frame(path: Path, what: str, needed: Sequence[str]) -> pl.DataFrame:
    """Read a CSV with every cell as text, empty ones as null; quotes that `guard_cells` adds are removed.

    A Parquet file is read as the same table, with its cells as text.

    Args:
        path: CSV in UTF-8, separated by commas, or Parquet.
        what: Kind of file, for messages.
        needed: Columns, in any case, of which one shows that the table is separated by commas.

    Raises:
        InputError: The file is no such table; the message names the line, the row or the column.
    """
    try:
        if _starts_as_parquet(path):
            return _read_parquet(path)
        content = _read_bounded(path)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such {what}") from error
    except OSError as error:
        if path.is_dir():
            raise InputError(f"{path}: is a folder; the {what} is a file, CSV or Parquet") from error
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    _check_header(content, path, needed)
    try:
        frame = pl.read_csv(io.BytesIO(content), infer_schema=False, null_values=[""])
    except pl.exceptions.PolarsError as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: not a comma-separated table with equally long rows ({reason})") from error
    _check_lengths(content, frame, path)
    return _release_cells(_rename(frame, _release_names(frame.columns), path))


def format_csv(frame: pl.DataFrame, *, header: bool = True) -> str:
    """Return a frame as CSV, its cells and column names guarded by `guard_cells`; lists are JSON: `[6.1,null]`."""
    lists = [cs.list().list.eval(pl.element().cast(pl.String).fill_null("null")).list.join(",")]
    frame = frame.with_columns(pl.format("[{}]", column) for column in lists)
    return guard_cells(frame).write_csv(include_header=header)


def _starts_as_parquet(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_PARQUET)) == _PARQUET


def _refuse_other_formats(start: bytes, path: Path) -> None:
    for beginning, what in _OTHER_FORMATS.items():
        if start.startswith(beginning):
            raise InputError(f"{path}: {what}")


def _read_parquet(path: Path) -> pl.DataFrame:
    """Read a Parquet file as a frame of text, as its CSV would be.

    pyarrow reads it: polars ends the process on some broken pages.

    Raises:
        InputError: It is broken, too large, or has columns of lists or other nested values.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            size, rows, columns = _measure_parquet(file.metadata)
            if size > LARGEST_BYTES or columns > MOST_COLUMNS or rows * columns > LARGEST_CELLS:
                raise InputError(f"{path}: has {rows:,} rows of {columns:,} columns; split it, or leave columns out")
            table = file.read()
            table.validate(full=True)  # text that is not UTF-8 would make polars panic later
            frame = pl.DataFrame(table)
    except (pa.ArrowException, *FAILURES, OSError, ValueError, TypeError) as error:
        reason = make_printable((str(error).splitlines() or [type(error).__name__])[0][:200])
        raise InputError(f"{path}: a Parquet file that cannot be read ({reason})") from error
    nested = [name for name, kind in frame.schema.items() if kind.is_nested() or kind in (pl.Binary, pl.Object)]
    if nested:
        raise InputError(
            f"{path}: column {nested[0][:40]!r} is of type {frame.schema[nested[0]]}; write its values as text, "
            "outlines as JSON"
        )
    text = frame.select(pl.all().cast(pl.String).replace("", None))
    return _rename(text, [name.strip() for name in text.columns], path)


def _measure_parquet(metadata: Any) -> tuple[int, int, int]:
    """Return the uncompressed bytes, the rows and the columns of a Parquet file, as its footer has them."""
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    size = sum(group.column(at).total_uncompressed_size for group in groups for at in range(group.num_columns))
    return size, metadata.num_rows, metadata.num_columns


def _rename(frame: pl.DataFrame, names: Sequence[str], path: Path) -> pl.DataFrame:
    """Return a frame with other column names, none of them twice; a header may go over several lines."""
    _refuse_twice(names, path)
    return frame.rename(dict(zip(frame.columns, names, strict=True)))


def _refuse_twice(names: Sequence[str], path: Path) -> None:
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise InputError(f"{path}: column {twice[0][:40]!r} stands twice in the header")


def _read_bounded(path: Path) -> bytes:
    """Read a file of UTF-8 rows, chunk by chunk, until one of them is too long for a table.

    Raises:
        InputError: It is too large, has too long a row, or is not UTF-8.
        OSError: It cannot be read.
    """
    chunks: list[bytes] = []
    size, lines = 0, 0  # bytes and line breaks so far
    start, first_line, quoted = 0, 1, False  # where the row begins that a chunk ends in, and whether in quotes
    decoder = codecs.getincrementaldecoder("utf-8")()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            if not chunks and chunk[:2] in _BOMS:
                raise InputError(f"{path}: is encoded in {_BOMS[chunk[:2]]}; save it as UTF-8")
            if not chunks:
                _refuse_other_formats(chunk, path)
            pending = len(decoder.getstate()[0])
            try:
                decoder.decode(chunk)
            except UnicodeDecodeError as error:
                line = lines + chunk.count(b"\n", 0, max(0, error.start - pending)) + 1
                raise InputError(_NOT_UTF_8.format(path=path, line=line)) from error
            breaks, ends, quoted = _find_row_ends(chunk, quoted)
            if size + (int(ends[0]) if len(ends) else len(chunk)) - start > LONGEST_ROW_BYTES:  # a chunk is shorter
                raise InputError(
                    f"{path}: line {first_line} begins a row longer than {LONGEST_ROW_BYTES >> 20} MB; a table has a "
                    "line for each row, and quotes in pairs"
                )
            if len(ends):
                start = size + int(ends[-1]) + 1
                first_line = lines + int(np.searchsorted(breaks, ends[-1])) + 2
            lines += len(breaks)
            chunks.append(chunk)
            size += len(chunk)
            if size > LARGEST_BYTES:
                raise InputError(f"{path}: is larger than {LARGEST_BYTES >> 30} GB; split it, or leave columns out")
    try:
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise InputError(_NOT_UTF_8.format(path=path, line=lines + 1)) from error
    return b"".join(chunks)


def _find_row_ends(chunk: bytes, quoted: bool) -> tuple[NDArray[np.int64], NDArray[np.int64], bool]:
    """Find the line breaks of a chunk and those of them that end a row, which are not in quotes.

    Args:
        chunk: Part of a file.
        quoted: Whether it begins within quotes.

    Returns:
        The positions of both, and whether the chunk ends within quotes.
    """
    characters = np.frombuffer(chunk, np.uint8)
    breaks = np.flatnonzero(characters == ord("\n"))
    quotes = np.flatnonzero(characters == ord('"'))
    before = np.searchsorted(quotes, breaks) + quoted
    return breaks, breaks[before % 2 == 0], bool((len(quotes) + quoted) % 2)


def guard_cells(frame: pl.DataFrame) -> pl.DataFrame:
    """Put a quote before text that a spreadsheet would run as a formula; `read_text_frame` removes it.

    Text that begins with a formula gets the quote at its start, a formula behind `;`, a tab or a line break gets one
    there. Numbers, also those in a column of text, stay as they are.
    """
    guarded = frame.with_columns(_guard(cs.string()))
    names = pl.DataFrame({"name": frame.columns}).select(_guard(pl.col("name")))["name"]
    return guarded.rename(dict(zip(frame.columns, names, strict=True)))


def _guard(text: pl.Expr) -> pl.Expr:
    inner = text.str.replace_all(_INNER_FORMULA, "${1}'${2}")
    is_formula = inner.str.contains(_FORMULA) & ~inner.str.contains(_NUMBER)
    return pl.when(is_formula).then("'" + inner).otherwise(inner).name.keep()


def _release_cells(frame: pl.DataFrame) -> pl.DataFrame:
    found = frame.select(pl.all().str.contains("'", literal=True).any()).row(0)
    quoted = [name for name, is_quoted in zip(frame.columns, found, strict=True) if is_quoted]
    if not quoted:
        return frame
    cells = cs.by_name(quoted).str  # `col` has patterns
    return frame.with_columns(cells.replace(_GUARDED, "$1").str.replace_all(_INNER_GUARDED, "${1}${2}"))


def _release_names(names: Sequence[str]) -> list[str]:
    """Return column names without surrounding blanks and without the quotes of `guard_cells`."""
    return _release_cells(pl.DataFrame({"name": [name.strip() for name in names]}))["name"].to_list()


def _check_header(content: bytes, path: Path, needed: Sequence[str]) -> None:
    first_line = content.removeprefix(b"\xef\xbb\xbf").split(b"\n", 1)[0].decode("utf-8")
    if not first_line.strip():
        raise InputError(f"{path}: the file is empty, or its first line is")
    try:
        names = _release_names(next(csv.reader([first_line])))
    except csv.Error as error:
        raise InputError(f"{path}: the header line is not CSV ({error})") from error
    if len(names) > MOST_COLUMNS:
        raise InputError(f"{path}: has {len(names):,} columns, a table may have {MOST_COLUMNS:,}; keep those of use")
    _refuse_twice(names, path)
    known = {name.casefold() for name in names} & {name.casefold() for name in needed}
    if not known and any(first_line.count(separator) > first_line.count(",") for separator in ";\t"):
        raise InputError(f"{path}: is separated by ';' or tabs; save it with commas and decimal points")


def _check_lengths(content: bytes, frame: pl.DataFrame, path: Path) -> None:
    """Check that no row is short, as polars fills those with nulls; blank lines are allowed."""
    if frame[:, -1].null_count() == 0:
        return
    longest = csv.field_size_limit(LONGEST_ROW_BYTES)  # an outline may be longer than the limit of the module
    try:
        for row, cells in enumerate(csv.reader(io.TextIOWrapper(io.BytesIO(content), "utf-8", newline=""))):
            if len(cells) < frame.width and any(cell.strip() for cell in cells):
                raise InputError(f"{path}: row {row} has {len(cells)} cells, the header has {frame.width}")
    except csv.Error as error:
        raise InputError(f"{path}: not a comma-separated table ({error})") from error
    finally:
        csv.field_size_limit(longest)


def parse_numbers(frame: pl.DataFrame, name: str, path: Path) -> pl.DataFrame:
    """Convert a column of text to numbers; empty cells and NaN become null.

    Args:
        frame: Table with `csv_row`.
        name: The column.
        path: The file, for the message.

    Raises:
        InputError: A cell is no number; the message names row and column.
    """
    numbers = frame[name].str.strip_chars().cast(pl.Float64, strict=False)
    unread = frame.filter(numbers.is_null() & frame[name].is_not_null())
    if unread.height:
        row, text = unread[0, schema.CSV_ROW], unread[0, name]
        raise InputError(
            f"{path}: row {row}, column {name}: {str(text)[:40]!r} is not a number (decimal point, no unit)"
        )
    return frame.with_columns(numbers.fill_nan(None).alias(name))
