"""The nodules of an index that an evaluation ranks, with the readings of all their readers."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from noduleclip import schema
from noduleclip.errors import InputError
from noduleclip.evaluation.readers import Readers
from noduleclip.io.bundled_model import recall_patients
from noduleclip.io.consensus import expand_readers
from noduleclip.io.index.base import Index
from noduleclip.io.nodules import group_nodules, parse_ratings
from noduleclip.io.reader_table import read_readers
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
        trained: (N,) whether the nodule's patient trained the model; None where that is not known.
        validated: (N,) whether the patient chose the epoch of the model; None likewise.
    """

    rows: NDArray[np.int64]
    embeddings: NDArray[np.float32]
    readers: Readers
    patients: NDArray[np.int64]
    manufacturers: tuple[str, ...]
    slice_thickness_mm: NDArray[np.float64]
    trained: NDArray[np.bool_] | None
    validated: NDArray[np.bool_] | None

    def take(self, rows: NDArray[np.int64]) -> "EvaluatedNodules":
        """Select nodules."""
        return EvaluatedNodules(
            self.rows[rows],
            self.embeddings[rows],
            self.readers.take(rows),
            np.unique(self.patients[rows], return_inverse=True)[1].astype(np.int64),
            tuple(self.manufacturers[row] for row in rows),
            self.slice_thickness_mm[rows],
            None if self.trained is None else self.trained[rows],
            None if self.validated is None else self.validated[rows],
        )


def load_nodules(index: Index, readers_csv: Path | None, reporter: Reporter) -> EvaluatedNodules:
    """Load the nodules of an index that have a diameter.

    Args:
        index: The index.
        readers_csv: ROI table with a row of every reader for the same nodules; None = the index's own readers.
        reporter: Receives what the table lacks.

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
    patients = first_rows[schema.PATIENT_ID].rank("dense").to_numpy().astype(np.int64)
    readers = Readers(nodules.diameters_mm, *parse_ratings(meta, nodules))
    manufacturers = first_rows[schema.MANUFACTURER].to_list() if schema.MANUFACTURER in first_rows.columns else []
    named = tuple(name or "" for name in manufacturers) or ("",) * len(nodules)
    thickness = np.full(len(nodules), np.nan)
    if schema.SLICE_THICKNESS in first_rows.columns:
        thickness = first_rows[schema.SLICE_THICKNESS].cast(pl.Float64).to_numpy()
    ids = first_rows[schema.PATIENT_ID].fill_null("").to_list()
    return EvaluatedNodules(
        rows_of_index, index.embeddings[rows_of_index], readers, patients, named, thickness, *_find_seen(index, ids)
    )


def _find_seen(index: Index, ids: Sequence[str]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]] | tuple[None, None]:
    """Return which of some patients trained the model of an index, and which chose its epoch."""
    hashes = index.manifest.patients or recall_patients(index.manifest.checkpoint_sha256)
    if hashes is None:
        return None, None
    patients = set(ids)
    trained, validated = hashes.find_trained(patients), hashes.find_validated(patients)
    return np.array([one in trained for one in ids]), np.array([one in validated for one in ids])
