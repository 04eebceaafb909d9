"""A CSV to a frame of text, and its columns to numbers, with what is wrong with the file said in its own terms."""

import codecs
import csv
import io
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import polars as pl
import polars.selectors as cs

from noduleclip import schema
from noduleclip.errors import InputError

_FORMULA = r"^'*[=+\-@\t\r]"
_GUARDED = r"^'('*[=+\-@\t\r])"
_NOT_UTF_8 = "{path}: line {line} is not UTF-8 (latin-1?); save the file as UTF-8"
MOST_COLUMNS: Final = 10_000
LONGEST_LINE_BYTES: Final = 1 << 22  # an outline has up to a million characters
_LARGEST_BYTES: Final = 1 << 32
_CHUNK_BYTES: Final = 1 << 20
_BOMS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}


def read_text_frame(path: Path, what: str, needed: Sequence[str]) -> pl.DataFrame:
    """Read a CSV with every cell as text, empty ones as null; the quote that `guard_cells` writes is taken off.

    Args:
        path: CSV in UTF-8, separated by commas.
        what: What the file is, for the message where it is missing.
        needed: Columns by which a table separated by commas is known, in any case; one of them is enough.

    Raises:
        InputError: It is no such file; the message names the line, the row or the column.
    """
    try:
        content = _read_bounded(path)
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such {what}") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    _check_header(content, path, needed)
    try:
        frame = pl.read_csv(io.BytesIO(content), infer_schema=False, null_values=[""])
    except pl.exceptions.PolarsError as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{path}: not a comma-separated table with equally long rows ({reason})") from error
    _check_lengths(content, frame, path)
    return _release_cells(frame.rename({name: name.strip() for name in frame.columns}))


def _read_bounded(path: Path) -> bytes:
    """Read a file of UTF-8 lines, chunk by chunk, until one of them is too long for a table.

    Raises:
        InputError: It is too large, has too long a line, or is not UTF-8.
        OSError: It cannot be read.
    """
    chunks: list[bytes] = []
    size, lines, start = 0, 0, 0  # bytes and line breaks so far, and where the line begins that a chunk ends in
    decoder = codecs.getincrementaldecoder("utf-8")()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            if not chunks and chunk[:2] in _BOMS:
                raise InputError(f"{path}: is encoded in {_BOMS[chunk[:2]]}; save it as UTF-8")
            pending = len(decoder.getstate()[0])
            try:
                decoder.decode(chunk)
            except UnicodeDecodeError as error:
                line = lines + chunk.count(b"\n", 0, max(0, error.start - pending)) + 1
                raise InputError(_NOT_UTF_8.format(path=path, line=line)) from error
            first = chunk.find(b"\n")  # lines that lie within a chunk are short enough
            if size + (len(chunk) if first < 0 else first) - start > LONGEST_LINE_BYTES:
                raise InputError(
                    f"{path}: line {lines + 1} is longer than {LONGEST_LINE_BYTES >> 20} MB; "
                    "a table has a line for each row"
                )
            if first >= 0:
                lines, start = lines + chunk.count(b"\n"), size + chunk.rfind(b"\n") + 1
            chunks.append(chunk)
            size += len(chunk)
            if size > _LARGEST_BYTES:
                raise InputError(f"{path}: is larger than {_LARGEST_BYTES >> 30} GB; split it, or leave columns out")
    try:
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as error:
        raise InputError(_NOT_UTF_8.format(path=path, line=lines + 1)) from error
    return b"".join(chunks)


def guard_cells(frame: pl.DataFrame) -> pl.DataFrame:
    """Put a quote before text cells that a spreadsheet would run as a formula; `read_text_frame` takes it off."""
    text = cs.string()
    return frame.with_columns(pl.when(text.str.contains(_FORMULA)).then("'" + text).otherwise(text).name.keep())


def _release_cells(frame: pl.DataFrame) -> pl.DataFrame:
    found = frame.select(pl.all().str.starts_with("'").any()).row(0)
    quoted = [name for name, is_quoted in zip(frame.columns, found, strict=True) if is_quoted]
    return frame.with_columns(cs.by_name(quoted).str.replace(_GUARDED, "$1")) if quoted else frame  # `col` has patterns


def _check_header(content: bytes, path: Path, needed: Sequence[str]) -> None:
    first_line = content.removeprefix(b"\xef\xbb\xbf").split(b"\n", 1)[0].decode("utf-8")
    if not first_line.strip():
        raise InputError(f"{path}: the file is empty, or its first line is")
    try:
        names = [name.strip() for name in next(csv.reader([first_line]))]
    except csv.Error as error:
        raise InputError(f"{path}: the header line is not CSV ({error})") from error
    if len(names) > MOST_COLUMNS:
        raise InputError(f"{path}: has {len(names):,} columns, a table may have {MOST_COLUMNS:,}; keep those of use")
    twice = sorted(name for name, count in Counter(names).items() if count > 1)
    if twice:
        raise InputError(f"{path}: column {twice[0]!r} stands twice in the header")
    known = {name.casefold() for name in names} & {name.casefold() for name in needed}
    if not known and any(first_line.count(mark) > first_line.count(",") for mark in ";\t"):
        raise InputError(f"{path}: is separated by ';' or tabs; save it with commas and decimal points")


def _check_lengths(content: bytes, frame: pl.DataFrame, path: Path) -> None:
    """Refuse rows that end early, which polars fills up; blank lines pass."""
    if frame[:, -1].null_count() == 0:
        return
    try:
        for row, cells in enumerate(csv.reader(io.TextIOWrapper(io.BytesIO(content), "utf-8", newline=""))):
            if len(cells) < frame.width and any(cell.strip() for cell in cells):
                raise InputError(f"{path}: row {row} has {len(cells)} cells, the header has {frame.width}")
    except csv.Error as error:
        raise InputError(f"{path}: not a comma-separated table ({error})") from error


def parse_numbers(frame: pl.DataFrame, name: str, path: Path) -> pl.DataFrame:
    """Turn a column of text into numbers; what is empty or NaN becomes null.

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
