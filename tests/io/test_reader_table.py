"""Readers' rows and scores from tables of their own, found again for the rows of an index."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from noduleclip import schema
from noduleclip.errors import InputError
from noduleclip.io.reader_table import read_readers
from noduleclip.io.score_table import read_scores


def make_rows(nodules: list[tuple[str, str, float]]) -> pl.DataFrame:
    """Rows (patient, nodule, diameter), each nodule on a slice of its own."""
    return pl.DataFrame(
        {
            schema.DICOM_PATH: [f"{patient}/{nodule}.dcm" for patient, nodule, _ in nodules],
            schema.PATIENT_ID: [patient for patient, _, _ in nodules],
            schema.NODULE_ID: [nodule for _, nodule, _ in nodules],
            schema.DIAMETER_MM: [size for _, _, size in nodules],
            **dict.fromkeys((schema.BBOX_XMIN, schema.BBOX_YMIN), pl.Series([1.0] * len(nodules))),
            **dict.fromkeys((schema.BBOX_XMAX, schema.BBOX_YMAX), pl.Series([5.0] * len(nodules))),
        }
    )


def test_readers_are_found_by_nodule_and_slice_in_the_order_of_the_index(tmp_path: Path) -> None:
    table = make_rows([("B", "1", 7.0), ("A", "2", 5.0), ("A", "1", 9.0), ("B", "1", 8.0), ("C", "9", 4.0)])
    table.write_csv(tmp_path / "readers.csv")
    meta = make_rows([("A", "1", 9.5), ("D", "1", 6.0), ("B", "1", 7.5)])
    rows, missing = read_readers(tmp_path / "readers.csv", meta)
    assert missing == 1
    assert rows[schema.ROW].to_list() == [0, 1, 2, 2]
    assert rows[schema.DIAMETER_MM].to_list() == [9.0, 6.0, 7.0, 8.0]  # D's own row judges it


def test_readers_are_found_by_frame_where_both_tables_have_frames(tmp_path: Path) -> None:
    def with_frames(sizes: list[float], frames: list[float | None]) -> pl.DataFrame:
        rows = make_rows([("A", "1", size) for size in sizes])
        return rows.with_columns(pl.Series(schema.FRAME, frames, pl.Float64))

    table = with_frames([7.0, 8.0, 9.0], [2, 1, 2])
    table.write_csv(tmp_path / "readers.csv")
    rows, missing = read_readers(tmp_path / "readers.csv", with_frames([5.0, 6.0, 4.0], [None, 2, 3]))
    assert missing == 1
    assert list(zip(rows[schema.ROW], rows[schema.DIAMETER_MM], strict=True)) == [(0, 8), (1, 7), (1, 9), (2, 4)]


def test_a_table_of_other_nodules_is_refused(tmp_path: Path) -> None:
    make_rows([("A", "1", 7.0)]).write_csv(tmp_path / "readers.csv")
    with pytest.raises(InputError, match=r"readers\.csv: none of its nodules is in the index"):
        read_readers(tmp_path / "readers.csv", make_rows([("B", "1", 7.0)]))
    with pytest.raises(InputError, match="the index: has no column nodule_id"):
        read_readers(tmp_path / "readers.csv", make_rows([("A", "1", 7.0)]).drop(schema.NODULE_ID))


def test_readers_of_another_kind_of_diameters_are_refused(tmp_path: Path) -> None:
    def with_kind(kind: str) -> pl.DataFrame:
        return make_rows([("A", "1", 7.0)]).with_columns(pl.lit(kind).alias(schema.DIAMETER_KIND))

    with_kind("axes-mean").write_csv(tmp_path / "readers.csv")
    with pytest.raises(InputError, match=r"readers\.csv: its diameter_kind is axes-mean, the index's in-slice"):
        read_readers(tmp_path / "readers.csv", with_kind("in-slice"))
    for meta in (with_kind("axes-mean"), make_rows([("A", "1", 7.0)])):  # the same, or not known
        assert read_readers(tmp_path / "readers.csv", meta)[1] == 0


def test_scores_are_found_by_row_and_sentence(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    pl.DataFrame({schema.ROW: [2, 0, 1], "> 6 mm": [0.2, 0.0, 0.1], "small": [1.0, 3.0, 2.0]}).write_csv(path)
    scores = read_scores(path, ["small", "> 6 mm"], np.array([0, 2]))
    np.testing.assert_array_equal(scores, [[3, 1], [0, 0.2]])
    with pytest.raises(InputError, match="row 7 of the index has no score for 'small'"):
        read_scores(path, ["small"], np.array([0, 7]))
    with pytest.raises(InputError, match="has no column 'large'"):
        read_scores(path, ["large"], np.array([0]))
    with pytest.raises(InputError, match="no such table of scores"):
        read_scores(tmp_path / "none.csv", ["small"], np.array([0]))
    path.write_text("row,small\n0,high\n")
    with pytest.raises(InputError, match="row 0 of the index has no score"):
        read_scores(path, ["small"], np.array([0]))
