"""Description of nodules by what their images show: size with its interval, ratings, words (`describe`).

An index holds these columns since they are written by `embed`; for one of an earlier version they are computed.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import polars as pl

from noduleclip import schema
from noduleclip.errors import InputError
from noduleclip.io.index.base import Index
from noduleclip.retrieval.estimate_columns import estimate_columns
from noduleclip.retrieval.estimates import Estimator
from noduleclip.workflows.reporter import SILENT, Reporter
from noduleclip.workflows.row_finder import RowFinder
from noduleclip.workflows.search_request import RowFilter
from noduleclip.workflows.text_encoder import open_text_encoder

DESCRIPTION_FILES = (schema.ESTIMATES_CSV, schema.REJECTS_CSV)
_LEADING = (
    schema.ROW, schema.CSV_ROW, schema.PATIENT_ID, schema.NODULE_ID, schema.DICOM_PATH, schema.FRAME,
    schema.CENTER_X, schema.CENTER_Y, schema.DIAMETER_MM, schema.DETECTION_SCORE,
)  # fmt: skip
_LEFT_OUT = {*schema.TEXT_COLUMNS, *schema.NUMBER_COLUMNS, *schema.READER_LISTS, schema.READERS, schema.SLICES}
_ROWS_AT_ONCE = 1 << 14


@dataclass(frozen=True, kw_only=True)
class DescribeRequest:
    """Which nodules of an index to describe.

    Attributes:
        filters: Which rows.
    """

    filters: RowFilter = field(default_factory=RowFilter)


@dataclass(frozen=True)
class DescribeResult:
    """Described nodules.

    Attributes:
        table: A row per nodule, in the order of the index or the table: which one it is, its measured diameter, columns
            that were kept, and the columns of `retrieval.estimate_columns`.
        rejects: Rows of the table that cannot be used, as `rejects.csv` lists them; none of an index.
        model_id: The model.
        checkpoint_sha256: Hash of its checkpoint.
        nodules: All metadata of the nodules of a table, in the same order; empty of an index, which holds them.
        outlines: Their outlines, as an index would hold them; None where there are none.
        dicom_roots: Folders that relative paths of a table start from.
    """

    table: pl.DataFrame
    rejects: pl.DataFrame
    model_id: str
    checkpoint_sha256: str
    nodules: pl.DataFrame = field(default_factory=pl.DataFrame)
    outlines: tuple[str | None, ...] = ()
    dicom_roots: tuple[str, ...] = ()


def describe_index(index: Index, request: DescribeRequest, reporter: Reporter = SILENT) -> DescribeResult:
    """Describe the nodules of an index.

    Raises:
        UsageError: The condition cannot be parsed.
        InputError: No row passes the filters.
        ArtefactError: The index is broken.
    """
    rows = RowFinder(index).find_rows(request.filters, reporter)
    if rows is not None and len(rows) == 0:
        raise InputError(f"no row of {index.location} passes --where and --patients-file")
    held = index.scan().collect_schema().names()
    table = index.collect(index.scan().select(choose_columns(held)))
    if schema.ESTIMATED_DIAMETER not in held:
        reporter.note(f"{index.location}: holds no estimates, so they are computed; embed again to keep them")
        estimator, starts = Estimator(open_text_encoder(index)), range(0, table.height, _ROWS_AT_ONCE)
        parts = (index.embeddings[start : start + _ROWS_AT_ONCE] for start in starts)
        table = table.hstack(estimate_columns(estimator, parts))
    index.check_unchanged()
    manifest = index.manifest
    chosen = table if rows is None else table[rows]
    return DescribeResult(chosen, pl.DataFrame(), manifest.model_id, manifest.checkpoint_sha256)


def choose_columns(held: Sequence[str]) -> list[str]:
    """Return the columns of a description: which nodule it is, kept columns, estimates."""
    leading = [name for name in _LEADING if name in held]
    return [*leading, *(name for name in held if name not in (*leading, *_LEFT_OUT))]
