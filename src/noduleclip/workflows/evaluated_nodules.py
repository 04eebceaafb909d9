"""The nodules of an index that an evaluation ranks, with the readings of all their readers."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from noduleclip import schema
from noduleclip.errors import InputError
from noduleclip.evaluation.readers import Readers
from noduleclip.io.bundled_model import is_bundled
from noduleclip.io.consensus import expand_readers
from noduleclip.io.index.base import Index
from noduleclip.io.nodules import group_nodules, parse_ratings
from noduleclip.io.reader_table import read_readers
from noduleclip.io.roi_table import LIDC_PATIENT
from noduleclip.retrieval.top_k import check_unit_norm
from noduleclip.workflows.reporter import Reporter


@dataclass(frozen=True)
class EvaluatedNodules:
    """The N nodules of an index that have a diameter.

    Attributes:
        rows: (N,) their rows in the index.
        embeddings: (N, D) unit vectors.
        readers: What their readers measured and rated.
        patients: (N,) number of each nodule's patient.
        manufacturers: (N,) manufacturer of the scanner; empty where it is unknown.
        slice_thickness_mm: (N,) NaN where it is unknown.
    """

    rows: NDArray[np.int64]
    embeddings: NDArray[np.float32]
    readers: Readers
    patients: NDArray[np.int64]
    manufacturers: tuple[str, ...]
    slice_thickness_mm: NDArray[np.float64]


def load_nodules(index: Index, readers_csv: Path | None, reporter: Reporter) -> EvaluatedNodules:
    """Load the nodules of an index that have a diameter.

    Args:
        index: The index.
        readers_csv: ROI table with a row of every reader for the same nodules; None = the index's own readers.
        reporter: Receives what the table lacks, and a note where the bundled model may have been trained on them.

    Raises:
        InputError: There are fewer than two, or the table cannot be used.
        ArtefactError: The index is broken.
    """
    meta = index.collect(index.scan().drop(schema.ROW))
    if readers_csv is not None:
        meta, missing = read_readers(readers_csv, meta)
        if missing:
            reporter.warning(
                f"{readers_csv}: lacks {missing} nodule(s) of the index; for these the rows of the index are used"
            )
    else:
        meta = expand_readers(meta.with_row_index(schema.ROW))
    rows = meta[schema.ROW].cast(pl.Int64)
    meta = meta.drop(schema.ROW)
    nodules = group_nodules(meta)
    if len(nodules) < 2:
        raise InputError(
            f"{index.location}: {len(nodules)} nodule(s) with a diameter, at least 2 are needed: evaluate compares "
            "with measured sizes; --readers takes a table that has them"
        )
    rows_of_index = rows.to_numpy()[nodules.rows]
    check_unit_norm(index.embeddings, rows_of_index)
    first_rows = meta[nodules.rows.tolist()]
    if first_rows[schema.PATIENT_ID].str.contains(LIDC_PATIENT).any() and is_bundled(index.manifest.checkpoint_sha256):
        reporter.note(
            "the bundled model was trained on patients of LIDC-IDRI, on whom figures are too good; "
            "the model card, in the documentation, tells how to embed its test patients alone"
        )
    patients = first_rows[schema.PATIENT_ID].rank("dense").to_numpy().astype(np.int64)
    readers = Readers(nodules.diameters_mm, *parse_ratings(meta, nodules))
    manufacturers = first_rows[schema.MANUFACTURER].to_list() if schema.MANUFACTURER in first_rows.columns else []
    named = tuple(name or "" for name in manufacturers) or ("",) * len(nodules)
    thickness = np.full(len(nodules), np.nan)
    if schema.SLICE_THICKNESS in first_rows.columns:
        thickness = first_rows[schema.SLICE_THICKNESS].cast(pl.Float64).to_numpy()
    return EvaluatedNodules(rows_of_index, index.embeddings[rows_of_index], readers, patients, named, thickness)
